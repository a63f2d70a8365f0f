/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_symbols.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/search.h"

struct reading {
	struct go_symbols *to;
	uint64_t low, high, bias;
	struct error *err;
};

void go_symbols_clear(struct go_symbols *s)
{
	free(s->items);
	*s = (struct go_symbols){ 0 };
}

static int note(const struct elf_symbol *s, void *arg)
{
	struct reading *r = arg;
	uint64_t start = s->value + r->bias;
	int e;

	if (!s->defined || !s->size || s->type != STT_OBJECT || start < r->low || start >= r->high)
		return 0;
	e = array_reserve(&r->to->items, &r->to->cap, r->to->n + 1, r->err);
	if (e == 0)
		r->to->items[r->to->n++] = (struct go_symbol){ start, start + s->size, s->name };
	return e;
}

static int by_start(const void *a, const void *b)
{
	const struct go_symbol *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	/* of two names of one place the runtime's own comes last */
	return strcmp(x->name, y->name);
}

static void widen(struct reading *r, uint64_t start, uint64_t end)
{
	if (!start || end <= start)
		return;
	r->low = start < r->low ? start : r->low;
	r->high = end > r->high ? end : r->high;
}

/* A plugin's: its file, if it is still there, has them. */
static int read_other(struct go_symbols *to, const struct go_module_other *o, struct error *err)
{
	struct reading r = { .to = to, .low = UINT64_MAX, .err = err };
	struct error unused = { 0 };
	struct elf_file *f = image_file(to->module->image, o->text, &r.bias, &unused);

	widen(&r, o->data[0].start, o->data[0].end);
	widen(&r, o->data[1].start, o->data[1].end);
	return f ? elf_file_each_symbol(f, ELF_SYMTAB, note, &r) : 0;
}

int go_symbols_read(const struct go_module *m, struct go_symbols *ret, struct error *err)
{
	const struct go_layout *l = m->layout;
	struct reading r = { .to = ret, .low = UINT64_MAX, .bias = m->bias, .err = err };
	uint64_t start = 0, end = 0;
	int e;

	ret->module = m;
	/* noptrdata, data, bss, noptrbss follow each other */
	image_read(m->image, m->at + l->moduledata_noptrdata, &start, sizeof(start));
	image_read(m->image, m->at + l->moduledata_enoptrbss, &end, sizeof(end));
	widen(&r, start, end);
	widen(&r, m->data[0].start, m->data[0].end);
	widen(&r, m->data[1].start, m->data[1].end);
	e = elf_file_each_symbol(m->exe, ELF_SYMTAB, note, &r);
	for (size_t k = 0; e >= 0 && k < m->n_others; k++)
		e = read_other(ret, &m->others[k], err);
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), by_start);
	return e < 0 ? e : 0;
}

const struct go_symbol *go_symbols_at(const struct go_symbols *s, uint64_t addr)
{
	size_t behind = partition_point(s->n, i, s->items[i].start <= addr);

	/* the last that begins at or before it, of those the first name */
	if (behind)
		behind = 1 + partition_point(behind - 1, i,
		                             s->items[i].start < s->items[behind - 1].start);
	return behind && addr < s->items[behind - 1].end ? &s->items[behind - 1] : NULL;
}

uint64_t go_symbols_find(const struct go_symbols *s, const char *name)
{
	for (size_t i = 0; i < s->n; i++) {
		if (!strcmp(s->items[i].name, name))
			return s->items[i].start;
	}
	return 0;
}

static bool is_in(const struct go_module_data *d, uint64_t addr)
{
	return (addr >= d[0].start && addr < d[0].end) || (addr >= d[1].start && addr < d[1].end);
}

/* Data and bss of the module that has @addr; of a plugin *file becomes its name. */
static const struct go_module_data *data_of(const struct go_module *m, uint64_t addr,
                                            const char **file)
{
	for (size_t k = 0; k < m->n_others; k++) {
		const struct image_segment *s = image_find(m->image, m->others[k].text);
		const char *slash = s ? strrchr(s->path, '/') : NULL;

		if (!is_in(m->others[k].data, addr))
			continue;
		*file = slash ? slash + 1 : "plugin";
		return m->others[k].data;
	}
	return m->data;
}

bool go_symbols_name(const struct go_symbols *s, uint64_t addr, char *buf, size_t size)
{
	const struct go_symbol *found = go_symbols_at(s, addr);
	const char *file = "";
	const struct go_module_data *d = data_of(s->module, addr, &file);
	const bool is_bss = addr >= d[1].start && addr < d[1].end;
	uint64_t start;
	const char *name = found ? found->name : "";

	if (!found && s->types)
		name = go_types_variable_name(s->types, addr, &start);
	if (name[0])
		snprintf(buf, size, "%s", name);
	else
		snprintf(buf, size, "%s%s%s+0x%" PRIx64, file, file[0] ? " " : "",
		         is_bss ? "bss" : "data", addr - d[is_bss].start);
	return name[0] != 0;
}
