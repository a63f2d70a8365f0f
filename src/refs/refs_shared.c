/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { TEXT_BYTES = 1024, MAX_ROWS = 1000 };

struct order {
	uint32_t set;
	uint64_t bytes;
};

static int more_first(const void *a, const void *b)
{
	const struct order *x = a, *y = b;

	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

static bool is_wanted(const struct shared *s, const struct shared_set *k, const bool *wanted)
{
	for (uint32_t i = 0; wanted && i < k->n; i++) {
		if (wanted[s->roots[k->first + i]])
			return true;
	}
	return !wanted;
}

int refs_shared_add(const struct object_graph *g, const struct shared *s, const bool *wanted,
                    struct report *to, struct error *err)
{
	static const char *const columns[] = { "name", "roots", "retained_bytes",
		                               "retained_objects" };
	cleanup_free struct order *order = calloc(s->n_sets + 1, sizeof(*order));
	struct report_table *t;
	size_t n = 0;
	int r = order ? report_table(to, "shared", columns, ARRAY_SIZE(columns), &t, err)
	              : error_oom(err);

	for (uint32_t i = 0; r == 0 && i < s->n_sets; i++) {
		if (s->sets[i].objects && is_wanted(s, &s->sets[i], wanted))
			order[n++] = (struct order){ i, s->sets[i].bytes };
	}
	if (n)
		qsort(order, n, sizeof(*order), more_first);
	for (size_t i = 0; r == 0 && i < n && i < MAX_ROWS; i++) {
		const struct shared_set *k = &s->sets[order[i].set];
		char name[TEXT_BYTES];

		shared_name(s, g, order[i].set, name, sizeof(name));
		r = report_row(t,
		               (struct report_figure[]){ report_cell_text(name),
		                                         report_cell_int(k->n),
		                                         report_cell_int((int64_t)k->bytes),
		                                         report_cell_int(k->objects) },
		               err);
	}
	return r;
}

/* ---- with whom ---- */

void refs_shared_index_clear(struct refs_shared_index *x)
{
	free(x->first);
	free(x->sets);
	*x = (struct refs_shared_index){ 0 };
}

int refs_shared_index_make(const struct shared *s, size_t n_roots, struct refs_shared_index *ret,
                           struct error *err)
{
	cleanup(refs_shared_index_clear) struct refs_shared_index x = {
		.first = calloc(n_roots + 2, sizeof(*x.first)),
		.sets = malloc((s->n_root_ids + 1) * sizeof(*x.sets)),
	};

	if (!x.first || !x.sets)
		return error_oom(err);
	for (size_t k = 0; k < s->n_root_ids; k++)
		x.first[s->roots[k] + 2]++;
	for (size_t k = 2; k < n_roots + 2; k++)
		x.first[k] += x.first[k - 1];
	for (uint32_t i = 0; i < s->n_sets; i++) {
		for (uint32_t q = 0; q < s->sets[i].n; q++)
			x.sets[x.first[s->roots[s->sets[i].first + q] + 1]++] = i;
	}
	*ret = x;
	x = (struct refs_shared_index){ 0 };
	return 0;
}

void refs_shared_with(const struct object_graph *g, const struct shared *s,
                      const struct refs_shared_index *x, uint32_t root, char *buf, size_t size)
{
	size_t n = 0;

	buf[0] = '\0';
	for (uint32_t i = x->first[root]; i < x->first[root + 1] && n < SHARED_NAMES; i++) {
		const struct shared_set *k = &s->sets[x->sets[i]];

		for (uint32_t q = 0; q < k->n && n < SHARED_NAMES; q++) {
			const uint32_t other = s->roots[k->first + q];
			const char *name = object_graph_name(g, g->roots[other].name);
			size_t used = strlen(buf);

			if (other == root || strstr(buf, name))
				continue;
			snprintf(buf + used, size - used, "%s%s", used ? ", " : "", name);
			n++;
		}
	}
}
