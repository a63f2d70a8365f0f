/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_guess.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"

enum { MAX_CANDIDATES = 256, MAX_SLOTS = 1 << 24 };

void go_guess_clear(struct go_guess *g)
{
	hash_map_clear(&g->by_entry);
	free(g->slots);
	*g = (struct go_guess){ 0 };
}

static bool may_be(const struct go_types_slot *s)
{
	return (s->what == GO_TYPES_POINTER || s->what == GO_TYPES_SLICE) && s->to;
}

/* Pointers and slices of @type, each target once. */
static int add_slots(struct go_guess *g, struct go_types *types, uint32_t type, size_t first,
                     struct error *err)
{
	const struct go_types_type t = *go_types_get(types, type);

	for (uint32_t i = 0; i < t.n_slots; i++) {
		bool is_known = !may_be(&t.slots[i]);
		int r;

		for (size_t k = first; k < g->n_slots && !is_known; k++)
			is_known = g->slots[k].what == t.slots[i].what &&
			           g->slots[k].to == t.slots[i].to;
		if (is_known)
			continue;
		if (g->n_slots - first >= MAX_CANDIDATES || g->n_slots >= MAX_SLOTS)
			return 0;
		r = array_reserve(&g->slots, &g->cap_slots, g->n_slots + 1, err);
		if (r < 0)
			return r;
		g->slots[g->n_slots++] = t.slots[i];
	}
	return 0;
}

int go_guess_candidates(struct go_guess *g, struct go_locals *locals, struct go_types *types,
                        uint64_t entry, uint64_t *ret, struct error *err)
{
	uint64_t *found = hash_map_get(&g->by_entry, entry);
	size_t first = g->n_slots, n = 0, outer;
	const uint32_t *of = NULL;
	int r = 0;

	*ret = found ? *found : 0;
	if (found)
		return 0;
	r = go_locals_types(locals, entry, &of, &n);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_slots(g, types, of[i], first, err);
	/* arrays of slices are on the stack, too: what their elements point to */
	outer = g->n_slots;
	for (size_t i = first; r == 0 && i < outer; i++)
		r = add_slots(g, types, g->slots[i].to, first, err);
	*ret = (uint64_t)first << 32 | (g->n_slots - first);
	return r < 0 ? r : hash_map_put(&g->by_entry, entry, *ret, err);
}

bool go_guess_type(const struct go_guess *g, uint64_t candidates, struct go_claims *c,
                   uint64_t value, size_t span, uint32_t slot, struct go_claims_type *ret)
{
	static const uint8_t unknown[8 * 3] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		                                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	const struct go_types_slot *s = g->slots + (candidates >> 32);
	struct go_claims_type t;
	unsigned found = 0;

	/* without pointers anything fits */
	if (c->objects->spans[span].no_scan)
		return false;
	go_claims_look_into(c, unknown, sizeof(unknown));
	for (uint32_t i = 0; i < (uint32_t)candidates; i++) {
		if (!go_claims_follow(c, &s[i], GO_CLAIMS_VALUE, value, span, slot, &t) ||
		    (found && t.text == ret->text))
			continue;
		*ret = t;
		found++;
	}
	go_claims_look_into(c, NULL, 0);
	return found == 1;
}
