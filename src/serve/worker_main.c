/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "alloc/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture_map.h"
#include "capture/capture_own.h"
#include "capture/capture_refs.h"
#include "map/ladder.h"
#include "profile/profile.h"
#include "profile/profile_file.h"
#include "profile/transform.h"
#include "refs/refs.h"
#include "render/render.h"
#include "serve/metrics_page.h"
#include "serve/worker_own.h"
#include "serve/worker_stacks.h"
#include "serve/worker_symbol.h"
#include "symbol/symbol.h"
#include "target/target.h"

enum {
	DEFAULT_SECONDS = 5,
	POLL_MS = 20,
	MAX_LOOKS = 8,                /* with seconds, at the same time */
	MAX_RESULT_BYTES = 512 << 20, /* a result is in memory (memfd) */
};

struct work {
	int fd;
	struct worker_request q;
	pid_t pids[WORKER_MAX_PIDS];
	FILE *to; /* the result */
	int inputs[WORKER_MAX_INPUTS];
	size_t n_inputs;
	struct worker_reply reply;
};

static volatile sig_atomic_t is_dropped;

/* SIGUSR1: nobody waits for the result any more. */
static void on_signal(int number)
{
	is_dropped |= number == SIGUSR1;
	alloc_interrupted = 1;
}

/* ---- talking ---- */

/* The result's descriptor, and what is to be read. False: none was sent. */
static bool take_descriptors(struct work *w, struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);
	int fds[1 + WORKER_MAX_INPUTS];
	size_t n;

	if (!c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(sizeof(int)))
		return false;
	n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	memcpy(fds, CMSG_DATA(c), n * sizeof(int));
	w->n_inputs = n - 1;
	memcpy(w->inputs, fds + 1, w->n_inputs * sizeof(int));
	w->to = fdopen(fds[0], "w");
	return w->to != NULL;
}

