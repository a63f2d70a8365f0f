/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/what.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/runtime.h"
#include "symbol/demangle.h"
#include "target/reader.h"

enum { SMALL = 1 << 16, PRINTABLE_LEAST = 4 };

struct what_view {
	const struct target *target;
	struct symbol_space *space;
	struct maps maps;
	struct threads threads;
	struct ladder ladder;
};

struct what_view *what_close(struct what_view *v)
{
	if (!v)
		return NULL;
	maps_clear(&v->maps);
	threads_clear(&v->threads);
	ladder_clear(&v->ladder);
	free(v);
	return NULL;
}

void what_closep(struct what_view **v)
{
	what_close(*v);
}

bool what_has(const struct what_view *v, const char *kind)
{
	for (size_t i = 0; i < v->ladder.n_parts; i++) {
		if (!strcmp(v->ladder.parts[i].heap.kind, kind))
			return true;
	}
	return false;
}

int what_open(const struct target *t, struct symbol_space *space, struct what_view **ret,
              struct error *err)
{
	cleanup(what_closep) struct what_view *v = calloc(1, sizeof(*v));
	const struct ladder_options o = { 0 };
	int r;

	if (!v)
		return error_oom(err);
	v->target = t;
	v->space = space;
	r = maps_read(t, &v->maps, err);
	if (r == 0)
		r = threads_read(t, &v->maps, &v->threads, err);
	if (r == 0)
		r = ladder_read(t, space, &o, &v->ladder, err);
	if (r < 0)
		return r;
	*ret = take_ptr(v);
	return 0;
}

/* ---- names ---- */

struct cover {
	uint64_t vaddr;
	const char *name;
	uint64_t offset;
};

static int note_cover(const struct elf_symbol *s, void *arg)
{
	struct cover *c = arg;

	if (!s->defined || (s->type != STT_OBJECT && s->type != STT_FUNC) || c->vaddr < s->value ||
	    c->vaddr - s->value >= s->size)
		return 0;
	c->name = s->name;
	c->offset = c->vaddr - s->value;
	return 1;
}

static const struct symbol_mapping *module_of(const struct what_view *v, const struct mapping *m)
{
	/* data lies beside code of the same file: any of its mappings has the bias */
	for (size_t i = 0; i < symbol_space_n(v->space); i++) {
		const struct symbol_mapping *s = symbol_space_at(v->space, i);

		if (!s->gone && s->module && strcmp(symbol_module_path(s->module), m->name) == 0)
			return s;
	}
	return NULL;
}

/* "name+0x10" of the function or object that covers @addr; "" without one. */
static void name_address(const struct what_view *v, uint64_t addr, char *buf, size_t size)
{
	struct regions_data data;
	size_t pos = 0;
	const struct mapping *m = maps_find(&v->maps, addr);
	const struct symbol_mapping *s;
	struct elf_file *elf;
	struct cover c;
	cleanup_free char *name = NULL;

	buf[0] = '\0';
	/* .bss has no file of its own: that of the data in front of it */
	while (m && !m->inode && regions_next_data(&v->maps, v->target->exe, &pos, &data)) {
		if (addr >= data.start && addr < data.end)
			m = data.file;
	}
	s = m && m->inode ? module_of(v, m) : NULL;
	elf = s ? symbol_module_elf(s->module) : NULL;
	if (!elf)
		return;
	c = (struct cover){ .vaddr = addr - s->bias };
	if (!elf_file_each_symbol(elf, ELF_ALL, note_cover, &c))
		return;
	name = demangle_name(c.name);
	if (name && c.offset)
		snprintf(buf, size, "%s+0x%" PRIx64, name, c.offset);
	else if (name)
		snprintf(buf, size, "%s", name);
}

static void read_mapping(const struct what_view *v, struct what *w)
{
	const struct mapping *m = maps_find(&v->maps, w->address);

	w->mapped = m != NULL;
	if (!m)
		return;
	w->start = m->start;
	w->end = m->end;
	snprintf(w->prot, sizeof(w->prot), "%c%c%c%c", m->prot & MAPS_READ ? 'r' : '-',
	         m->prot & MAPS_WRITE ? 'w' : '-', m->prot & MAPS_EXEC ? 'x' : '-',
	         m->prot & MAPS_SHARED ? 's' : 'p');
	snprintf(w->path, sizeof(w->path), "%s",
	         m->name[0] == '/' ? target_inside(v->target, m->name) : m->name);
	w->offset = m->inode ? w->address - m->start + m->offset : 0;
	name_address(v, w->address, w->symbol, sizeof(w->symbol));
}

