/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/transaction.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "inject/all_out.h"
#include "inject/filters.h"
#include "target/proc.h"

enum { PAGE = 4096, LOOK_EVERY = 100 /* of watch()'s looks: 10 to 200 ms */ };

static void nap_us(long us)
{
	const struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	nanosleep(&t, NULL);
}

/* ---- the journal ---- */

int transaction_read_journal(struct inject *in, struct error *err)
{
	struct journal j;
	int r = inject_read(in, in->area + JOURNAL_CODE_BYTES, &j, sizeof(j), err);

	if (r < 0)
		return r;
	if (j.magic != JOURNAL_MAGIC)
		return error_set(err, EBADMSG, "the area in process %d is not ours any more",
		                 (int)in->target->pid);
	in->journal = j;
	return 0;
}

int transaction_write_journal(struct inject *in, struct error *err)
{
	return inject_write(in, in->area + JOURNAL_CODE_BYTES, &in->journal, sizeof(in->journal),
	                    err);
}

static uint32_t state_now(struct inject *in)
{
	uint32_t state = JOURNAL_IDLE;
	struct error unused;

	if (in->area)
		inject_read(in, in->area + JOURNAL_CODE_BYTES + offsetof(struct journal, state),
		            &state, sizeof(state), &unused);
	return state;
}

/* ---- choosing a thread ---- */

/* 1 it may be lent, 0 not. */
static int is_usable(struct inject *in, const struct held *h, bool safe, struct error *err)
{
	const uint64_t pc = registers_pc(&h->regs), code_end = in->area + JOURNAL_CODE_BYTES;

	if (!registers_are_64_bit(&h->regs)) {
		snprintf(in->stats.why, sizeof(in->stats.why), "in 32-bit code");
		return 0;
	}
	if (in->area && pc >= in->area && pc < code_end) {
		snprintf(in->stats.why, sizeof(in->stats.why), "in a stub");
		return 0;
	}
	if (!safe)
		return 1;
	return safe_point_check(in->safe, &h->regs, in->stats.why, sizeof(in->stats.why), err);
}

/* It runs again: in its own code or in the stub. */
static void note_stop(struct inject *in, const struct held *h)
{
	in->stats.last_stop_ns = clock_now_ns() - h->asked_ns;
	if (in->stats.last_stop_ns > in->stats.longest_stop_ns)
		in->stats.longest_stop_ns = in->stats.last_stop_ns;
}

/* 1 taken, 0 not this one, -errno. */
static int try_thread(struct inject *in, pid_t tid, bool safe, struct held *ret, struct error *err)
{
	struct error why;
	int r = held_take(in->target, &in->limbo, tid, ret, &why);

	in->stats.stops++;
	if (r == -EPERM) {
		*err = why;
		return r;
	}
	if (r < 0) {
		snprintf(in->stats.why, sizeof(in->stats.why), "%.120s", why.message);
		return 0;
	}
	r = is_usable(in, ret, safe, err);
	if (r == 1)
		return 1;
	held_release(&in->limbo, ret);
	note_stop(in, ret);
	in->stats.refused++;
	return r;
}

/* One look at all threads, from a different one each time. In the first pass
 * only those of the wanted kind. */
static int try_all(struct inject *in, bool safe, struct held *ret, struct error *err)
{
	cleanup_free pid_t *tids = NULL;
	size_t n = 0, first;
	int r = target_threads(in->target, &tids, &n, err);

	if (r < 0)
		return r;
	first = n ? (size_t)random() % n : 0;
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < n; i++) {
			pid_t tid = tids[(i + first) % n];
			char state = held_state(in->target, tid);
			bool wanted = held_is_blocked(in->target, tid) != in->prefer_running;

			/* D does not stop, T and t are somebody's, Z and X are no more */
			if ((state != 'R' && state != 'S') || wanted != (pass == 0) ||
			    (in->only && tid != in->only))
				continue;
			r = try_thread(in, tid, safe, ret, err);
			if (r)
				return r;
		}
	}
	return 0;
}

static pid_t tracer_of(const struct target *t, pid_t tid)
{
	cleanup_free char *text = NULL;
	const char *line;
	char path[64];

	snprintf(path, sizeof(path), "task/%d/status", (int)tid);
	if (proc_read(t->proc_fd, path, 1 << 16, &text, NULL) < 0)
		return 0;
	line = proc_status_line(text, "TracerPid");
	return line ? (pid_t)strtol(line, NULL, 10) : 0;
}

