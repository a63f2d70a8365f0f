/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jvm/jvm_structs.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/path.h"

enum { STRIDE = 48, MAX_ENTRIES = 8192 };

struct library {
	struct elf_file *elf;
	uint64_t bias;
	struct peek *peek;
};

void jvm_structs_clear(struct jvm_structs *s)
{
	free(s->items);
	*s = (struct jvm_structs){ 0 };
}

static bool find_library(const struct runtime_view *v, struct library *ret)
{
	for (size_t i = 0; v->space && i < symbol_space_n(v->space); i++) {
		const struct symbol_mapping *m = symbol_space_at(v->space, i);
		const char *path = m->module ? symbol_module_path(m->module) : "";
		struct elf_symbol s;

		if (m->gone || strcmp(path_base(path), "libjvm.so") != 0)
			continue;
		ret->elf = symbol_module_elf(m->module);
		ret->bias = m->bias;
		if (ret->elf && elf_file_symbol(ret->elf, ELF_DYNSYM, "gHotSpotVMStructs", &s) == 0)
			return true;
	}
	return false;
}

/* A word of the library: as the process has it, or, where it never touched the page, as the file
 * says. */
static uint64_t word(const struct library *l, uint64_t vaddr)
{
	struct error err;
	uint64_t w;

	if (peek_read(l->peek, vaddr + l->bias, &w, sizeof(w)))
		return w;
	return elf_file_word(l->elf, vaddr, &w, &err) == 0 && w ? w + l->bias : 0;
}

static void text(const struct library *l, uint64_t addr, char *buf, size_t size)
{
	struct error err;

	memset(buf, 0, size);
	if (addr < l->bias)
		return;
	if (elf_file_read_vaddr(l->elf, addr - l->bias, buf, size - 1, &err) < 0)
		buf[0] = 0;
}

static int add(struct jvm_structs *to, const struct library *l, const uint64_t *w,
               struct error *err)
{
	struct jvm_structs_entry *e;
	int r = array_reserve(&to->items, &to->cap_items, to->n_items + 1, err);

	if (r < 0)
		return r;
	e = &to->items[to->n_items++];
	text(l, w[0], e->type, sizeof(e->type));
	text(l, w[1], e->field, sizeof(e->field));
	e->is_static = (uint32_t)w[3];
	e->where = e->is_static ? w[5] : w[4];
	return 0;
}

static int read_table(const struct library *l, uint64_t table, struct jvm_structs *to,
                      struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < MAX_ENTRIES && r == 0; i++) {
		uint64_t w[6], at = table + STRIDE * i;

		/* typeName, fieldName, typeString, isStatic, offset, address; a NULL ends it */
		if (!peek_read(l->peek, at, w, sizeof(w)) || !w[0])
			break;
		r = add(to, l, w, err);
	}
	return r;
}

static void find_extent(const struct maps *m, uint64_t inside, struct jvm_structs *to)
{
	const struct mapping *x = maps_find(m, inside);

	for (size_t i = 0; x && i < m->n_items; i++) {
		const struct mapping *y = &m->items[i];

		if (y->inode != x->inode || y->dev_major != x->dev_major ||
		    y->dev_minor != x->dev_minor || !y->inode)
			continue;
		if (!to->start)
			to->start = y->start;
		to->end = y->end;
	}
}

int jvm_structs_read(const struct runtime_view *v, const struct maps *m, struct peek *p,
                     struct jvm_structs *ret, struct error *err)
{
	cleanup(jvm_structs_clear) struct jvm_structs to = { 0 };
	struct library l = { .peek = p };
	struct elf_symbol table, stride;
	uint64_t at;
	int r;

	if (!find_library(v, &l) ||
	    elf_file_symbol(l.elf, ELF_DYNSYM, "gHotSpotVMStructs", &table) < 0 ||
	    elf_file_symbol(l.elf, ELF_DYNSYM, "gHotSpotVMStructEntryArrayStride", &stride) < 0)
		return 0;
	at = word(&l, table.value);
	r = at ? read_table(&l, at, &to, err) : 0;
	if (r < 0 || !to.n_items)
		return r;
	find_extent(m, at, &to);
	*ret = to;
	to = (struct jvm_structs){ 0 };
	return 1;
}

static const struct jvm_structs_entry *find(const struct jvm_structs *s, const char *type,
                                            const char *field)
{
	for (size_t i = 0; i < s->n_items; i++)
		if (strcmp(s->items[i].field, field) == 0 && strcmp(s->items[i].type, type) == 0)
			return &s->items[i];
	return NULL;
}

uint64_t jvm_structs_static(const struct jvm_structs *s, struct peek *p, const char *type,
                            const char *field)
{
	const struct jvm_structs_entry *e = find(s, type, field);

	return e && e->is_static ? peek_word(p, e->where) : 0;
}

uint64_t jvm_structs_field(const struct jvm_structs *s, uint64_t object, const char *type,
                           const char *field)
{
	const struct jvm_structs_entry *e = find(s, type, field);

	return e && !e->is_static && object && e->where < 1 << 16 ? object + e->where : 0;
}

uint64_t jvm_structs_value(const struct jvm_structs *s, struct peek *p, uint64_t object,
                           const char *type, const char *field)
{
	uint64_t at = jvm_structs_field(s, object, type, field);

	return at ? peek_word(p, at) : 0;
}
