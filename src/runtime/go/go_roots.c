/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_roots.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/go/go_stacks.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	MAX_SPECIALS = 1 << 24,
	CLEANUP_WORDS = 4,
};

struct roots {
	struct go_objects *o;
	struct object_graph *texts;
	const struct go_roots_sink *to;
	struct error *err;
	struct symbol {
		uint64_t start, end;
		const char *name;
	} * symbols;
	size_t n_symbols, cap_symbols;
};

static uint64_t word(const struct roots *r, uint64_t at)
{
	uint64_t v;

	return image_read(r->o->image, at, &v, sizeof(v)) == 0 ? v : 0;
}

static int begin(struct roots *r, const char *name, const char *kind, enum object_tier tier,
                 uint64_t at)
{
	struct object_root root = { .tier = tier };
	int e = object_graph_text(r->texts, name, strlen(name), &root.name, r->err);

	if (e == 0)
		e = object_graph_text(r->texts, kind, strlen(kind), &root.kind, r->err);
	return e < 0 ? e : r->to->root(r->to->arg, &root, at, r->err);
}

static bool points_into_heap(const struct roots *r, uint64_t value)
{
	size_t span;

	return go_objects_find(r->o, value, &span) != UINT32_MAX;
}

/* ---- globals ---- */

static int note_symbol(const struct elf_symbol *s, void *arg)
{
	struct roots *r = arg;
	const struct go_module *m = r->o->module;
	uint64_t start = s->value + m->bias;
	int e;

	if (!s->defined || !s->size || s->type != STT_OBJECT ||
	    !((start >= m->data[0].start && start < m->data[0].end) ||
	      (start >= m->data[1].start && start < m->data[1].end)))
		return 0;
	e = array_reserve(&r->symbols, &r->cap_symbols, r->n_symbols + 1, r->err);
	if (e < 0)
		return e;
	r->symbols[r->n_symbols++] = (struct symbol){ start, start + s->size, s->name };
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->start != y->start)
		return x->start < y->start ? -1 : 1;
	/* of two names of one place the runtime's own comes last */
	return strcmp(x->name, y->name);
}

static int read_symbols(struct roots *r)
{
	int e = elf_file_each_symbol(r->o->module->exe, ELF_SYMTAB, note_symbol, r);

	if (r->n_symbols)
		qsort(r->symbols, r->n_symbols, sizeof(*r->symbols), by_start);
	return e < 0 ? e : 0;
}

static const struct symbol *symbol_of(const struct roots *r, uint64_t addr)
{
	size_t behind = partition_point(r->n_symbols, i, r->symbols[i].start <= addr);

	/* the last that begins at or before it, of those the first name */
	while (behind > 1 && r->symbols[behind - 2].start == r->symbols[behind - 1].start)
		behind--;
	return behind && addr < r->symbols[behind - 1].end ? &r->symbols[behind - 1] : NULL;
}

/* One pointer word of data or bss. Words of one variable are one root. */
static int global(struct roots *r, const char *segment, uint64_t base, uint64_t at, uint64_t value,
                  const struct symbol **last)
{
	const struct symbol *s = symbol_of(r, at);
	char text[NAME_BYTES];
	int e = 0;

	if (!s) {
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, segment, at - base);
		e = begin(r, text, "global", OBJECT_TIER_GLOBAL, at);
	} else if (s != *last) {
		e = begin(r, s->name, "global", OBJECT_TIER_GLOBAL, at);
	}
	*last = s;
	if (e < 0)
		return e;
	text[0] = '\0';
	if (s && at > s->start)
		snprintf(text, sizeof(text), "+%" PRIu64, at - s->start);
	return r->to->pointer(r->to->arg, value, at, text, r->err);
}

static int globals(struct roots *r)
{
	static const char *const names[] = { "data", "bss" };

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &r->o->module->data[k];
		uint64_t words = d->end > d->start ? (d->end - d->start) / WORD : 0;
		const struct symbol *last = NULL;
		const uint8_t *mask;

		if (words > d->mask_bits)
			words = d->mask_bits;
		mask = words ? image_at(r->o->image, d->mask, (words + 7) / 8) : NULL;
		for (uint64_t w = 0; mask && w < words; w++) {
			uint64_t value;
			int e;

			if (!(mask[w / 8] >> w % 8 & 1))
				continue;
			value = word(r, d->start + w * WORD);
			if (!value || !points_into_heap(r, value))
				continue;
			e = global(r, names[k], d->start, d->start + w * WORD, value, &last);
			if (e < 0)
				return e;
		}
	}
	return 0;
}

/* ---- finalizers and cleanups ---- */

static int special(struct roots *r, const struct go_objects_span *s, uint64_t at, uint64_t *next)
{
	const struct go_layout *l = r->o->module->layout;
	uint64_t offset = 0, value;
	uint8_t kind;
	int e = 0;

	if (image_read(r->o->image, at + l->special_kind, &kind, 1) < 0)
		return 0;
	*next = word(r, at + l->special_next);
	/* uint16 before 1.24 */
	image_read(r->o->image, at + l->special_offset, &offset,
	           l->special_kind - l->special_offset < WORD ? 2 : WORD);
	if (kind == l->special_finalizer) {
		/* it keeps what the object refers to, and its own closure */
		e = r->to->pointer(r->to->arg, s->start + offset, 0, "object with finalizer",
		                   r->err);
		value = word(r, at + l->special_fn);
		if (e == 0 && points_into_heap(r, value))
			e = r->to->pointer(r->to->arg, value, 0, "finalizer", r->err);
	} else if (kind == l->special_cleanup) {
		for (unsigned w = 0; e == 0 && w < CLEANUP_WORDS; w++) {
			value = word(r, at + l->special_cleanup_fn + w * WORD);
			if (points_into_heap(r, value))
				e = r->to->pointer(r->to->arg, value, 0, "cleanup", r->err);
		}
	}
	return e;
}

static int finalizers(struct roots *r)
{
	int e = begin(r, "finalizers and cleanups", "finalizer", OBJECT_TIER_ANONYMOUS, 0);
	uint64_t n = 0;

	for (size_t i = 0; e == 0 && i < r->o->n_spans; i++) {
		const struct go_objects_span *s = &r->o->spans[i];
		uint64_t next = 0;

		for (uint64_t at = s->specials; e == 0 && at && n < MAX_SPECIALS; at = next, n++) {
			next = 0;
			e = special(r, s, at, &next);
		}
	}
	return e;
}

int go_roots_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                  const struct go_roots_sink *to, struct error *err)
{
	struct roots r = { .o = o, .texts = claims->texts, .to = to, .err = err };
	int e = read_symbols(&r);

	if (e == 0)
		e = globals(&r);
	if (e == 0)
		e = go_stacks_each(o, claims, guess, to, err);
	if (e == 0)
		e = finalizers(&r);
	free(r.symbols);
	return e;
}
