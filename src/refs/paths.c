/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/spare.h"

enum { FRAME_BYTES = 1024, LATELY = 1 << 10, AHEAD = 8, EDGES_AHEAD = 4 };

void paths_clear(struct paths *p)
{
	spare_give(p->place);
	free(p->places);
	object_graph_clear(&p->texts);
	hash_map_clear(&p->index);
	hash_map_clear(&p->frames);
	*p = (struct paths){ 0 };
}

/* Until a node is met, its place says what is to be known then, so that nothing else of it need be
 * looked at, which lies anywhere: its tier, and whether it is shown as shared. */
static uint32_t unmet(unsigned tier, bool is_shared)
{
	return UINT32_MAX - 1 - 2 * tier - is_shared;
}

/* ---- the trie ---- */

static int add_place(struct paths *p, uint32_t parent, uint32_t frame, uint32_t *ret,
                     struct error *err)
{
	const uint64_t key = (uint64_t)parent << 32 | frame;
	uint64_t *found = hash_map_get(&p->index, key);
	int r;

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	if (p->n_places >= unmet(OBJECT_TIERS, true))
		return error_set(err, E2BIG, "too many different chains");
	r = array_reserve(&p->places, &p->cap_places, p->n_places + 1, err);
	if (r == 0)
		r = hash_map_put(&p->index, key, p->n_places, err);
	if (r < 0)
		return r;
	p->places[p->n_places] = (struct paths_place){
		.parent = parent,
		.frame = frame,
		.depth = parent == UINT32_MAX ? 1 : p->places[parent].depth + 1,
	};
	*ret = (uint32_t)p->n_places++;
	return 0;
}

/* The place of @frame below @at, or where @frame is on the way to @at already. */
static int go_down(struct paths *p, uint32_t at, uint32_t frame, uint32_t *ret, struct error *err)
{
	for (uint32_t k = at; k != UINT32_MAX; k = p->places[k].parent) {
		if (p->places[k].frame == frame) {
			*ret = k;
			return 0;
		}
	}
	if (at != UINT32_MAX && p->places[at].depth >= PATHS_MAX_DEPTH) {
		*ret = at;
		return 0;
	}
	return add_place(p, at, frame, ret, err);
}

/* ---- frames ---- */

static int text_frame(struct paths *p, const char *text, uint32_t *ret, struct error *err)
{
	return object_graph_text(&p->texts, text, strlen(text), ret, err);
}

/* ".clusters map[string]*main.Cluster": how it is referred to, and what it is. */
static int edge_frame(struct paths *p, const struct object_graph *g, uint32_t label, uint32_t node,
                      uint32_t *ret, struct error *err)
{
	const uint32_t type = g->type[node] >> 2;
	const uint64_t key = (uint64_t)label << 32 | type;
	uint64_t *found = hash_map_get(&p->frames, key);
	char text[FRAME_BYTES];
	int r;

	if (found) {
		*ret = (uint32_t)*found;
		return 0;
	}
	if (label && type)
		snprintf(text, sizeof(text), "%s %s", object_graph_name(g, label),
		         object_graph_name(g, type));
	else
		snprintf(text, sizeof(text), "%s",
		         label  ? object_graph_name(g, label)
		         : type ? object_graph_name(g, type)
		                : "[unknown type]");
	r = text_frame(p, text, ret, err);
	return r < 0 ? r : hash_map_put(&p->frames, key, *ret, err);
}

static int root_place(struct paths *p, const struct object_graph *g, size_t root, uint32_t *ret,
                      struct error *err)
{
	const struct object_root *k = &g->roots[root];
	char text[FRAME_BYTES];
	uint32_t frame;
	int r;

	if (k->type)
		snprintf(text, sizeof(text), "%s %s", object_graph_name(g, k->name),
		         object_graph_name(g, k->type));
	else if (k->members > 1 && !p->is_plain)
		snprintf(text, sizeof(text), "%s ×%u", object_graph_name(g, k->name), k->members);
	else
		snprintf(text, sizeof(text), "%s", object_graph_name(g, k->name));
	r = text_frame(p, text, &frame, err);
	return r < 0 ? r : add_place(p, UINT32_MAX, frame, ret, err);
}