/* The next request. 0: the service has closed the socket; -EAGAIN. */
static int take_request(struct work *w, int flags)
{
	struct iovec data = { .iov_base = &w->q, .iov_len = sizeof(w->q) };
	union {
		char bytes[CMSG_SPACE((1 + WORKER_MAX_INPUTS) * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr m = { .msg_iov = &data,
		            .msg_iovlen = 1,
		            .msg_control = control.bytes,
		            .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(w->fd, &m, flags | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	if (n != (ssize_t)sizeof(w->q) || w->q.n_processes > WORKER_MAX_PIDS ||
	    !take_descriptors(w, &m))
		return 0;
	w->q.format[sizeof(w->q.format) - 1] = '\0';
	w->q.text[sizeof(w->q.text) - 1] = '\0';
	w->reply = (struct worker_reply){ .id = w->q.id };
	return 1;
}

/* What @r and @err say goes back, and the result is closed. */
static void answer(struct work *w, int r, const struct error *err)
{
	if (r < 0)
		w->reply.err = *err;
	else if (fflush(w->to) || ferror(w->to))
		error_sys(&w->reply.err, errno ? errno : EIO, "cannot keep the result");
	else
		w->reply.bytes = (uint64_t)ftello(w->to);
	fclose(w->to);
	w->to = NULL;
	send(w->fd, &w->reply, sizeof(w->reply), MSG_NOSIGNAL);
}

/* ---- targets ---- */

/* The processes are those that the service has seen: their numbers may have been used again
 * since. */
static int check_processes(struct work *w, struct error *err)
{
	for (uint32_t i = 0; i < w->q.n_processes; i++) {
		const struct worker_process *p = &w->q.processes[i];
		cleanup(target_closep) struct target *t = NULL;
		int r = target_open(p->pid, &t, err);

		if (r < 0)
			return r;
		if (t->start_ticks != p->start_ticks)
			return error_set(err, ESRCH,
			                 "process %d has ended; its number is another's", p->pid);
		w->pids[i] = p->pid;
	}
	return w->q.n_processes ? 0 : error_set(err, ESRCH, "no process");
}

/* ---- results ---- */

static int write_profile(struct work *w, struct profile *p, bool is_diff, struct error *err)
{
	const struct render_format *format = render_find(w->q.format);
	const struct render_options o = { .type = -1, .min_width = -1, .is_diff = is_diff };
	int held = profile_find_type(p, "inuse_space");

	if (!format)
		return error_set(err, EINVAL, "no format '%s'", w->q.format);
	if (held >= 0)
		w->reply.held_bytes = profile_total(p, (size_t)held);
	return format->write(p, &o, w->to, err);
}

/* The time of a profile is that of its making: one that is collected twice with the same
 * time is taken for the same, or added up (Parca, Pyroscope). */
static void date(struct profile *p, double seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	profile_set_time(p, now.tv_sec * 1000000000ll + now.tv_nsec, (int64_t)(seconds * 1e9));
}

/* ---- collectors ---- */

/* As capture_alloc(), but for a result that nobody waits for: letting the target go is all that
 * is left to do then, and making names of addresses would take longer than that. */
static int record_for(struct work *w, double seconds, struct profile **ret, struct error *err)
{
	const struct alloc_options o = { .budget = w->q.budget,
		                         .symbols = { .no_debuginfod = true } };
	const struct alloc_filter all = { 0 };
	cleanup(alloc_freep) struct alloc_recorder *recorder = NULL;
	enum alloc_ended ended = ALLOC_RUNNING;
	int r = alloc_start(w->pids, w->q.n_processes, &o, false, &recorder, err);
	uint64_t end = clock_now_ns() + (uint64_t)(seconds * 1e9);

	while (r == 0 && ended == ALLOC_RUNNING && !alloc_interrupted && clock_now_ns() < end)
		r = alloc_poll(recorder, POLL_MS, &ended, err);
	if (r < 0)
		return r;
	if (is_dropped)
		return error_set(err, EINTR, "nobody waits for it any more");
	if (ended == ALLOC_RUNNING)
		ended = alloc_interrupted ? ALLOC_ENDED_SIGNAL : ALLOC_ENDED_DURATION;
	return alloc_result(recorder, ended, &all, ret, err);
}

static int map(struct work *w, struct profile **ret, struct error *err)
{
	const struct capture_map_options o = {
		.tracer = { .symbols = { .no_debuginfod = true } },
		.duration_s = w->q.seconds > 0 ? w->q.seconds : DEFAULT_SECONDS,
	};

	return capture_map(w->pids, w->q.n_processes, &o, ret, err);
}

static int is_cancelled(void *arg, double share)
{
	(void)arg;
	(void)share;
	return alloc_interrupted;
}

static int refs(struct work *w, struct profile **ret, struct error *err)
{
	const struct capture_refs_options o = { .graph = { .progress = is_cancelled } };
	const struct refs_options view = { 0 };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(capture_refs_facts_clear) struct capture_refs_facts facts = { 0 };
	int r;

	if (w->q.n_processes != 1)
		return error_set(err, EINVAL, "refs takes one process, not %u", w->q.n_processes);
	r = capture_refs_process(w->pids[0], &o, &g, &facts, err);
	return r < 0 ? r : refs_profile(&g, &view, ret, err);
}

static int heap(struct work *w, struct profile **ret, struct error *err)
{
	int r = worker_own_heap(&w->q, w->pids, ret, &w->reply.is_of_last_gc, err);

	if (r == -ENODATA && w->q.or_refs) {
		w->reply.is_refs = true;
		return refs(w, ret, err);
	}
	if (r == 0)
		r = record_for(w, w->q.seconds > 0 ? w->q.seconds : DEFAULT_SECONDS, ret, err);
	return r < 0 ? r : 0;
}

struct ladders {
	struct ladder items[WORKER_MAX_PIDS];
	uint32_t n;
};

static void ladders_clear(struct ladders *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		ladder_clear(&l->items[i]);
}

static int read_ladders(struct work *w, struct ladders *to, struct error *err)
{
	const struct symbol_options symbols = { .no_debuginfod = true, .no_inline = true };
	const struct ladder_options o = { 0 };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	int r = symbol_pool_new(&symbols, &pool, err);

	while (r == 0 && to->n < w->q.n_processes) {
		cleanup(target_closep) struct target *t = NULL;
		cleanup(symbol_space_freep) struct symbol_space *space = NULL;

		r = target_open(w->pids[to->n], &t, err);
		if (r == 0)
			r = symbol_space_new(pool, t, &space, err);
		if (r == 0)
			r = ladder_read(t, space, &o, &to->items[to->n], err);
		if (r == 0)
			to->n++;
	}
	return r;
}

static int ladder(struct work *w, struct profile **ret, struct error *err)
{
	cleanup(ladders_clear) struct ladders all = { 0 };
	int r = read_ladders(w, &all, err);

	return r < 0 ? r : ladder_profile(all.items, all.n, ret, err);
}

static int rows(struct work *w, struct error *err)
{
	cleanup(ladders_clear) struct ladders all = { 0 };
	int r = read_ladders(w, &all, err);

	for (uint32_t i = 0; r == 0 && i < all.n; i++) {
		struct metrics_page_rows figures;

		metrics_page_rows(&all.items[i], &figures);
		for (size_t k = 0; k < figures.n; k++) {
			const struct metrics_page_row *f = &figures.row[k];
			struct worker_row row = { .virtual_bytes = f->virtual_bytes,
				                  .resident_bytes = f->resident_bytes,
				                  .swap_bytes = f->swap_bytes,
				                  .in_use_bytes = f->in_use_bytes,
				                  .cached_bytes = f->cached_bytes,
				                  .is_inside = f->is_inside };

			snprintf(row.kind, sizeof(row.kind), "%s", f->kind);
			fwrite(&row, sizeof(row), 1, w->to);
		}
	}
	return r;
}

/* ---- what was kept ---- */

static int read_input(struct work *w, size_t i, struct profile **ret, struct error *err)
{
	char path[32];

	if (i >= w->n_inputs)
		return error_set(err, EINVAL, "no input");
	snprintf(path, sizeof(path), "/dev/fd/%d", w->inputs[i]);
	return profile_file_read(path, ret, err);
}

static int stored(struct work *w, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r = read_input(w, 0, &p, err);

	return r < 0 ? r : write_profile(w, p, false, err);
}

static int stored_diff(struct work *w, struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL;
	cleanup(profile_freep) struct profile *after = NULL;
	cleanup(profile_freep) struct profile *diff = NULL;
	int r = read_input(w, 0, &before, err);

	if (r == 0)
		r = read_input(w, 1, &after, err);
	if (r == 0)
		r = transform_diff(before, after, NULL, &diff, err);
	return r < 0 ? r : write_profile(w, diff, true, err);
}

static int collect(struct work *w, struct error *err)
{
	static int (*const collectors[WORKER_N_KINDS])(struct work * w, struct profile * *ret,
	                                               struct error * err) = {
		[WORKER_LADDER] = ladder,
		[WORKER_HEAP] = heap,
		[WORKER_MAP] = map,
		[WORKER_REFS] = refs,
	};
	cleanup(profile_freep) struct profile *p = NULL;
	uint64_t begun = clock_now_ns();
	int r;

	if (w->q.kind == WORKER_STORED)
		return stored(w, err);
	if (w->q.kind == WORKER_DIFF)
		return stored_diff(w, err);
	r = check_processes(w, err);
	if (r < 0)
		return r;
	if (w->q.kind == WORKER_SYMBOL)
		return worker_symbol(w->pids[0], w->q.text, w->to, err);
	if (w->q.kind == WORKER_ROWS)
		return rows(w, err);
	if (w->q.kind >= WORKER_N_KINDS || !collectors[w->q.kind])
		return error_set(err, EINVAL, "no such kind of capture");
	r = collectors[w->q.kind](w, &p, err);
	if (r < 0)
		return r;
	date(p, (double)(clock_now_ns() - begun) / 1e9);
	return write_profile(w, p, false, err);
}

/* ---- a recording that goes on ---- */

/* A look with seconds, which is under way. */
struct look {
	FILE *to; /* NULL: there is none */
	uint64_t id;
	char format[sizeof(((struct worker_request *)0)->format)];
	struct profile *before;
	uint64_t before_ns, due_ns;
};

struct recording {
	struct work *w;
	struct alloc_recorder *recorder; /* NULL: the runtime keeps a profile itself */
	enum alloc_ended ended;
	uint64_t begun_ns;
	struct look looks[MAX_LOOKS];
};

static int held_now(struct recording *r, struct profile **ret, struct error *err)
{
	const struct alloc_filter all = { 0 };
	struct capture_own_facts facts = { 0 };
	int rc;

	if (r->recorder)
		return alloc_result(r->recorder, r->ended, &all, ret, err);
	rc = capture_own_process(r->w->pids[0], ret, &facts, err);
	if (rc == 0)
		rc = error_set(err, ESRCH, "process %d runs another program now", r->w->pids[0]);
	return rc < 0 ? rc : worker_own_say_gc(*ret, err);
}

/* What is held now, less @before (which may be NULL). */
static int write_held(struct recording *r, const struct profile *before, uint64_t since_ns,
                      struct error *err)
{
	cleanup(profile_freep) struct profile *now = NULL;
	cleanup(profile_freep) struct profile *delta = NULL;
	int rc = held_now(r, &now, err);

	r->w->reply.ended = r->ended != ALLOC_RUNNING;
	r->w->reply.is_of_last_gc = !r->recorder;
	if (rc == 0 && before)
		rc = worker_own_subtract(before, now, &delta, err);
	if (rc < 0)
		return rc;
	date(delta ? delta : now, (double)(clock_now_ns() - since_ns) / 1e9);
	return write_profile(r->w, delta ? delta : now, false, err);
}

/* -1: it is not said. */
static double figure(const struct profile *p, const char *key)
{
	const struct report_figure *f = report_get(profile_report_const(p), key);

	if (!f)
		return -1;
	return f->kind == REPORT_DOUBLE ? f->real : f->kind == REPORT_INT ? (double)f->integer : -1;
}

static bool gave_up(enum alloc_ended ended)
{
	return ended == ALLOC_ENDED_GUARD || ended == ALLOC_ENDED_BUDGET ||
	       ended == ALLOC_ENDED_CONDITION;
}

static int read_figures(struct recording *r, struct error *err)
{
	cleanup(profile_freep) struct profile *now = NULL;
	int held, rc = held_now(r, &now, err);

	if (rc < 0)
		return rc;
	held = profile_find_type(now, "inuse_space");
	r->w->reply.held_bytes = held < 0 ? 0 : profile_total(now, (size_t)held);
	r->w->reply.lost_events = (int64_t)figure(now, "lost_events");
	r->w->reply.gave_up = r->recorder && gave_up(r->ended);
	r->w->reply.own_bytes = (int64_t)figure(now, "own_resident_bytes");
	r->w->reply.cost_s = figure(now, "cost_cpu_seconds");
	return 0;
}

static int write_stacks(struct recording *r, struct error *err)
{
	cleanup(profile_freep) struct profile *now = NULL;
	int rc = held_now(r, &now, err);

	return rc < 0 ? rc : worker_stacks_write(now, r->w->q.least_bytes, r->w->to, err);
}

static void finish_look(struct recording *r, struct look *l)
{
	cleanup(profile_freep) struct profile *before = take_ptr(l->before);
	struct error err = { 0 };
	int rc;

	r->w->to = take_ptr(l->to);
	r->w->reply = (struct worker_reply){ .id = l->id };
	memcpy(r->w->q.format, l->format, sizeof(l->format));
	rc = write_held(r, before, l->before_ns, &err);
	answer(r->w, rc, &err);
}

static struct look *free_look(struct recording *r)
{
	for (size_t i = 0; i < MAX_LOOKS; i++) {
		if (!r->looks[i].to)
			return &r->looks[i];
	}
	return NULL;
}

/* Look now, and again when the seconds are over. */
static int begin_delta(struct recording *r, struct error *err)
{
	struct look *l = free_look(r);
	int rc;

	if (!l)
		return error_set(err, EBUSY, "%d looks at this recording are under way", MAX_LOOKS);
	rc = held_now(r, &l->before, err);
	if (rc < 0)
		return rc;
	l->to = take_ptr(r->w->to);
	l->id = r->w->q.id;
	memcpy(l->format, r->w->q.format, sizeof(l->format));
	l->before_ns = clock_now_ns();
	l->due_ns = l->before_ns + (uint64_t)(r->w->q.seconds * 1e9);
	return 0;
}

static void begin_look(struct recording *r)
{
	struct error err = { 0 };
	int rc = 0;

	if (r->w->q.kind == WORKER_FIGURES) {
		answer(r->w, read_figures(r, &err), &err);
		return;
	}
	if (r->w->q.kind == WORKER_STACKS) {
		answer(r->w, write_stacks(r, &err), &err);
		return;
	}
	if (r->w->q.kind != WORKER_LOOK)
		rc = error_set(&err, EINVAL, "this worker records");
	if (rc == 0 && r->w->q.seconds > 0) {
		rc = begin_delta(r, &err);
		if (rc == 0)
			return;
	}
	if (rc == 0)
		rc = write_held(r, NULL, r->begun_ns, &err);
	answer(r->w, rc, &err);
}

/* False: the service has gone. */
static bool serve_looks(struct recording *r)
{
	uint64_t now = clock_now_ns();
	int rc;

	for (size_t i = 0; i < MAX_LOOKS; i++) {
		if (r->looks[i].to && (now >= r->looks[i].due_ns || r->ended != ALLOC_RUNNING))
			finish_look(r, &r->looks[i]);
	}
	rc = take_request(r->w, MSG_DONTWAIT);
	if (rc > 0)
		begin_look(r);
	return rc > 0 || rc == -EAGAIN || rc == -EINTR;
}

static void run_recording(struct recording *r)
{
	struct error err = { 0 };

	while (!alloc_interrupted && serve_looks(r)) {
		if (r->recorder && r->ended == ALLOC_RUNNING) {
			if (alloc_poll(r->recorder, POLL_MS, &r->ended, &err) < 0)
				return; /* the service sees that we have ended */
		} else {
			worker_own_wait(POLL_MS / 1e3);
		}
	}
}

/* Looks that were under way get what there is: the service answers its waiters with it. */
static void end_recording(struct recording *r)
{
	for (size_t i = 0; i < MAX_LOOKS; i++) {
		if (r->looks[i].to)
			finish_look(r, &r->looks[i]);
	}
}

/* Does the runtime keep a profile itself (Go)? */
static bool has_own(struct work *w)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct capture_own_facts facts;
	struct error ignored;
	int r = w->q.n_processes == 1 ? capture_own_process(w->pids[0], &p, &facts, &ignored) : 0;

	return r > 0 || r == -EAGAIN;
}

static void record(struct work *w)
{
	const struct alloc_options o = { .budget = w->q.budget,
		                         .symbols = { .no_debuginfod = true } };
	cleanup(alloc_freep) struct alloc_recorder *recorder = NULL;
	struct recording recording = { .w = w, .begun_ns = clock_now_ns() };
	struct error err = { 0 };
	int r = check_processes(w, &err);

	if (r == 0 && !has_own(w))
		r = alloc_start(w->pids, w->q.n_processes, &o, false, &recorder, &err);
	answer(w, r, &err); /* it has begun */
	if (r < 0)
		return;
	recording.recorder = recorder;
	run_recording(&recording);
	end_recording(&recording);
}

/* ---- the whole ---- */

/* When the service ends, however it does, so do we, and let the targets go. */
static void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() == 1)
		alloc_interrupted = 1;
}

int worker_main(int fd)
{
	static struct work w; /* too large for a stack */
	const struct rlimit most = { MAX_RESULT_BYTES, MAX_RESULT_BYTES };
	struct sigaction sa = { .sa_handler = on_signal };
	struct error err = { 0 };
	int r;

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &most);
	die_with_parent();
	w.fd = fd;
	r = take_request(&w, 0);
	if (r <= 0)
		return r;
	if (w.q.kind == WORKER_RECORD) {
		record(&w);
		return 0;
	}
	r = collect(&w, &err);
	answer(&w, r, &err);
	return 0;
}
