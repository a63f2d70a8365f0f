/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/tracer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "map/tracer_state.h"

enum {
	ROW_HEADROOM = 1 << 18, /* for modules that come later */
	PROGRAM_ROWS = 1 << 21, /* for the programs that children execute */
	DEFAULT_RING = 16 << 20,
	BATCH = 50000, /* events between two looks at the clock */
};

#define IDLE_NS  4000000ULL
#define TEND_NS  1000000000ULL
#define SYNC_NS  100000000ULL
#define LEARN_NS 1000000000ULL

/* What an event costs its thread; measured with bench loops on Linux 6.18. Only
 * the estimate and --max-slowdown go by them. */
#define EVENT_NS 500.0
#define WALK_NS  500.0
#define FRAME_NS 60.0

const char *tracer_ended_text(enum tracer_ended e)
{
	static const char *const texts[] = { "running", "duration", "signal", "exit", "exec" };

	return (size_t)e < ARRAY_SIZE(texts) ? texts[e] : "unknown";
}

const char *tracer_kind_text(enum range_kind kind)
{
	static const char *const texts[RANGE_KINDS] = { "mmap",   "file",   "shared",
		                                        "shm",    "brk",    "stack",
		                                        "mremap", "kernel", "unknown" };

	return (size_t)kind < RANGE_KINDS ? texts[kind] : "unknown";
}

/* ---- start ---- */

static int open_processes(struct tracer *t, const pid_t *pids, size_t n, struct error *err)
{
	struct error first = { 0 };

	for (size_t i = 0; i < n; i++) {
		struct tracer_process *p;
		struct error why = { 0 };

		if (tracer_process_open(t, pids[i], &p, &why) == 0)
			continue;
		if (!first.code)
			first = why;
		/* of several processes some may be gone or of another kind */
		if (n > 1)
			log_note(LOG_WARN, "process %d is left out: %s", pids[i], why.message);
	}
	if (t->n_processes)
		return 0;
	*err = first;
	return err->code;
}

static int open_bpf(struct tracer *t, struct error *err)
{
	bool many = t->options.follow || t->n_processes > 1;
	struct tracer_bpf_options o = {
		.tables.stacks = many ? 1 << 18 : 1 << 16,
		.tables.pcs = many ? 1 << 22 : 1 << 21,
		.ring_bytes = t->options.ring_bytes ? t->options.ring_bytes : DEFAULT_RING,
		.follow = t->options.follow,
		.touches = t->options.by == TRACER_BY_TOUCHED,
	};

	modules_sizes(&t->modules, &o.tables.rows, &o.tables.index);
	o.tables.rows += t->options.follow ? PROGRAM_ROWS : ROW_HEADROOM;
	o.tables.index += t->options.follow ? PROGRAM_ROWS : ROW_HEADROOM;
	return tracer_bpf_open(&o, &t->bpf, err);
}