/* ---- breadth first ---- */

static bool is_unmet(uint32_t place, unsigned tier)
{
	return place == unmet(tier, false) || place == unmet(tier, true);
}

struct walk {
	const struct object_graph *g;
	const struct dominators *d;
	const struct shared *s;
	struct paths *p;
	bool first_come;
	uint32_t first_leaf; /* it and those behind it lead to nothing: they need not wait */
	uint32_t *queue;
	size_t head, tail;
	/* the steps of late: from a place by a label to an object of a type */
	struct step {
		uint32_t at, label, type, place; /* place: + 1; 0: none */
	} lately[LATELY];
	uint32_t *of_set; /* place of what each set of roots shares; UINT32_MAX: none so far; owned
	                   */
};

/* The place that edge @label to @node leads to from @at. */
static int step(struct walk *w, uint32_t at, uint32_t label, uint32_t node, uint32_t *ret,
                struct error *err)
{
	const uint32_t type = w->g->type[node] >> 2;
	struct step *s = &w->lately[(at * 31 + label * 7 + type) % LATELY];
	uint32_t frame;
	int r;

	if (s->place && s->at == at && s->label == label && s->type == type) {
		*ret = s->place - 1;
		return 0;
	}
	r = edge_frame(w->p, w->g, label, node, &frame, err);
	if (r == 0)
		r = go_down(w->p, at, frame, ret, err);
	if (r == 0)
		*s = (struct step){ at, label, type, *ret + 1 };
	return r;
}

/* "shared by A, B". */
static int set_place(struct walk *w, uint32_t set, struct error *err)
{
	char text[FRAME_BYTES];
	uint32_t frame;
	int r;

	if (w->of_set[set] != UINT32_MAX)
		return 0;
	shared_name(w->s, w->g, set, text, sizeof(text));
	r = text_frame(w->p, text, &frame, err);
	return r < 0 ? r : add_place(w->p, UINT32_MAX, frame, &w->of_set[set], err);
}

/* What a root has in common with others: then what it is. */
static int shared_place(struct walk *w, uint32_t node, uint32_t label, uint32_t *ret,
                        struct error *err)
{
	const uint32_t set = w->s->set[node];
	int r = set_place(w, set, err);

	return r < 0 ? r : step(w, w->of_set[set], label, node, ret, err);
}

/* Is it shown where its holder is? Insides, and what a variable is itself: main.list *main.node
 * leads to a main.node. */
static bool is_in_place(const struct object_graph *g, const struct object_root *root, uint32_t to,
                        uint32_t label)
{
	const char *variable;

	if ((g->type[to] & 3) == OBJECT_TYPED_PART)
		return true;
	if (!root || label || !root->type || !(g->type[to] >> 2))
		return false;
	variable = object_graph_name(g, root->type);
	return !strcmp(variable + (*variable == '*'), object_graph_name(g, g->type[to] >> 2));
}

/* Node @to of @tier is met, from what stands at @at; @root: directly from it. */
static int meet(struct walk *w, const struct object_root *root, unsigned tier, uint32_t at,
                uint32_t to, uint32_t label, struct error *err)
{
	struct paths *p = w->p;
	uint32_t place;
	int r;

	if (p->place[to] == unmet(tier, true)) {
		r = shared_place(w, to, label, &place, err);
	} else if (is_in_place(w->g, root, to, label)) {
		place = at;
		r = 0;
	} else {
		r = step(w, at, label, to, &place, err);
	}
	if (r < 0)
		return r;
	p->place[to] = place;
	if (to < w->first_leaf)
		w->queue[w->tail++] = to;
	return 0;
}

static int start_at(struct walk *w, size_t root, struct error *err)
{
	const struct object_root *k = &w->g->roots[root];
	uint32_t at;
	int r;

	if (!k->n_edges)
		return 0;
	r = root_place(w->p, w->g, root, &at, err);
	for (uint32_t e = 0; r == 0 && e < k->n_edges; e++) {
		const struct object_edge *edge = &w->g->root_edges[k->first_edge + e];

		if (is_unmet(w->p->place[edge->to], k->tier))
			r = meet(w, k, k->tier, at, edge->to, edge->label, err);
	}
	return r;
}

