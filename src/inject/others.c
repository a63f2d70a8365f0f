/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/others.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

void others_release(struct others *s)
{
	for (size_t i = 0; i < s->n; i++)
		held_release(s->limbo, &s->items[i]);
	s->n = s->cap = 0;
	free(s->items);
	s->items = NULL;
}

static bool is_stopped(const struct others *s, pid_t tid, pid_t lent)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->items[i].tid == tid)
			return true;
	}
	return tid == lent;
}

/* 1 stopped, 0 not, -errno. */
static int stop_one(const struct target *t, pid_t tid, struct others *s, struct error *err)
{
	const char state = held_state(t, tid);
	struct error unused;
	int r;

	if (state == 'Z' || state == 'X')
		return 0;
	r = array_reserve(&s->items, &s->cap, s->n + 1, err);
	if (r < 0)
		return r;
	if ((state == 'R' || state == 'S') &&
	    held_take(t, s->limbo, tid, &s->items[s->n], &unused) == 0) {
		s->n++;
		return 1;
	}
	s->n_missed += held_state(t, tid) != 'X';
	return 0;
}

int others_stop(const struct target *t, pid_t lent, struct others *s, struct error *err)
{
	for (bool more = true; more;) {
		cleanup_free pid_t *tids = NULL;
		size_t n = 0;
		int r = target_threads(t, &tids, &n, err);

		more = false;
		s->n_missed = 0;
		for (size_t i = 0; r >= 0 && i < n; i++) {
			if (is_stopped(s, tids[i], lent))
				continue;
			r = stop_one(t, tids[i], s, err);
			more |= r == 1;
		}
		if (r < 0)
			return r;
	}
	return 0;
}