/* What all its threads have in common, if that is why none could be lent. */
static int say_why_none(struct inject *in, struct error *err)
{
	const int pid = (int)in->target->pid;
	cleanup_free pid_t *tids = NULL;
	size_t n = 0, stopped = 0, waiting = 0;

	if (target_threads(in->target, &tids, &n, err) < 0)
		return err->code;
	for (size_t i = 0; i < n; i++) {
		char state = held_state(in->target, tids[i]);

		stopped += state == 'T';
		waiting += state == 'D';
	}
	if (n && stopped == n) {
		error_set(err, EAGAIN, "process %d is stopped by a signal", pid);
		return error_hint(err, "nothing was changed; kill -CONT %d lets it go on", pid);
	}
	if (n && waiting == n) {
		error_set(err, EAGAIN,
		          "all threads of process %d wait in the kernel and cannot be stopped (a "
		          "frozen cgroup, a vfork child, a slow disk)",
		          pid);
		return error_hint(err, "nothing was changed; try again");
	}
	error_set(err, EAGAIN, "no thread of process %d could be lent for a call within %u ms (%s)",
	          pid, in->timeout_ms, in->stats.why);
	return error_hint(err, "nothing was changed; try again");
}

int transaction_refuse_traced(const struct target *t, struct error *err)
{
	const pid_t tracer = tracer_of(t, t->pid);
	char ours[64];

	/* a thread of ours, which lets go by itself */
	snprintf(ours, sizeof(ours), "/proc/self/task/%d", (int)tracer);
	if (!tracer || access(ours, F_OK) == 0)
		return 0;
	error_set(err, EBUSY, "process %d traces process %d (a debugger, strace)", (int)tracer,
	          (int)t->pid);
	return error_hint(err, "nothing was changed; only one can trace a process at a time");
}

static int choose_thread(struct inject *in, bool safe, struct held *ret, struct error *err)
{
	const uint64_t end = clock_now_ns() + in->timeout_ms * 1000000ull;

	if (transaction_refuse_traced(in->target, err) < 0)
		return err->code;
	snprintf(in->stats.why, sizeof(in->stats.why), "none can be stopped");
	do {
		int r = try_all(in, safe, ret, err);

		if (r)
			return r < 0 ? r : 0;
		held_settle(&in->limbo);
		nap_us(200 + random() % 800);
		if (target_has_ended(in->target))
			return error_set(err, ESRCH, "process %d has ended", (int)in->target->pid);
	} while (clock_now_ns() < end);
	return say_why_none(in, err);
}

/* ---- commit and watch ---- */

static int still_running(struct inject *in, pid_t tid, struct error *err)
{
	error_set(err, EINPROGRESS,
	          "the call in thread %d of process %d has begun and does not end", (int)tid,
	          (int)in->target->pid);
	return error_hint(err, "it ends by itself; until then no other call is made there");
}

/* Time is up. 1: it has ended all the same; else an error. */
static int give_up(struct inject *in, const struct held *h, uint64_t at, bool has_journal,
                   struct error *err)
{
	int r;

	if (has_journal && state_now(in) != JOURNAL_IDLE)
		return still_running(in, h->tid, err);
	r = held_withdraw(&in->limbo, h, at);
	if (r == 1) {
		in->stats.withdrawn++;
		error_set(err, EAGAIN, "thread %d of process %d did not run within %u ms",
		          (int)h->tid, (int)in->target->pid, in->timeout_ms);
		return error_hint(err, "it is stopped or frozen; nothing was changed");
	}
	return still_running(in, h->tid, err);
}

/* Without a journal: it went through the cave and has had no effect. */
static bool has_left(struct inject *in, const struct held *h)
{
	return held_is_out_of(in->target, &in->limbo, h->tid, in->cave.start,
	                      in->cave.start + in->cave.bytes) == 1;
}