/* The objects that come next, asked for from memory early: they lie anywhere. */
static void look_ahead(const struct walk *w)
{
	uint32_t v;

	if (w->head + 2 * AHEAD < w->tail) {
		__builtin_prefetch(&w->g->first_edge[w->queue[w->head + 2 * AHEAD]]);
		__builtin_prefetch(&w->d->tier[w->queue[w->head + 2 * AHEAD]]);
	}
	if (w->head + AHEAD >= w->tail)
		return;
	v = w->g->first_edge[w->queue[w->head + AHEAD]];
	if (v < w->g->n_edges) {
		__builtin_prefetch(&w->g->to[v]);
		__builtin_prefetch(&w->g->label_code[v]);
	}
	v = w->queue[w->head + AHEAD / 2];
	for (uint32_t e = w->g->first_edge[v], end = w->g->first_edge[v + 1], k = 0;
	     e < end && k < EDGES_AHEAD; e++, k++) {
		__builtin_prefetch(&w->p->place[w->g->to[e]]);
		__builtin_prefetch(&w->g->type[w->g->to[e]]);
	}
}

static int go_on(struct walk *w, struct error *err)
{
	int r = 0;

	while (r == 0 && w->head < w->tail) {
		const uint32_t v = w->queue[w->head++];
		const unsigned tier = w->d->tier[v];

		look_ahead(w);
		for (uint32_t e = w->g->first_edge[v]; r == 0 && e < w->g->first_edge[v + 1]; e++) {
			const uint32_t to = w->g->to[e];

			if (is_unmet(w->p->place[to], tier))
				r = meet(w, NULL, tier, w->p->place[v], to,
				         object_graph_label(w->g, e), err);
		}
	}
	return r;
}

static void begin(const struct walk *w)
{
	const uint32_t common = (uint32_t)w->d->n - 1;

	for (size_t v = 0; v < w->g->n_nodes; v++) {
		const uint8_t tier = w->d->tier[v];

		w->p->place[v] = tier < OBJECT_TIERS
		                         ? unmet(tier, !w->first_come && w->d->idom[v] == common)
		                         : UINT32_MAX;
	}
}

static void sum_up(const struct walk *w)
{
	struct paths *p = w->p;

	for (uint32_t v = 0; v < w->g->n_nodes; v++) {
		const uint32_t at = p->place[v];

		if (at >= p->n_places) {
			p->place[v] = UINT32_MAX;
			continue;
		}
		p->places[at].objects++;
		p->places[at].bytes += object_graph_size(w->g, v);
	}
}

static void give(uint32_t **array)
{
	spare_give(*array);
}

int paths_compute(const struct object_graph *g, const struct dominators *d, const struct shared *s,
                  enum refs_view view, const bool *wanted, struct paths *ret, struct error *err)
{
	cleanup(paths_clear) struct paths p = { .is_plain = ret->is_plain };
	const uint32_t first_leaf = object_graph_first_leaf(g);
	cleanup(give) uint32_t *queue = spare_take(((size_t)first_leaf + 1) * sizeof(*queue));
	cleanup_free uint32_t *of_set = malloc((s->n_sets + 1) * sizeof(*of_set));
	struct walk w = { .g = g,
		          .d = d,
		          .s = s,
		          .p = &p,
		          .first_come = view == REFS_FIRST_COME,
		          .first_leaf = first_leaf,
		          .queue = queue,
		          .of_set = of_set };
	int r = 0;

	p.place = spare_take((g->n_nodes + 1) * sizeof(*p.place));
	if (!queue || !of_set || !p.place)
		return error_oom(err);
	memset(of_set, 0xff, (s->n_sets + 1) * sizeof(*of_set));
	begin(&w);
	for (size_t k = 0; r == 0 && k < g->n_roots; k++) {
		if (!wanted || wanted[k])
			r = start_at(&w, k, err);
	}
	if (r == 0)
		r = go_on(&w, err);
	if (r < 0)
		return r;
	sum_up(&w);
	*ret = p;
	p = (struct paths){ 0 };
	return 0;
}
