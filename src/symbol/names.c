/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/names.h"

#include <elf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

/* Where each symbol of a section begins: what bounds one without a size. */
struct starts {
	uint64_t *items;
	size_t n_items, cap_items;
};

struct collect {
	struct names *to;
	struct elf_file *elf;
	struct error *err;
	bool has_locals; /* local functions (crt's at least) were not stripped */
	struct starts starts;
	struct spans unsized;
};

void names_clear(struct names *n)
{
	spans_clear(&n->sized);
	spans_clear(&n->unsized);
}

static bool is_code(const struct elf_file *elf, const struct elf_symbol *s,
                    struct elf_section *section)
{
	if (!s->section || s->section >= elf_file_n_sections(elf))
		return false;
	*section = elf_file_section_at(elf, s->section);
	return section->flags & SHF_EXECINSTR && s->value >= section->vaddr &&
	       s->value - section->vaddr < section->size;
}

/*
 * Of aliases that cover the same bytes: functions before untyped labels, what
 * is exported before what is local, then the name that a person would use: the
 * one with fewer leading underscores (read, __read), then what is no weak
 * alias, then the shorter one.
 */
static uint64_t rank(const struct elf_symbol *s)
{
	uint64_t type = s->type == STT_FUNC ? 2 : s->type == STT_GNU_IFUNC ? 1 : 0;
	uint64_t exported = s->bind != STB_LOCAL, strong = s->bind == STB_GLOBAL;
	size_t underscores = strspn(s->name, "_"), len = strlen(s->name);

	if (underscores > 15)
		underscores = 15;
	if (len > 0xffff)
		len = 0xffff;
	return type << 40 | exported << 36 | (15 - underscores) << 20 | strong << 16 |
	       (0xffff - len);
}

static struct span span_of(const struct elf_symbol *s, uint64_t end)
{
	return (struct span){ s->value, end, rank(s), s->name };
}

/* A label without type and size may be the target of a jump inside a function:
 * only exported ones are functions. */
static bool may_be_unsized_function(const struct elf_symbol *s)
{
	if (s->name[0] == '.' || s->name[0] == '$')
		return false;
	return s->type == STT_FUNC || (s->type == STT_NOTYPE && s->bind != STB_LOCAL);
}

static int collect(const struct elf_symbol *s, void *arg)
{
	struct collect *c = arg;
	struct elf_section section;
	uint64_t end;
	int r;

	if (!s->defined || s->type == STT_SECTION || s->type == STT_FILE || s->type == STT_TLS)
		return 0;
	r = array_reserve(&c->starts.items, &c->starts.cap_items, c->starts.n_items + 1, c->err);
	if (r < 0)
		return r;
	c->starts.items[c->starts.n_items++] = s->value;
	if (!*s->name || (s->type != STT_FUNC && s->type != STT_GNU_IFUNC && s->type != STT_NOTYPE))
		return 0;
	c->has_locals |= s->type == STT_FUNC && s->bind == STB_LOCAL;
	if (s->size) {
		if (s->type == STT_NOTYPE && !is_code(c->elf, s, &section))
			return 0;
		if (__builtin_add_overflow(s->value, s->size, &end))
			return 0;
		return spans_add(&c->to->sized, span_of(s, end), c->err);
	}
	if (!may_be_unsized_function(s) || !is_code(c->elf, s, &section))
		return 0;
	return spans_add(&c->unsized, span_of(s, section.vaddr + section.size), c->err);
}

static void collect_end(struct collect *c)
{
	free(c->starts.items);
	spans_clear(&c->unsized);
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static uint64_t next_start(const struct starts *s, uint64_t addr)
{
	size_t at = partition_point(s->n_items, i, s->items[i] <= addr);

	return at < s->n_items ? s->items[at] : UINT64_MAX;
}

static int bound_unsized(struct collect *c, struct error *err)
{
	if (c->starts.n_items)
		qsort(c->starts.items, c->starts.n_items, sizeof(uint64_t), by_number);
	for (size_t i = 0; i < c->unsized.n_items; i++) {
		struct span one = c->unsized.items[i];
		uint64_t next = next_start(&c->starts, one.start);
		int r;

		if (next < one.end)
			one.end = next;
		r = spans_add(&c->to->unsized, one, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int names_add(struct names *n, struct elf_file *elf, enum elf_symbols where, bool full,
              struct error *err)
{
	cleanup(collect_end) struct collect c = { .to = n, .elf = elf, .err = err };
	int r = elf_file_each_symbol(elf, where, collect, &c);

	if (r < 0 || !full || !c.has_locals)
		return r;
	return bound_unsized(&c, err);
}

int names_finish(struct names *n, struct error *err)
{
	int r = spans_sort(&n->sized, err);

	return r < 0 ? r : spans_sort(&n->unsized, err);
}

const struct span *names_find(const struct names *n, uint64_t vaddr)
{
	const struct span *s = spans_innermost(&n->sized, vaddr);

	if (!s)
		s = spans_innermost(&n->unsized, vaddr);
	return s;
}