static int watch_all(struct tracer *t, struct error *err)
{
	for (size_t i = 0; i < t->n_processes; i++) {
		struct tracer_process *p = t->processes[i];
		int r = tracer_bpf_new_slot(t->bpf, p->pid, &p->slot, err);

		if (r == 0)
			r = tracer_bpf_watch(t->bpf, p->pid, p->slot, err);
		if (r == 0)
			r = hash_map_put(&t->by_slot, p->slot, i, err);
		if (r == 0)
			r = tracer_process_refresh(t, p, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int join_all(struct tracer *t, struct error *err)
{
	size_t n = t->n_processes; /* children that come meanwhile have theirs from these */

	for (size_t i = 0; i < n; i++) {
		int r = tracer_sync(t, t->processes[i], true, err);

		if (r < 0)
			return r;
		thread_names_learn(&t->processes[i]->threads, t->processes[i]->target);
		if (t->options.by == TRACER_BY_TOUCHED)
			r = tracer_resident_before(t->processes[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int64_t unix_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Each process has descriptors of its own. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int start(struct tracer *t, const pid_t *pids, size_t n, struct error *err)
{
	u64 begun = clock_now_ns();
	int r = symbol_pool_new(&t->options.symbols, &t->pool, err);

	if (r == 0)
		r = open_processes(t, pids, n, err);
	if (r == 0)
		r = open_bpf(t, err);
	if (r == 0)
		r = watch_all(t, err);
	if (r == 0)
		r = tracer_bpf_attach(t->bpf, err);
	if (r == 0)
		r = join_all(t, err);
	if (r < 0)
		return r;
	t->begun_ns = t->tended_ns = clock_now_ns();
	t->begun_unix_ns = unix_now_ns();
	t->attach_seconds = (double)(t->begun_ns - begun) / 1e9;
	return 0;
}

int tracer_start(const pid_t *pids, size_t n_pids, const struct tracer_options *o,
                 struct tracer **ret, struct error *err)
{
	cleanup(tracer_freep) struct tracer *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	t->options = *o;
	t->stride = 1;
	t->slowdown = 1;
	raise_descriptor_limit();
	r = start(t, pids, n_pids, err);
	if (r < 0)
		return r;
	if (tracer_taxes_everyone(t))
		log_note(LOG_INFO, "this kernel has no fentry for us: while memwho map runs, every "
		                   "system call of every process takes some 0.15 us longer");
	*ret = take_ptr(t);
	return 0;
}

static void detach(struct tracer *t)
{
	u64 begun = clock_now_ns();

	if (t->detached || !t->bpf)
		return;
	tracer_bpf_detach(t->bpf);
	t->detached = true;
	t->detach_seconds = (double)(clock_now_ns() - begun) / 1e9;
}

struct tracer *tracer_free(struct tracer *t)
{
	if (!t)
		return NULL;
	detach(t);
	for (size_t i = 0; i < t->n_processes; i++)
		tracer_process_close(t->processes[i]);
	free(t->processes);
	hash_map_clear(&t->by_slot);
	free(t->calls);
	hash_map_clear(&t->calls_index);
	hash_map_clear(&t->segments);
	modules_clear(&t->modules);
	tracer_bpf_close(t->bpf);
	symbol_pool_free(t->pool);
	free(t);
	return NULL;
}

void tracer_freep(struct tracer **t)
{
	*t = tracer_free(*t);
}

/* ---- poll ---- */

/* The estimate of what we cost the target, if all of it is one thread's. */
static double cost_ns(const struct map_counters *c, u64 events, u64 walks, u64 frames)
{
	return (double)(events - c->events) * EVENT_NS + (double)(walks - c->walks) * WALK_NS +
	       (double)(frames - c->frames) * FRAME_NS;
}

static void limit(struct tracer *t, double own, double stacks)
{
	double allowed = (t->options.max_slowdown - 1) * 1e9 - own, wanted;

	if (t->options.max_slowdown <= 0)
		return;
	wanted = allowed > 0 ? stacks * t->stride / allowed : 1e9;
	if (wanted <= 1)
		t->stride = 1;
	else
		t->stride = wanted < 1e6 ? (u32)wanted + 1 : 0;
	tracer_bpf_set_stride(t->bpf, t->stride);
}

static void tend(struct tracer *t, u64 now)
{
	const volatile struct map_counters *c = tracer_bpf_counters(t->bpf);
	u64 events = c->events, walks = c->walks, frames = c->frames;
	double seconds = (double)(now - t->tended_ns) / 1e9;
	double ns = cost_ns(&t->seen, events, walks, frames) / seconds;
	double own = (double)(events - t->seen.events) * EVENT_NS / seconds;

	t->slowdown = 1 + ns / (ns < 0.9e9 ? 1e9 - ns : 1e8);
	if (!t->told)
		log_note(LOG_INFO,
		         "%.0f mapping calls a second: about %.2fx slower while recording",
		         (double)(c->calls - t->seen.calls) / seconds, t->slowdown);
	t->told = true;
	limit(t, own, ns - own);
	t->seen = (struct map_counters){
		.events = events, .walks = walks, .frames = frames, .calls = c->calls
	};
	t->tended_ns = now;
}

/* Reading the maps holds the target's own lock on them: not more than a
 * twentieth of the time. */
static bool sync_is_due(const struct tracer_process *p, u64 now)
{
	u64 pause = 20 * p->sync_cost_ns;

	return p->wants_sync && now - p->synced_ns > (pause > SYNC_NS ? pause : SYNC_NS);
}

static int look_after(struct tracer *t, struct tracer_process *p, u64 now, struct error *err)
{
	struct error why = { 0 };

	if (p->ended)
		return 0;
	if (tracer_bpf_counters(t->bpf)->event_lost != p->lost_seen)
		p->wants_sync = true;
	if (p->wants_code && now >= p->code_ns && tracer_process_refresh(t, p, &why) < 0)
		t->late_code++;
	if (p->target && now >= p->learn_ns) {
		u64 age = now - p->attached_ns;

		p->learn_ns = now + (age < LEARN_NS ? 20000000 + age / 2 : LEARN_NS);
		thread_names_learn(&p->threads, p->target);
		/* its end can be lost as any event */
		if (target_has_ended(p->target))
			tracer_process_end(p, TRACER_ENDED_EXIT);
	}
	return sync_is_due(p, now) ? tracer_sync(t, p, false, err) : 0;
}

static enum tracer_ended all_ended(const struct tracer *t)
{
	for (size_t i = 0; i < t->n_processes; i++) {
		if (!t->processes[i]->ended)
			return TRACER_RUNNING;
	}
	return t->processes[t->n_processes - 1]->ended;
}

static void rest(u64 until)
{
	u64 now = clock_now_ns();
	struct timespec ts = { 0 };

	if (now >= until)
		return;
	ts.tv_nsec = (long)(until - now < IDLE_NS ? until - now : IDLE_NS);
	nanosleep(&ts, NULL);
}

int tracer_poll(struct tracer *t, int timeout_ms, enum tracer_ended *ended, struct error *err)
{
	u64 deadline = clock_now_ns() + (u64)(timeout_ms > 0 ? timeout_ms : 0) * 1000000, now;

	do {
		int r = tracer_bpf_consume(t->bpf, BATCH, tracer_apply, t, err);
		bool behind = r == BATCH;

		if (r < 0)
			return r;
		now = clock_now_ns();
		for (size_t i = 0; i < t->n_processes; i++) {
			r = look_after(t, t->processes[i], now, err);
			if (r < 0)
				return r;
		}
		if (now - t->tended_ns > TEND_NS)
			tend(t, now);
		*ended = behind ? TRACER_RUNNING : all_ended(t);
		if (!*ended && !behind)
			rest(deadline);
		now = clock_now_ns();
	} while (!*ended && now < deadline);
	return 0;
}

bool tracer_taxes_everyone(const struct tracer *t)
{
	return !tracer_bpf_is_per_call(t->bpf);
}

uint64_t tracer_mapped_bytes(const struct tracer *t)
{
	u64 bytes = 0;

	for (size_t i = 0; i < t->n_processes; i++) {
		if (!t->processes[i]->ended)
			bytes += t->processes[i]->set.bytes;
	}
	return bytes;
}

/* ---- result ---- */

/* Every process's set as it is now. */
static int settle(struct tracer *t, struct error *err)
{
	int r = tracer_bpf_consume(t->bpf, SIZE_MAX, tracer_apply, t, err);

	for (size_t i = 0; r >= 0 && i < t->n_processes; i++) {
		struct tracer_process *p = t->processes[i];
		struct error ignored;

		if (p->wants_code && !p->ended)
			tracer_process_refresh(t, p, &ignored);
		r = tracer_sync(t, p, false, err);
	}
	return r < 0 ? r : 0;
}

int tracer_result(struct tracer *t, enum tracer_ended ended, struct profile **ret,
                  struct error *err)
{
	int r = settle(t, err);

	if (ended)
		detach(t);
	t->ended_ns = clock_now_ns();
	return r < 0 ? r : tracer_result_make(t, ended, ret, err);
}

int tracer_ranges(struct tracer *t, struct profile *p,
                  int (*fn)(void *arg, const struct tracer_range *r, struct error *err), void *arg,
                  struct error *err)
{
	return tracer_result_ranges(t, p, fn, arg, err);
}
