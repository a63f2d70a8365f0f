/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_roots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_own.h"
#include "runtime/go/go_pools.h"
#include "runtime/go/go_specials.h"
#include "runtime/go/go_stacks.h"
#include "runtime/go/go_statics.h"
#include "runtime/go/go_timers.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
};

struct roots {
	struct go_objects *o;
	struct object_graph *texts;
	const struct go_roots_sink *to;
	struct error *err;
	const struct go_symbols *symbols;
	const struct go_pools *pools;
	const struct go_statics *statics;
	struct go_types *types; /* NULL: none */
	uint64_t variable;      /* that was begun last, of those that only DWARF names */
	struct global_word {
		uint64_t owner; /* address of the variable whose it is, or its own */
		uint64_t at, value;
	} * words;
	size_t n_words, cap_words;
};

static uint64_t word(const struct roots *r, uint64_t at)
{
	return image_uint64(r->o->image, at);
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

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* The runtime's own variables lead to everything that it knows of; they are the weakest. */
static int begin_global(struct roots *r, const char *name, uint64_t at)
{
	if (starts(name, "runtime.") || starts(name, "internal/runtime/") ||
	    starts(name, "runtime/internal/") || !strcmp(name, "sync.allPools") ||
	    !strcmp(name, "sync.oldPools"))
		return begin(r, name, "runtime", OBJECT_TIER_RUNTIME, at);
	return begin(r, name, !strcmp(name, "runtime/cgo.handles") ? "cgo handle" : "global",
	             OBJECT_TIER_GLOBAL, at);
}

/* Without a symbol table. */
static int begin_nameless(struct roots *r, uint64_t at)
{
	uint64_t start = 0;
	char name[NAME_BYTES];

	if (go_symbols_name(r->symbols, at, name, sizeof(name))) {
		bool is_begun = go_types_variable(r->types, at, &start) && start == r->variable;

		r->variable = start;
		return is_begun ? 0 : begin_global(r, name, at);
	}
	r->variable = 0;
	return begin(r, name, "global", OBJECT_TIER_GLOBAL, at);
}

/* One pointer word of data or bss. Words of one variable, and of what the linker made for it, are
 * one root. */
static int global(struct roots *r, const struct global_word *w, const struct go_symbol **last)
{
	const struct go_symbol *s = go_symbols_at(r->symbols, w->owner);
	const struct go_static *in = go_statics_at(r->statics, w->at);
	const uint64_t at = w->at, value = w->value;
	char text[NAME_BYTES];
	int e = 0;

	if (!s)
		e = begin_nameless(r, w->owner);
	else if (s != *last)
		e = begin_global(r, s->name, w->owner);
	*last = s;
	if (e < 0)
		return e;
	if (in) {
		const struct go_roots_local l = { .label = in->label,
			                          .type = in->type,
			                          .offset = (uint32_t)((at - in->start) % in->size),
			                          .at = at };

		return r->to->local(r->to->arg, value, &l, r->err);
	}
	text[0] = '\0';
	if (s && at > s->start)
		snprintf(text, sizeof(text), "+%" PRIu64, at - s->start);
	return r->to->pointer(r->to->arg, value, at, text, r->err);
}

static int note_word(struct roots *r, uint64_t at)
{
	const struct go_static *in = go_statics_at(r->statics, at);
	uint64_t value = word(r, at);
	int e;

	if (!value || !points_into_heap(r, value) || go_pools_has(r->pools, at))
		return 0;
	e = array_reserve(&r->words, &r->cap_words, r->n_words + 1, r->err);
	if (e == 0)
		r->words[r->n_words++] = (struct global_word){ in ? in->owner : at, at, value };
	return e;
}

static int by_owner(const void *a, const void *b)
{
	const struct global_word *x = a, *y = b;

	if (x->owner != y->owner)
		return x->owner < y->owner ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static int note_words(struct roots *r, const struct go_module_data *both)
{
	int e = 0;

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &both[k];
		uint64_t words = d->end > d->start ? (d->end - d->start) / WORD : 0;
		const uint8_t *mask;

		if (words > d->mask_bits)
			words = d->mask_bits;
		mask = words ? image_at(r->o->image, d->mask, (words + 7) / 8) : NULL;
		for (uint64_t w = 0; e == 0 && mask && w < words; w++) {
			if (mask[w / 8] >> w % 8 & 1)
				e = note_word(r, d->start + w * WORD);
		}
	}
	return e;
}

static int globals(struct roots *r)
{
	const struct go_module *m = r->o->module;
	const struct go_symbol *last = NULL;
	int e = note_words(r, m->data);

	for (size_t k = 0; e == 0 && k < m->n_others; k++)
		e = note_words(r, m->others[k].data);
	if (r->n_words)
		qsort(r->words, r->n_words, sizeof(*r->words), by_owner);
	for (size_t i = 0; e == 0 && i < r->n_words; i++)
		e = global(r, &r->words[i], &last);
	free(r->words);
	return e;
}

int go_roots_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                  const struct go_roots_sink *to, struct error *err)
{
	cleanup(go_symbols_clear) struct go_symbols symbols = { 0 };
	cleanup(go_pools_clear) struct go_pools pools = { 0 };
	cleanup(go_statics_clear) struct go_statics statics = { 0 };
	struct go_emit emit = { .o = o, .texts = claims->texts, .to = to, .err = err };
	struct roots r = { .o = o,
		           .texts = claims->texts,
		           .to = to,
		           .symbols = &symbols,
		           .pools = &pools,
		           .statics = &statics,
		           .types = claims->types,
		           .err = err };
	cleanup_free struct go_goroutine *all = NULL;
	size_t n = 0;
	int e = go_symbols_read(o->module, &symbols, err);

	symbols.types = claims->types;
	if (e == 0)
		e = go_goroutines_read(o, &all, &n, err);
	if (e == 0)
		e = go_own_each(o, claims->texts, to, &symbols, all, n, err);
	if (e == 0)
		e = go_pools_find(&emit, &symbols, &pools);
	if (e == 0)
		e = go_statics_find(claims, &statics, err);
	if (e == 0)
		e = globals(&r);
	if (e == 0)
		e = go_pools_each(&emit, &symbols, &pools);
	if (e == 0)
		e = go_stacks_each(o, claims, guess, all, n, to, err);
	if (e == 0)
		e = go_timers_each(&emit, &symbols);
	return e < 0 ? e : go_specials_each(&emit, &symbols);
}
