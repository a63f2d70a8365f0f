/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_pools.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_variables.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	MAX_POOLS = 1 << 20,
	/* offsets in sync.Pool, next to GO_POOLS_LOCAL and _VICTIM */
	LOCAL_SIZE = 8,
	VICTIM_SIZE = 24,
	NEW = 32,
	LOCAL_BYTES = 128, /* of a poolLocal */
};

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
		p->items[p->n++] = (struct go_pool){ .at = at, .variable = at };
	if (r == 0)
		r = hash_map_put(&p->words, at + GO_POOLS_LOCAL, p->n, e->err);
	return r < 0 ? r : hash_map_put(&p->words, at + GO_POOLS_VICTIM, 0, e->err);
}

/* var small = &sync.Pool{...}: the pool itself has no name. */
static void name_by_pointers(const struct go_emit *e, const struct go_symbols *symbols,
                             struct go_pools *p)
{
	char name[NAME_BYTES];

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &e->o->module->data[k];

		for (uint64_t at = d->start; at + WORD <= d->end; at += WORD) {
			uint64_t value = go_objects_word(e->o, at);
			uint64_t *found = value ? hash_map_get(&p->words, value) : NULL;

			if (found && *found && value == p->items[*found - 1].at + GO_POOLS_LOCAL &&
			    p->items[*found - 1].variable == p->items[*found - 1].at &&
			    go_symbols_name(symbols, at, name, sizeof(name)))
				p->items[*found - 1].variable = at;
		}
	}
}

static void name_pools(const struct go_emit *e, const struct go_symbols *symbols,
                       struct go_pools *p)
{
	char name[NAME_BYTES];
	bool all = true;

	for (size_t i = 0; i < p->n; i++)
		all &= go_symbols_name(symbols, p->items[i].at, name, sizeof(name));
	if (!all && (symbols->n || (symbols->types && go_types_dwarf_of(symbols->types))))
		name_by_pointers(e, symbols, p);
}

/* Has a pool this list of one poolLocal for each P, in the heap? 0 of them: it was found empty
 * (getSlow). */
static bool is_list(const struct go_emit *e, uint64_t list, uint64_t n)
{
	size_t span;
	uint32_t slot = go_objects_find(e->o, list, &span);

	return slot != UINT32_MAX && n <= e->o->spans[span].elemsize / LOCAL_BYTES;
}

/* Is @at a slice of pointers to pools? Each has something at hand or as its victim; what it lacks
 * is nil. */
static bool is_pools(const struct go_emit *e, uint64_t at)
{
	uint64_t list = go_objects_word(e->o, at), n = go_objects_word(e->o, at + WORD);

	if (!list || !n || n > go_objects_word(e->o, at + 2 * WORD) || n > MAX_POOLS)
		return false;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t pool = go_objects_word(e->o, list + i * WORD);
		uint64_t local = pool ? go_objects_word(e->o, pool + GO_POOLS_LOCAL) : 0;
		uint64_t victim = pool ? go_objects_word(e->o, pool + GO_POOLS_VICTIM) : 0;

		if ((!local && !victim) ||
		    (local && !is_list(e, local, go_objects_word(e->o, pool + LOCAL_SIZE))) ||
		    (victim && !is_list(e, victim, go_objects_word(e->o, pool + VICTIM_SIZE))))
			return false;
	}
	return true;
}

/* []*Pool at @slice. */
static int note_list(const struct go_emit *e, uint64_t slice, struct go_pools *p)
{
	uint64_t list = go_objects_word(e->o, slice), n = go_objects_word(e->o, slice + WORD);
	int r = 0;

	for (uint64_t i = 0; r == 0 && n <= MAX_POOLS && i < n; i++)
		r = note(e, go_objects_word(e->o, list + i * WORD), p);
	return r;
}

int go_pools_find(const struct go_emit *e, const struct go_symbols *symbols, struct go_pools *ret)
{
	/* []*Pool: those with something at hand; those with victims only */
	const uint64_t all = go_symbols_find(symbols, "sync.allPools");
	const uint64_t old = go_symbols_find(symbols, "sync.oldPools");
	struct go_variables used = { .at = { all, old }, .n = 2 };
	const bool is_sure = all && old;
	int r = 0;

	if (!is_sure)
		go_variables_of(e->o->module, "sync.poolCleanup", GO_VARIABLES_ANY, &used);
	for (size_t k = 0; r == 0 && k < used.n; k++) {
		if (is_sure || is_pools(e, used.at[k]))
			r = note_list(e, used.at[k], ret);
	}
	name_pools(e, symbols, ret);
	return r;
}

/* Without a name its function New says what it is for. */
static void name_of(const struct go_emit *e, const struct go_symbols *symbols,
                    const struct go_pool *p, char *buf, size_t size)
{
	char name[NAME_BYTES], function[NAME_BYTES];
	bool is_named = go_symbols_name(symbols, p->variable, name, sizeof(name));

	function[0] = '\0';
	if (!is_named)
		go_emit_function(e, go_objects_word(e->o, p->at + NEW), function, sizeof(function));
	snprintf(buf, size, "sync.Pool of %s%s%s", name, function[0] ? ", New: " : "", function);
}

int go_pools_each(struct go_emit *e, const struct go_symbols *symbols, const struct go_pools *p)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++) {
		char name[2 * NAME_BYTES + 32];

		name_of(e, symbols, &p->items[i], name, sizeof(name));
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
