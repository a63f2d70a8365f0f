/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/worker_own.h"

#include <errno.h>
#include <time.h>

#include "alloc/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture_je.h"
#include "capture/capture_own.h"
#include "profile/transform.h"

enum { POLL_NS = 20000000 };

int worker_own_subtract(const struct profile *before, const struct profile *after,
                        struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct profile_type types[PROFILE_MAX_TYPES];
	size_t n = profile_n_types(after);
	int r;

	for (size_t i = 0; i < n; i++)
		types[i] = *profile_type_at(after, i);
	r = profile_new(&p, types, n, profile_default_type(after), err);
	if (r == 0)
		r = transform_merge(p, before, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);

		for (size_t k = 0; k < n; k++)
			s.values[k] = -s.values[k];
	}
	r = transform_merge(p, after, err);
	if (r == 0)
		r = report_copy(profile_report(p), profile_report_const(after), err);
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}

void worker_own_wait(double seconds)
{
	uint64_t end = clock_now_ns() + (uint64_t)(seconds * 1e9);
	const struct timespec slice = { .tv_nsec = POLL_NS };

	while (!alloc_interrupted && clock_now_ns() < end)
		nanosleep(&slice, NULL);
}

/* Is what is held asked for, and not what changes? */
static bool is_of_now(const struct worker_request *q)
{
	return !(q->seconds > 0) || q->is_held;
}

/* ---- jemalloc ---- */

static int read_twice(struct capture_je *c, double seconds, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL;
	cleanup(profile_freep) struct profile *after = NULL;
	int r = capture_je_profile(c, &before, err);

	if (r == 0)
		worker_own_wait(seconds);
	if (r == 0)
		r = capture_je_profile(c, &after, err);
	return r < 0 ? r : worker_own_subtract(before, after, ret, err);
}

static int jemallocs_growth(pid_t pid, double seconds, struct profile **ret, struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	struct error ignored;
	bool was = false, unused;
	int r = capture_je_has_profiler(pid, &ignored);

	if (r <= 0 || capture_je_open(pid, 0, &c, &ignored) < 0 ||
	    capture_je_activate(c, true, &was, &ignored) < 0)
		return 0;
	r = read_twice(c, seconds, ret, err);
	if (!was)
		capture_je_activate(c, false, &unused, &ignored);
	return r < 0 ? r : 1;
}

/* Where it cannot be asked the recorder is. */
static int jemallocs_heap(const struct worker_request *q, pid_t pid, struct profile **ret,
                          struct error *err)
{
	struct error ignored;
	int r = is_of_now(q) ? capture_je_own(pid, ret, &ignored)
	                     : jemallocs_growth(pid, q->seconds, ret, err);

	if (is_of_now(q) && r <= 0)
		return 0;
	if (r > 0)
		r = report_text(profile_report(*ret), "engine", "engine", "jemalloc's own profiler",
		                err);
	return r < 0 ? r : *ret != NULL;
}

/* ---- Go ---- */

static int gos_growth(const struct worker_request *q, pid_t pid, const struct profile *before,
                      struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *after = NULL;
	struct capture_own_facts facts = { 0 };
	int r;

	worker_own_wait(q->seconds);
	r = capture_own_process(pid, &after, &facts, err);
	if (r == 0)
		r = error_set(err, ESRCH, "process %d runs another program now", (int)pid);
	if (r > 0)
		r = worker_own_subtract(before, after, ret, err);
	return r < 0 ? r : 1;
}

int worker_own_say_gc(struct profile *p, struct error *err)
{
	return report_text(profile_report(p), "as_of", "as of",
	                   "the last garbage collection that the process ran; memwho cannot ask it "
	                   "for one",
	                   err);
}

int worker_own_heap(const struct worker_request *q, const pid_t *pids, struct profile **ret,
                    bool *of_last_gc, struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL;
	struct capture_own_facts facts = { 0 };
	int r;

	*of_last_gc = false;
	if (q->n_processes != 1)
		return 0;
	r = capture_own_process(pids[0], &before, &facts, err);
	if (r == -ENODATA || r == -EAGAIN || r == -ENOTSUP)
		return r;
	if (r <= 0) /* what is wrong is the recorder's to say */
		return jemallocs_heap(q, pids[0], ret, err);
	*of_last_gc = true;
	if (!is_of_now(q))
		r = gos_growth(q, pids[0], before, ret, err);
	else
		*ret = take_ptr(before);
	if (r > 0)
		r = worker_own_say_gc(*ret, err);
	return r < 0 ? r : 1;
}
