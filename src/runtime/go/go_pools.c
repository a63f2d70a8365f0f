/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_pools.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

enum { WORD = 8, NAME_BYTES = 512, MAX_POOLS = 1 << 20 };

void go_pools_clear(struct go_pools *p)
{
	free(p->items);
	hash_map_clear(&p->words);
	*p = (struct go_pools){ 0 };
}

static int note(const struct go_emit *e, uint64_t at, struct go_pools *p)
{
	const struct go_module_data *d = e->o->module->data;
	int r;

	/* one in the heap is found through what holds it */
	if (!((at >= d[0].start && at < d[0].end) || (at >= d[1].start && at < d[1].end)) ||
	    go_pools_has(p, at + GO_POOLS_LOCAL))
		return 0;
	r = array_reserve(&p->items, &p->cap, p->n + 1, e->err);
	if (r == 0)
		p->items[p->n++] = (struct go_pool){ .at = at };
	if (r == 0)
		r = hash_map_put(&p->words, at + GO_POOLS_LOCAL, p->n, e->err);
	return r < 0 ? r : hash_map_put(&p->words, at + GO_POOLS_VICTIM, 0, e->err);
}

/* var small = &sync.Pool{...}: the pool itself has no name. */
static void name_by_pointers(const struct go_emit *e, const struct go_symbols *symbols,
                             struct go_pools *p)
{
	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &e->o->module->data[k];

		for (uint64_t at = d->start; at + WORD <= d->end; at += WORD) {
			uint64_t value = go_objects_word(e->o, at);
			uint64_t *found = value ? hash_map_get(&p->words, value) : NULL;

			if (found && *found && value == p->items[*found - 1].at + GO_POOLS_LOCAL &&
			    !p->items[*found - 1].symbol)
				p->items[*found - 1].symbol = go_symbols_at(symbols, at);
		}
	}
}

static void name_pools(const struct go_emit *e, const struct go_symbols *symbols,
                       struct go_pools *p)
{
	bool all = true;

	for (size_t i = 0; i < p->n; i++) {
		p->items[i].symbol = go_symbols_at(symbols, p->items[i].at);
		all &= p->items[i].symbol != NULL;
	}
	if (!all && symbols->n)
		name_by_pointers(e, symbols, p);
}

int go_pools_find(const struct go_emit *e, const struct go_symbols *symbols, struct go_pools *ret)
{
	/* []*Pool: those with something at hand; those with victims only */
	static const char *const lists[] = { "sync.allPools", "sync.oldPools" };
	int r = 0;

	for (size_t k = 0; k < ARRAY_SIZE(lists); k++) {
		uint64_t slice = go_symbols_find(symbols, lists[k]);
		uint64_t list = slice ? go_objects_word(e->o, slice) : 0;
		uint64_t n = slice ? go_objects_word(e->o, slice + WORD) : 0;

		for (uint64_t i = 0; r == 0 && n <= MAX_POOLS && i < n; i++)
			r = note(e, go_objects_word(e->o, list + i * WORD), ret);
	}
	name_pools(e, symbols, ret);
	return r;
}

int go_pools_each(struct go_emit *e, const struct go_pools *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		const struct go_symbol *s = p->items[i].symbol;
		char name[NAME_BYTES];

		snprintf(name, sizeof(name), "sync.Pool of %s", s ? s->name : "?");
		r = go_emit_root(e, name, "sync.Pool", OBJECT_TIER_GLOBAL);
		if (r == 0)
			r = go_emit_at(e, p->items[i].at + GO_POOLS_LOCAL, GO_TYPES_PLAIN,
			               ".local");
		if (r == 0)
			r = go_emit_at(e, p->items[i].at + GO_POOLS_VICTIM, GO_TYPES_PLAIN,
			               ".victim");
	}
	return r;
}
