/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_types.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"

static uint32_t type_of(const struct object_graph *g, uint32_t v)
{
	return g->type[v] >> 2;
}

static int more_retained(const void *a, const void *b)
{
	const struct refs_types_row *x = a, *y = b;

	return x->retained > y->retained ? -1 : x->retained < y->retained;
}

/* Objects that the walk is inside of and that are the outermost of their types. */
struct inside {
	uint32_t type;
	size_t end;      /* place behind the last that it retains */
	uint64_t before; /* bytes before it */
};

/* The tree from the common root down. @open: of each type, whether one is in @inside. */
static void walk(const struct object_graph *g, const struct dominators *d, struct inside *inside,
                 bool *open, struct refs_types_row *rows)
{
	uint64_t bytes = 0;
	size_t n = 0;

	for (size_t k = 1; k <= d->n_order; k++) {
		const uint32_t v = k < d->n_order ? d->order[k] : UINT32_MAX;

		dominators_look_ahead(g, d, k);
		for (; n && inside[n - 1].end <= k; n--) {
			rows[inside[n - 1].type].retained += bytes - inside[n - 1].before;
			open[inside[n - 1].type] = false;
		}
		if (v >= d->n_nodes)
			continue;
		if (!open[type_of(g, v)]) {
			open[type_of(g, v)] = true;
			inside[n++] = (struct inside){ type_of(g, v), d->end[k], bytes };
		}
		rows[type_of(g, v)].objects++;
		rows[type_of(g, v)].bytes += object_graph_size(g, v);
		bytes += object_graph_size(g, v);
	}
}

int refs_types(const struct object_graph *g, const struct dominators *d,
               struct refs_types_row **ret, size_t *ret_n, struct error *err)
{
	cleanup_free struct refs_types_row *rows = calloc(g->n_texts + 1, sizeof(*rows));
	cleanup_free struct inside *inside = calloc(g->n_texts + 1, sizeof(*inside));
	cleanup_free bool *open = calloc(g->n_texts + 1, sizeof(*open));
	size_t n = 0;

	if (!rows || !inside || !open)
		return error_oom(err);
	walk(g, d, inside, open, rows);
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
