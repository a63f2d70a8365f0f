/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_types.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* The dominator tree's children, as a list of siblings. */
struct tree {
	uint32_t *child, *sibling;
};

static void tree_clear(struct tree *t)
{
	free(t->child);
	free(t->sibling);
}

static int make_tree(const struct dominators *d, struct tree *t, struct error *err)
{
	t->child = malloc(d->n * sizeof(*t->child));
	t->sibling = malloc(d->n * sizeof(*t->sibling));
	if (!t->child || !t->sibling)
		return error_oom(err);
	memset(t->child, 0xff, d->n * sizeof(*t->child));
	memset(t->sibling, 0xff, d->n * sizeof(*t->sibling));
	for (size_t i = d->n_order; i > 1; i--) {
		uint32_t v = d->order[i - 1];

		t->sibling[v] = t->child[d->idom[v]];
		t->child[d->idom[v]] = v;
	}
	return 0;
}

static uint32_t type_of(const struct object_graph *g, uint32_t v)
{
	return g->type[v] >> 2;
}

static int more_retained(const void *a, const void *b)
{
	const struct refs_types_row *x = a, *y = b;

	return x->retained > y->retained ? -1 : x->retained < y->retained;
}

/* Walk the tree; @inside: how many objects of a type are above. */
static void walk(const struct object_graph *g, const struct dominators *d, const struct tree *t,
                 uint32_t *inside, struct refs_types_row *rows)
{
	const uint32_t common = (uint32_t)d->n - 1;
	uint32_t v = common;
	bool down = true;

	for (;;) {
		uint32_t next = down ? t->child[v] : t->sibling[v];

		if (!down) {
			if (v < d->n_nodes)
				inside[type_of(g, v)]--;
			if (v == common)
				return;
			if (next == UINT32_MAX) {
				v = d->idom[v];
				continue;
			}
		} else if (next == UINT32_MAX) {
			down = false;
			continue;
		}
		v = next;
		down = true;
		if (v < d->n_nodes) {
			struct refs_types_row *row = &rows[type_of(g, v)];

			row->objects++;
			row->bytes += object_graph_size(g, v);
			if (!inside[type_of(g, v)]++)
				row->retained += d->retained[v];
		}
	}
}

int refs_types(const struct object_graph *g, const struct dominators *d,
               struct refs_types_row **ret, size_t *ret_n, struct error *err)
{
	cleanup(tree_clear) struct tree t = { 0 };
	cleanup_free struct refs_types_row *rows = calloc(g->n_texts + 1, sizeof(*rows));
	cleanup_free uint32_t *inside = calloc(g->n_texts + 1, sizeof(*inside));
	size_t n = 0;
	int r = rows && inside ? make_tree(d, &t, err) : error_oom(err);

	if (r < 0)
		return r;
	walk(g, d, &t, inside, rows);
	for (size_t i = 0; i < g->n_texts; i++) {
		rows[i].type = (uint32_t)i;
		if (rows[i].objects)
			rows[n++] = rows[i];
	}
	qsort(rows, n, sizeof(*rows), more_retained);
	*ret_n = n;
	*ret = take_ptr(rows);
	return 0;
}
