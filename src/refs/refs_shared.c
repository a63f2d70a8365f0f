/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_shared.h"

#include <stdlib.h>

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
