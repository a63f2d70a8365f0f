/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/others.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"

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

/* Ask @tid to stop: the last of @s, which does not count it so far. 1 asked, 0 not, -errno. */
static int ask_one(const struct target *t, pid_t tid, struct others *s, size_t n_asked,
                   struct error *err)
{
	const char state = held_state(t, tid);
	struct error unused;
	int r;

	if (state == 'Z' || state == 'X')
		return 0;
	r = array_reserve(&s->items, &s->cap, s->n + n_asked + 1, err);
	if (r < 0)
		return r;
	if ((state == 'R' || state == 'S') &&
	    held_ask(t, s->limbo, tid, &s->items[s->n + n_asked], &unused) == 0)
		return 1;
	s->n_missed += held_state(t, tid) != 'X';
	return 0;
}

/* Those that were asked stop at the same time; who does not is left out. True: some did. */
static bool await(const struct target *t, struct others *s, size_t n_asked)
{
	/* in limbo there is not room for everybody */
	const unsigned ms = s->limbo->n + n_asked > HELD_MAX_LIMBO ? HELD_STOP_MS : s->patience_ms;
	const uint64_t until = clock_now_ns() + ms * 1000000ull;
	const size_t end = s->n + n_asked, before = s->n;
	struct error unused;

	for (size_t i = s->n; i < end; i++) {
		struct held h = s->items[i];

		if (held_await(t, s->limbo, &h, until, &unused) == 0)
			s->items[s->n++] = h;
		else
			s->n_missed += held_state(t, h.tid) != 'X';
	}
	return s->n > before;
}

int others_stop(const struct target *t, pid_t lent, struct others *s, struct error *err)
{
	for (bool more = true; more;) {
		cleanup_free pid_t *tids = NULL;
		size_t n = 0, n_asked = 0;
		int r = target_threads(t, &tids, &n, err);

		s->n_missed = 0;
		for (size_t i = 0; r >= 0 && i < n; i++) {
			if (is_stopped(s, tids[i], lent))
				continue;
			r = ask_one(t, tids[i], s, n_asked, err);
			n_asked += r == 1;
		}
		more = await(t, s, n_asked);
		if (r < 0)
			return r;
	}
	return 0;
}
