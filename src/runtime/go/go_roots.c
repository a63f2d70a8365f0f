/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_roots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/go/go_own.h"
#include "runtime/go/go_pools.h"
#include "runtime/go/go_specials.h"
#include "runtime/go/go_stacks.h"
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

/* One pointer word of data or bss. Words of one variable are one root. */
static int global(struct roots *r, const char *segment, uint64_t base, uint64_t at, uint64_t value,
                  const struct go_symbol **last)
{
	const struct go_symbol *s = go_symbols_at(r->symbols, at);
	char text[NAME_BYTES];
	int e = 0;

	if (!s) {
		snprintf(text, sizeof(text), "%s+0x%" PRIx64, segment, at - base);
		e = begin(r, text, "global", OBJECT_TIER_GLOBAL, at);
	} else if (s != *last) {
		e = begin_global(r, s->name, at);
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
		const struct go_symbol *last = NULL;
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
			if (!value || !points_into_heap(r, value) ||
			    go_pools_has(r->pools, d->start + w * WORD))
				continue;
			e = global(r, names[k], d->start, d->start + w * WORD, value, &last);
			if (e < 0)
				return e;
		}
	}
	return 0;
}

int go_roots_each(struct go_objects *o, struct go_claims *claims, struct go_guess *guess,
                  const struct go_roots_sink *to, struct error *err)
{
	cleanup(go_symbols_clear) struct go_symbols symbols = { 0 };
	cleanup(go_pools_clear) struct go_pools pools = { 0 };
	struct go_emit emit = { .o = o, .texts = claims->texts, .to = to, .err = err };
	struct roots r = { .o = o,
		           .texts = claims->texts,
		           .to = to,
		           .symbols = &symbols,
		           .pools = &pools,
		           .err = err };
	cleanup_free struct go_goroutine *all = NULL;
	size_t n = 0;
	int e = go_symbols_read(o->module, &symbols, err);

	if (e == 0)
		e = go_goroutines_read(o, &all, &n, err);
	if (e == 0)
		e = go_own_each(o, claims->texts, to, &symbols, all, n, err);
	if (e == 0)
		e = go_pools_find(&emit, &symbols, &pools);
	if (e == 0)
		e = globals(&r);
	if (e == 0)
		e = go_pools_each(&emit, &pools);
	if (e == 0)
		e = go_stacks_each(o, claims, guess, all, n, to, err);
	if (e == 0)
		e = go_timers_each(&emit, &symbols);
	return e < 0 ? e : go_specials_each(&emit, &symbols);
}
