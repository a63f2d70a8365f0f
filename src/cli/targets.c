/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/targets.h"

#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/target.h"

void targets_clear(struct targets *t)
{
	free(t->items);
	*t = (struct targets){ 0 };
}

static int add_pids(struct targets *to, const pid_t *from, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		int r;

		while (k < to->n && to->items[k] != from[i])
			k++;
		if (k < to->n)
			continue;
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
		if (r < 0)
			return r;
		to->items[to->n++] = from[i];
	}
	return 0;
}

/* The processes that one word means; with --follow the children that are there
 * already, too. */
static int add_target(struct targets *to, const char *spec, bool follow, struct error *err)
{
	cleanup_free pid_t *found = NULL;
	size_t n = 0;
	int r = target_resolve(spec, &found, &n, err);

	if (r == 0)
		r = add_pids(to, found, n, err);
	for (size_t i = 0; r == 0 && follow && i < n; i++) {
		cleanup_free pid_t *children = NULL;
		size_t n_children = 0;

		r = target_descendants(found[i], &children, &n_children, err);
		if (r == 0)
			r = add_pids(to, children, n_children, err);
	}
	return r;
}

int targets_add(struct targets *to, char *const *words, size_t n_words, bool follow,
                struct error *err)
{
	for (size_t i = 0; i < n_words; i++) {
		int r = add_target(to, words[i], follow, err);

		if (r < 0)
			return r;
	}
	return to->n ? 0 : error_set(err, ESRCH, "no process in '%s'", words[0]);
}