static int watch(struct inject *in, const struct held *h, uint64_t at, bool has_journal,
                 bool (*done)(struct inject *in), struct error *err)
{
	const uint64_t end = clock_now_ns() + in->timeout_ms * 1000000ull;

	for (unsigned i = 0; !done(in); i++) {
		if (!has_journal && i % LOOK_EVERY == LOOK_EVERY - 1 && has_left(in, h) &&
		    !done(in))
			return error_set(err, ECANCELED, "the kernel refused the call");
		if (clock_now_ns() > end)
			return give_up(in, h, at, has_journal, err);
		if (in->limbo.n)
			held_settle(&in->limbo);
		if (target_has_ended(in->target))
			return error_set(err, ESRCH, "process %d ended during the call",
			                 (int)in->target->pid);
		nap_us(i < 40 ? 25 : i < 200 ? 200 : 2000);
		steps_before("poll");
	}
	return 0;
}

static bool is_done(struct inject *in)
{
	return state_now(in) == JOURNAL_DONE;
}

/* Nothing was written so far: what this very thread may not call is not called. */
static int may_make(struct inject *in, const struct held *h, uint64_t at, const struct stub *s,
                    struct error *err)
{
	struct filters_call calls[STUB_MAX_MADE];

	for (size_t i = 0; i < s->n_made; i++) {
		calls[i] = (struct filters_call){ .number = s->made[i].call.function,
			                          .pc = at + s->made[i].end };
		memcpy(calls[i].args, s->made[i].call.args, sizeof(calls[i].args));
	}
	return filters_allow(in->target, h->tid, calls, s->n_made, err);
}

static int commit(struct inject *in, struct held *h, uint64_t at, const struct stub *s,
                  struct error *err)
{
	int r = s->overflow ? error_set(err, E2BIG, "the stub does not fit")
	                    : may_make(in, h, at, s, err);

	if (r == 0)
		r = inject_write(in, at, s->bytes, s->n, err);
	if (r < 0) {
		held_release(&in->limbo, h);
		return r;
	}
	r = held_commit(&in->limbo, h, at, err);
	note_stop(in, h);
	return r;
}

/* ---- with the area ---- */

static bool slot_is_free(struct inject *in, uint64_t at, pid_t tid)
{
	return !tid ||
	       held_is_out_of(in->target, &in->limbo, tid, at, at + JOURNAL_SLOT_BYTES) == 1;
}

/* The next slot that nobody is in. */
static int choose_slot(struct inject *in, uint64_t *ret, struct error *err)
{
	for (unsigned i = 0; i < JOURNAL_SLOTS; i++) {
		uint32_t slot = (in->journal.next + i) % JOURNAL_SLOTS;
		uint64_t at = in->area + (uint64_t)slot * JOURNAL_SLOT_BYTES;

		if (slot_is_free(in, at, in->journal.slot_tids[slot])) {
			in->journal.next = slot;
			*ret = at;
			return 0;
		}
	}
	return error_set(err, EBUSY, "threads of process %d are still in all stubs",
	                 (int)in->target->pid);
}

int transaction_begin(struct inject *in, bool safe, struct held *ret, uint64_t *ret_slot,
                      struct error *err)
{
	int r;

	held_settle(&in->limbo);
	r = transaction_read_journal(in, err);
	if (r == 0 && in->journal.tid && in->journal.state != JOURNAL_DONE)
		r = still_running(in, in->journal.tid, err);
	if (r == 0)
		r = choose_slot(in, ret_slot, err);
	if (r == 0)
		r = choose_thread(in, safe, ret, err);
	return r;
}

int transaction_run(struct inject *in, struct held *h, uint64_t slot, const struct stub *stub,
                    struct error *err)
{
	struct journal *j = &in->journal;
	int r;

	j->state = JOURNAL_IDLE;
	j->tid = h->tid;
	j->slot_tids[j->next % JOURNAL_SLOTS] = h->tid;
	j->next = (j->next + 1) % JOURNAL_SLOTS;
	j->memwho_pid = getpid();
	r = transaction_write_journal(in, err);
	if (r < 0) {
		held_release(&in->limbo, h);
		return r;
	}
	r = commit(in, h, slot, stub, err);
	if (r == 0)
		r = watch(in, h, slot, true, is_done, err);
	in->stats.transactions += r == 0;
	in->stats.last_total_ns = clock_now_ns() - h->asked_ns;
	/* ended, or never begun: nobody has to look after it any more */
	if (r == 0 || r == -EAGAIN) {
		struct error unused;
		int e = transaction_read_journal(in, r == 0 ? err : &unused);

		if (e == 0) {
			in->journal.tid = 0;
			e = transaction_write_journal(in, r == 0 ? err : &unused);
		}
		if (r == 0)
			r = e;
	}
	return r;
}

