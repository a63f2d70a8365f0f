/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_je_decay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

enum { MAX_ARENAS = 4096, AS_IS = CAPTURE_JE_DECAY_AS_IS };

void capture_je_decay_clear(struct capture_je_decay *d)
{
	heaps_clear(&d->before);
	heaps_clear(&d->after);
	free(d->arenas);
	*d = (struct capture_je_decay){ 0 };
}

/* ---- what is predicted ---- */

static void predict_later(struct capture_je_decay_arena *a, uint64_t bytes, int64_t ms)
{
	if (!bytes || ms <= 0)
		return;
	a->later_bytes += bytes;
	a->within_ms = ms > a->within_ms ? ms : a->within_ms;
}

/* One look: those that have been free for long enough, of which jemalloc alone keeps account. */
static void predict_look(struct capture_je_decay_arena *a, uint64_t bytes, int64_t ms,
                         bool background)
{
	if (ms == 0)
		a->least_bytes += bytes;
	if (ms == 0 || (ms > 0 && !background))
		a->most_bytes += bytes;
	predict_later(a, bytes, ms);
}

void capture_je_decay_predict(struct capture_je_decay_arena *a, int64_t ms, bool background)
{
	const bool to_kernel = a->muzzy_ms == 0;
	const int64_t dirty_ms = ms == AS_IS ? a->dirty_ms : ms;

	a->least_bytes = a->most_bytes = a->later_bytes = 0;
	a->within_ms = 0;
	if (ms == AS_IS)
		predict_look(a, a->muzzy_bytes, a->muzzy_ms, background);
	else
		predict_later(a, a->muzzy_bytes, a->muzzy_ms);
	if (to_kernel && ms > 0) /* it begins to count now */
		predict_later(a, a->dirty_bytes, ms);
	else if (to_kernel)
		predict_look(a, a->dirty_bytes, dirty_ms, background);
	else if (dirty_ms >= 0 && a->muzzy_ms > 0)
		predict_later(a, a->dirty_bytes, dirty_ms + a->muzzy_ms);
}

static int time_of(struct capture_je *c, unsigned arena, const char *what, int64_t *ret,
                   struct error *err)
{
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s_decay_ms", arena, what);
	return jemalloc_control_get(&c->control, name, ret, sizeof(*ret), err);
}

static int add_arena(struct capture_je *c, const struct jemalloc_stats_arena *s,
                     struct capture_je_decay *to, struct error *err)
{
	struct capture_je_decay_arena a = { .arena = s->arena,
		                            .dirty_bytes = s->dirty_resident,
		                            .muzzy_bytes = s->muzzy_resident };
	int r;

	if (!a.dirty_bytes && !a.muzzy_bytes)
		return 0;
	r = time_of(c, a.arena, "dirty", &a.dirty_ms, err);
	if (r == 0)
		r = time_of(c, a.arena, "muzzy", &a.muzzy_ms, err);
	if (r < 0)
		return r;
	capture_je_decay_predict(&a, to->ms, to->background);
	to->least_bytes += a.least_bytes;
	to->most_bytes += a.most_bytes;
	to->later_bytes += a.later_bytes;
	to->within_ms = a.within_ms > to->within_ms ? a.within_ms : to->within_ms;
	to->arenas[to->n++] = a;
	return 0;
}

static int predict(struct capture_je *c, struct capture_je_decay *to, struct error *err)
{
	cleanup(jemalloc_stats_clear) struct jemalloc_stats_list list = { 0 };
	uint8_t background = 0;
	int r = jemalloc_control_get(&c->control, "background_thread", &background, 1, err);

	if (r == -ENOENT) /* built without */
		r = 0;
	if (r == 0)
		r = capture_je_stats(c, &list, err);
	to->background = background;
	if (r == -ENOTSUP) /* a heap in which nothing is allocated has no shape */
		return 0;
	if (r < 0)
		return r;
	to->known = true;
	to->arenas = calloc(list.items[0].n_arenas + 1, sizeof(*to->arenas));
	if (!to->arenas)
		return error_oom(err);
	for (size_t i = 0; r == 0 && i < list.items[0].n_arenas; i++)
		r = add_arena(c, &list.items[0].arenas[i], to, err);
	return r;
}

/* ---- what is done ---- */

/* An arena that was never made has no times: EFAULT. */
static int set_time_of(struct capture_je *c, uint64_t arena, int64_t ms, struct error *err)
{
	char name[64];
	int r;

	snprintf(name, sizeof(name), "arena.%llu.dirty_decay_ms", (unsigned long long)arena);
	r = jemalloc_control_set(&c->control, name, &ms, sizeof(ms), err);
	return r == -EFAULT || r == -ENOENT ? 0 : r;
}

static int set_times(struct capture_je *c, int64_t ms, struct error *err)
{
	uint32_t n = 0;
	int r = jemalloc_control_get(&c->control, "arenas.narenas", &n, sizeof(n), err);

	if (r == 0)
		r = jemalloc_control_set(&c->control, "arenas.dirty_decay_ms", &ms, sizeof(ms),
		                         err);
	for (uint64_t i = 0; r == 0 && i < n && i < MAX_ARENAS; i++)
		r = set_time_of(c, i, ms, err);
	return r;
}

int capture_je_decay(struct capture_je *c, int64_t ms, struct capture_je_decay *ret,
                     struct error *err)
{
	int r;

	ret->ms = ms;
	r = predict(c, ret, err);
	if (r == 0)
		r = heaps_read(&c->heaps, false, &ret->before, err);
	if (r == 0 && ms == AS_IS)
		r = jemalloc_control_set(&c->control, "arena." CAPTURE_JE_ALL_ARENAS ".decay", NULL,
		                         0, err);
	else if (r == 0)
		r = set_times(c, ms, err);
	if (r == 0)
		r = heaps_read(&c->heaps, false, &ret->after, err);
	if (r < 0)
		return r;
	heaps_note_missing(&ret->before, &ret->after);
	return 0;
}
