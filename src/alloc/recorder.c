/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/recorder.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "alloc/bpf_way.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

struct tracee *recorder_tracee(const struct alloc_recorder *r, u32 slot)
{
	uint64_t *index = hash_map_get(&r->by_slot, slot);

	return index ? r->tracees[*index] : NULL;
}

int recorder_keep(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	int rc = array_reserve(&r->tracees, &r->cap_tracees, r->n_tracees + 1, err);

	if (rc == 0)
		rc = hash_map_put(&r->by_slot, t->slot, r->n_tracees, err);
	if (rc < 0) {
		tracee_close(t);
		return rc;
	}
	r->tracees[r->n_tracees++] = t;
	return 0;
}

void recorder_drop(struct alloc_recorder *r, size_t index)
{
	tracee_close(r->tracees[index]);
	r->n_tracees--;
	for (size_t i = index; i < r->n_tracees; i++) {
		uint64_t *at = hash_map_get(&r->by_slot, r->tracees[i + 1]->slot);

		r->tracees[i] = r->tracees[i + 1];
		if (at)
			*at = i;
	}
}

void recorder_end(struct alloc_recorder *r, struct tracee *t, enum alloc_ended how)
{
	if (t->ended)
		return;
	t->ended = how;
	t->ended_ns = clock_now_ns();
	if (how == ALLOC_ENDED_EXEC && r->options.follow)
		engine_bpf_end_program(r->engine, t->slot);
	else
		engine_bpf_end_process(r->engine, t->slot);
	tracee_detach_later(t, r->engine);
}

/* What the contexts' own account says now, to compare with at the end. */
static void note_used(struct tracee *t)
{
	struct runtime_view view = { t->target, t->space };
	struct error ignored;

	for (size_t i = 0; i < t->n_runtimes && !t->has_used_before; i++) {
		if (t->runtimes[i]->used_bytes)
			t->has_used_before = t->runtimes[i]->used_bytes(&view, &t->used_before,
			                                                &ignored) == 0;
	}
}

int recorder_attach(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	struct lock lock;
	int rc = bpf_way_clear(t->target, &lock, err);

	if (rc >= 0)
		rc = engine_bpf_watch(r->engine, t->slot, t->pid, err);
	if (rc >= 0) {
		note_used(t);
		t->attached_ns = clock_now_ns();
		t->mark = lock_mark(t->target);
		rc = tracee_attach(t, r->engine, err);
	}
	lock_give(&lock);
	return rc;
}

/* ---- what engines have in common ---- */

enum alloc_ended recorder_all_ended(const struct alloc_recorder *r)
{
	const struct tracee *last = r->tracees[0];

	for (size_t i = 0; i < r->n_tracees; i++) {
		if (!r->tracees[i]->ended)
			return ALLOC_RUNNING;
		if (r->tracees[i]->ended_ns > last->ended_ns)
			last = r->tracees[i];
	}
	return last->ended;
}

void recorder_leave_out(struct alloc_recorder *r, pid_t pid, const struct error *why)
{
	struct recorder_left_out *x;
	struct error ignored;

	log_note(LOG_WARN, "process %d is left out: %s", pid, why->message);
	if (array_reserve(&r->left_out, &r->cap_left_out, r->n_left_out + 1, &ignored) < 0)
		return;
	x = &r->left_out[r->n_left_out++];
	x->pid = pid;
	snprintf(x->reason, sizeof(x->reason), "%s", why->message);
}

int recorder_report_left_out(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	static const char *const columns[] = { "pid", "reason" };
	struct report_table *table = NULL;
	int rc = 0;

	if (r->n_left_out)
		rc = report_table(to, "left_out", columns, ARRAY_SIZE(columns), &table, err);
	for (size_t i = 0; rc == 0 && i < r->n_left_out; i++) {
		const struct report_figure cells[] = {
			report_cell_int(r->left_out[i].pid),
			report_cell_text(r->left_out[i].reason),
		};

		rc = report_row(table, cells, err);
	}
	return rc;
}

int recorder_report_processes(const struct alloc_recorder *r, struct report *to, struct error *err)
{
	static const char *const columns[] = { "pid", "command", "kind", "ended_by" };
	struct report_table *table;
	int rc = report_table(to, "processes", columns, ARRAY_SIZE(columns), &table, err);

	for (size_t i = 0; rc == 0 && i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];
		const struct report_figure cells[] = {
			report_cell_int(t->pid),
			report_cell_text(t->command),
			report_cell_text(t->kind),
			report_cell_text(t->ended ? alloc_ended_text(t->ended) : ""),
		};

		rc = report_row(table, cells, err);
	}
	return rc;
}

static int open_tracees(struct alloc_recorder *r, const pid_t *pids, size_t n, struct error *err)
{
	struct error first = { 0 };

	for (size_t i = 0; i < n; i++) {
		struct tracee *t;
		struct error why = { 0 };
		int rc = tracee_open(pids[i], r->n_slots, r->pool, r->allocators, &t, &why);

		if (rc == 0)
			rc = recorder_keep(r, t, &why);
		if (rc == 0)
			r->n_slots++;
		else if (!first.code)
			first = why;
		/* of several processes some may be gone or of another kind */
		if (rc < 0 && n > 1)
			recorder_leave_out(r, pids[i], &why);
	}
	if (r->n_tracees)
		return 0;
	*err = first;
	if (n > 1) {
		error_set(err, -first.code, "none of the %zu processes can be recorded", n);
		error_hint(err, "%s", first.hint);
	}
	return err->code;
}

/* Each probed function takes up to two descriptors in each process. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int recorder_open(struct alloc_recorder *r, const pid_t *pids, size_t n, struct error *err)
{
	int rc = symbol_pool_new(&r->options.symbols, &r->pool, err);

	raise_descriptor_limit();
	return rc < 0 ? rc : open_tracees(r, pids, n, err);
}

static int64_t unix_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void recorder_begin(struct alloc_recorder *r, u64 attach_began_ns)
{
	r->begun_ns = clock_now_ns();
	r->begun_unix_ns = unix_now_ns();
	r->attach_seconds += (double)(r->begun_ns - attach_began_ns) / 1e9;
}

void recorder_close_tracees(struct alloc_recorder *r)
{
	for (size_t i = 0; i < r->n_tracees; i++)
		tracee_close(r->tracees[i]);
	r->n_tracees = 0;
}