/* ---- blocks ---- */

static void add_block(struct what *w, const struct regions_block *b)
{
	size_t at = w->n_blocks;

	if (at == WHAT_MAX_BLOCKS)
		return;
	while (at && w->blocks[at - 1].size < b->size) {
		w->blocks[at] = w->blocks[at - 1];
		at--;
	}
	w->blocks[at] = *b;
	w->n_blocks++;
}

static int find_blocks(const struct what_view *v, struct what *w, struct error *err)
{
	const struct runtime_view view = { v->target, v->space };
	const struct regions_input in = { .maps = &v->maps, .threads = &v->threads };

	for (size_t i = 0; registry_runtimes[i]; i++) {
		struct regions_block b = { 0 };
		int r;

		if (!registry_runtimes[i]->find_block)
			continue;
		r = registry_runtimes[i]->find_block(&view, &in, w->address, &b, err);
		if (r == -ESRCH || r == -EPERM || r == -EACCES || r == -ENOMEM)
			return r;
		/* one that can't tell leaves the others their say */
		if (r == 1 && w->address >= b.start && w->address - b.start < b.size)
			add_block(w, &b);
	}
	return 0;
}

/* ---- words ---- */

static bool as_text(const char *bytes, size_t len, char *buf, size_t size)
{
	size_t n = 0;

	while (n < len && isprint((unsigned char)bytes[n]))
		n++;
	if (n < PRINTABLE_LEAST || (n < len && bytes[n] != '\0'))
		return false;
	snprintf(buf, size, "\"%.*s\"%s", (int)n, bytes, n == len ? "..." : "");
	return true;
}

static void explain_word(const struct what_view *v, struct what_word *word)
{
	const struct ladder_range *range;
	char symbol[WHAT_TEXT_BYTES - 4];

	if (word->value < SMALL) {
		snprintf(word->meaning, sizeof(word->meaning), "%" PRIu64, word->value);
		return;
	}
	if (as_text((const char *)&word->value, sizeof(word->value), word->meaning,
	            sizeof(word->meaning)))
		return;
	range = ladder_find(&v->ladder, word->value);
	if (!range)
		return;
	name_address(v, word->value, symbol, sizeof(symbol));
	snprintf(word->meaning, sizeof(word->meaning), "-> %s",
	         symbol[0] ? symbol : v->ladder.parts[range->part].heap.name);
}

static void read_words(const struct what_view *v, struct what *w)
{
	uint64_t at = w->address & ~7ull, raw[WHAT_MAX_WORDS];
	uint64_t room = w->end - at;
	size_t n = WHAT_MAX_WORDS;

	if (w->n_blocks) {
		at = w->blocks[w->n_blocks - 1].start & ~7ull;
		room = w->blocks[w->n_blocks - 1].size;
	}
	if (room / 8 < n)
		n = room / 8;
	w->present = n && reader_try(v->target, at, raw, n * 8) == 0;
	if (!w->present)
		return;
	for (size_t i = 0; i < n; i++) {
		w->words[i].value = raw[i];
		explain_word(v, &w->words[i]);
	}
	/* text that goes on is one word's meaning, the first's */
	as_text((const char *)raw, n * 8, w->words[0].meaning, sizeof(w->words[0].meaning));
	w->n_words = n;
}

int what_look(struct what_view *v, uint64_t address, struct what *ret, struct error *err)
{
	struct what w = { .address = address };
	const struct ladder_range *range;
	int r;

	read_mapping(v, &w);
	range = w.mapped ? ladder_find(&v->ladder, address) : NULL;
	w.has_owner = range != NULL;
	if (range)
		w.owner = v->ladder.parts[range->part].heap;
	r = w.mapped ? find_blocks(v, &w, err) : 0;
	if (r < 0)
		return r;
	if (w.mapped)
		read_words(v, &w);
	*ret = w;
	return 0;
}
