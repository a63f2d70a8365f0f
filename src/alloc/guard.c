/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/guard.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define COUNT_NS   200000000ULL
#define COUNT_HITS 20000ULL
#define WINDOW_NS  1000000000ULL

/* Mean cost of a hit: allocations cost their return and their stack. */
static double hit_ns(const struct calibrate_costs *costs, const struct guard_sample *s)
{
	double share = s->hits ? (double)s->allocations / (double)s->hits : 0;
	double depth = s->walks ? (double)s->frames / (double)s->walks : 0;

	return share * (costs->allocation + depth * costs->frame) + (1 - share) * costs->entry;
}

double guard_cost_ns(const struct calibrate_costs *costs, const struct guard_sample *s)
{
	return (double)s->hits * hit_ns(costs, s);
}

static double own_ns(const struct calibrate_costs *costs, const struct guard_sample *s)
{
	return s->wall_ns - (double)s->busiest_hits * costs->count;
}

bool guard_is_beyond(const struct calibrate_costs *costs, const struct guard_sample *s)
{
	return s->busiest_hits && own_ns(costs, s) <= s->wall_ns / 100;
}

double guard_estimate(const struct calibrate_costs *costs, const struct guard_sample *s,
                      double *hits_per_second)
{
	/* the time that the counting itself took is not the target's pace */
	const double own = guard_is_beyond(costs, s) ? s->wall_ns / 100 : own_ns(costs, s);

	*hits_per_second = (double)s->busiest_hits * 1e9 / own;
	return 1 + (double)s->busiest_hits / own * hit_ns(costs, s);
}

double guard_recorded(const struct calibrate_costs *costs, const struct guard_sample *s)
{
	double share = (double)s->busiest_hits * hit_ns(costs, s) / s->wall_ns;

	return 1 / (1 - (share < 0.999 ? share : 0.999));
}

/* ns that a thread was ready to run and did not: the second figure of schedstat
 * (Documentation/scheduler/sched-stats.rst). */
static bool read_waited(pid_t tid, u64 *ret)
{
	char path[64];
	unsigned long ran, waited;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", tid);
	cleanup_fclose FILE *f = fopen(path, "re");
	if (!f || fscanf(f, "%lu %lu", &ran, &waited) != 2)
		return false;
	*ret = waited;
	return true;
}

void guard_note_threads(struct guard *g, const pid_t *tids, size_t n)
{
	struct error ignored;
	u64 waited;

	g->noted_ns = clock_now_ns();
	for (size_t i = 0; i < n; i++) {
		if (read_waited(tids[i], &waited))
			hash_map_put(&g->waited, tids[i], waited, &ignored);
	}
}

void guard_clear(struct guard *g)
{
	hash_map_clear(&g->waited);
}

/* Part of @wall in which the thread had a processor or wanted none; what it
 * waited for is known since the note, which is a little longer. */
static double own_time(const struct guard *g, pid_t tid, double wall)
{
	uint64_t *before = hash_map_get(&g->waited, tid);
	double since = (double)(clock_now_ns() - g->noted_ns), share;
	u64 waited;

	if (!before || !read_waited(tid, &waited) || waited < *before || since <= 0)
		return wall;
	share = 1 - (double)(waited - *before) / since;
	/* it ran at least enough to be hit */
	return wall * (share > 0.02 ? share : 0.02);
}

static struct alloc_counters snapshot(const struct engine_bpf *e)
{
	const volatile struct alloc_counters *c = engine_bpf_counters(e);
	struct alloc_counters copy;

	memcpy(&copy, (const void *)c, sizeof(copy));
	return copy;
}

void guard_count(struct guard *g, struct engine_bpf *e)
{
	u64 start = clock_now_ns(), wall;
	struct engine_bpf_thread busiest = { 0 };
	struct guard_sample sample;
	struct alloc_counters c;
	double pace;

	engine_bpf_reset_counters(e);
	do {
		usleep(1000);
		wall = clock_now_ns() - start;
	} while (wall < COUNT_NS && engine_bpf_counters(e)->hits < COUNT_HITS);
	c = snapshot(e);
	engine_bpf_threads(e, &busiest, 1);
	sample = (struct guard_sample){
		.wall_ns = own_time(g, busiest.tid, (double)wall),
		.busiest_hits = busiest.hits,
		.hits = c.hits,
		.allocations = c.allocs,
		.walks = c.walks,
		.frames = c.frames,
	};
	g->counted = sample;
	g->estimate = guard_estimate(&g->costs, &sample, &pace);
	g->is_beyond = guard_is_beyond(&g->costs, &sample);
	g->hits_per_second = (u64)(g->is_beyond ? (double)sample.busiest_hits * 1e9 / (double)wall
	                                        : pace);
}

void guard_begin(struct guard *g, struct engine_bpf *e)
{
	struct engine_bpf_thread ignored;

	engine_bpf_threads(e, &ignored, 1);
	g->window_ns = clock_now_ns();
	g->seen = snapshot(e);
}

/* Close the window: slowdown of the busiest thread in it. */
static double close_window(struct guard *g, struct engine_bpf *e, u64 now)
{
	struct alloc_counters c = snapshot(e);
	struct engine_bpf_thread busiest = { 0 };
	struct guard_sample sample = {
		.hits = c.hits - g->seen.hits,
		.allocations = c.allocs + c.reallocs - g->seen.allocs - g->seen.reallocs,
		.walks = c.walks - g->seen.walks,
		.frames = c.frames - g->seen.frames,
	};

	engine_bpf_threads(e, &busiest, 1);
	sample.busiest_hits = busiest.hits;
	sample.wall_ns = own_time(g, busiest.tid, (double)(now - g->window_ns));
	g->seen = c;
	g->window_ns = now;
	return guard_recorded(&g->costs, &sample);
}

bool guard_is_due(const struct guard *g, u64 now_ns)
{
	return now_ns - g->window_ns >= WINDOW_NS;
}

bool guard_watch(struct guard *g, struct engine_bpf *e)
{
	u64 now = clock_now_ns();
	double wall_s = (double)(now - g->window_ns) / 1e9;
	bool was_over = g->over;

	g->last = close_window(g, e, now);
	/* what the target got done: a window that is nearly all hits must not
	 * outweigh the rest, and its factor is the least certain */
	g->own_s += wall_s / g->last;
	g->wall_s += wall_s;
	if (g->last > g->worst)
		g->worst = g->last;
	g->over = g->last > g->limit;
	/* one short burst is not yet a reason; twice the limit is */
	return g->over && (was_over || g->last > 2 * g->limit);
}

double guard_slowdown(const struct guard *g)
{
	if (g->own_s > 0)
		return g->wall_s / g->own_s;
	return g->estimate > 0 ? g->estimate : 1;
}