/* ---- without it ---- */

static int wait_until_out(struct inject *in, pid_t tid, uint64_t start, uint64_t end,
                          struct error *err)
{
	const uint64_t until = clock_now_ns() + in->timeout_ms * 1000000ull;

	do {
		if (held_is_out_of(in->target, &in->limbo, tid, start, end) == 1)
			return 0;
		/* one that did not stop in time is not looked at again until it is let go */
		held_settle(&in->limbo);
		nap_us(1000);
	} while (clock_now_ns() < until);
	return error_set(err, EBUSY, "thread %d of process %d does not leave a stub", (int)tid,
	                 (int)in->target->pid);
}

static int wait_until_all_are_out(struct inject *in, struct error *err)
{
	const uint64_t start = in->cave.start, end = start + in->cave.bytes;
	cleanup_free pid_t *tids = NULL;
	size_t n = 0;
	int r = 0;

	if (!all_out_of(in->target, &in->limbo, start, end))
		r = target_threads(in->target, &tids, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = wait_until_out(in, tids[i], start, end, err);
	return r;
}

/* What the file has where the cave is, or the kernel's code, zeros; false: it cannot be had. */
static bool read_file(const struct inject *in, uint8_t *bytes)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup_close int fd = -1;
	const struct mapping *m;
	struct error unused;

	if (maps_read(in->target, &maps, &unused) < 0)
		return false;
	m = maps_find(&maps, in->cave.start);
	if (m && !strcmp(m->name, "[vdso]")) {
		memset(bytes, 0, in->cave.bytes);
		return true;
	}
	return m && maps_open_file(in->target, m, &fd, &unused) == 0 &&
	       pread(fd, bytes, in->cave.bytes, (off_t)(m->offset + (in->cave.start - m->start))) ==
	               (ssize_t)in->cave.bytes;
}

/* What is there when nobody uses it: zeros, or what the file has behind the code in the
 * same page (the beginning of its data, where segments are not parted by a page). */
static void rest_of_file(const struct inject *in, uint8_t *bytes)
{
	if (!read_file(in, bytes))
		memset(bytes, 0, in->cave.bytes);
}

/* A cave that is not as it was has been used by a memwho that was killed. */
static int prepare_cave(struct inject *in, struct error *err)
{
	uint8_t now[PAGE], before[PAGE];
	int r = inject_read(in, in->cave.start, now, in->cave.bytes, err);

	rest_of_file(in, before);
	return r < 0 || !memcmp(now, before, in->cave.bytes) ? r : wait_until_all_are_out(in, err);
}

int transaction_restore_cave(struct inject *in, struct error *err)
{
	uint8_t now[PAGE], before[PAGE];
	int r = inject_read(in, in->cave.start, now, in->cave.bytes, err);

	if (r < 0 || !read_file(in, before) || !memcmp(now, before, in->cave.bytes))
		return r;
	r = wait_until_all_are_out(in, err);
	if (r == 0)
		r = inject_write(in, in->cave.start, before, in->cave.bytes, err);
	return r < 0 ? r : 1;
}

static int clear_cave(struct inject *in, pid_t tid, struct error *err)
{
	uint8_t before[PAGE];
	int r = wait_until_out(in, tid, in->cave.start, in->cave.start + in->cave.bytes, err);

	rest_of_file(in, before);
	return r < 0 ? r : inject_write(in, in->cave.start, before, in->cave.bytes, err);
}

int transaction_raw(struct inject *in, const struct stub_call *calls, size_t n,
                    bool (*done)(struct inject *in), struct error *err)
{
	struct stub stub;
	struct held h;
	int r = prepare_cave(in, err);

	if (r == 0)
		r = choose_thread(in, false, &h, err);
	if (r < 0)
		return r;
	stub_raw(&stub, calls, n, in->cave.bytes, &h.back);
	r = commit(in, &h, in->cave.start, &stub, err);
	if (r == 0)
		r = watch(in, &h, in->cave.start, false, done, err);
	if (r == -EAGAIN || r == -ECANCELED) { /* nobody is there, and nothing has happened */
		struct error unused;

		clear_cave(in, h.tid, &unused);
		return r;
	}
	return r < 0 ? r : clear_cave(in, h.tid, err);
}
