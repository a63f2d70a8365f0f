/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/jobs.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

enum {
	DEFAULT_SECONDS = 5, /* worker.c's */
	MAX_LOOKS = 4,       /* ladders and names: they attach nothing, and take a moment */
	LOOK_SECONDS = 120,  /* a worker that takes so much longer is ended */
	REFS_SECONDS = 900,
	KILL_AFTER_S = 3, /* between SIGTERM and SIGKILL */
};

/* A process of ours; it is forgotten when it was waited for. */
struct hand {
	struct worker worker; /* pid 0: none */
	uint64_t told_ns;     /* SIGTERM was sent then; 0: not */
	bool killed;
};

struct job {
	struct job *next;
	struct jobs_key key;
	uint64_t id, begun_ns;
	struct hand hand;            /* unless of a recording */
	struct recording *recording; /* NULL: none */
	int result;                  /* memfd */
	struct jobs_waiter *waiters;
	bool answered; /* or cancelled: only its process is waited for */
	bool let_go;   /* it said that it is done, so that it holds no target */
};

struct recording {
	struct recording *next;
	struct jobs_key key;
	struct hand hand;
	enum jobs_recording state;
	char why[ERROR_MESSAGE_BYTES];
	int unused; /* the answer to "begin" goes there */
};

struct jobs {
	struct jobs_options o;
	int epoll;
	uint64_t last_id;
	struct job *jobs;
	struct recording *recordings;
	struct jobs_counts counts;
	bool stopping;
};

int jobs_new(const struct jobs_options *o, struct jobs **ret, struct error *err)
{
	struct jobs *j = calloc(1, sizeof(*j));

	if (!j)
		return error_oom(err);
	j->o = *o;
	j->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (j->epoll < 0) {
		free(j);
		return error_sys(err, errno, "epoll");
	}
	*ret = j;
	return 0;
}

void jobs_set_options(struct jobs *j, const struct jobs_options *o)
{
	j->o = *o;
}

int jobs_fd(const struct jobs *j)
{
	return j->epoll;
}

/* ---- processes ---- */

static int hand_start(struct jobs *j, struct hand *h, struct error *err)
{
	struct epoll_event e = { .events = EPOLLIN };
	int r = worker_start(&h->worker, err);

	if (r == 0)
		epoll_ctl(j->epoll, EPOLL_CTL_ADD, h->worker.fd, &e);
	return r;
}

static void hand_signal(struct hand *h, int number)
{
	if (!h->worker.pid || h->told_ns)
		return;
	kill(h->worker.pid, number);
	h->told_ns = clock_now_ns();
}

/* End, with what there is. */
static void hand_tell(struct hand *h)
{
	hand_signal(h, SIGTERM);
}

/* End; nobody waits for the result. */
static void hand_drop(struct hand *h)
{
	hand_signal(h, SIGUSR1);
}

/* True: there is no process any more. */
static bool hand_has_ended(struct hand *h)
{
	if (!h->worker.pid)
		return true;
	if (waitpid(h->worker.pid, NULL, WNOHANG) == 0) {
		if (h->told_ns && !h->killed &&
		    clock_now_ns() - h->told_ns > KILL_AFTER_S * 1000000000ull) {
			kill(h->worker.pid, SIGKILL);
			h->killed = true;
		}
		return false;
	}
	close(h->worker.fd);
	h->worker = (struct worker){ .fd = -1 };
	return true;
}

/* ---- jobs ---- */

static bool attaches(enum worker_kind kind)
{
	return kind == WORKER_HEAP || kind == WORKER_MAP || kind == WORKER_REFS;
}

static bool needs_recording(enum worker_kind kind)
{
	return kind == WORKER_STACKS || kind == WORKER_FIGURES;
}

static bool is_same(const struct jobs_key *a, const struct jobs_key *b)
{
	return !strcmp(a->target, b->target) && a->kind == b->kind && a->seconds == b->seconds &&
	       a->is_held == b->is_held && a->or_refs == b->or_refs &&
	       a->least_bytes == b->least_bytes && !strcmp(a->format, b->format) &&
	       a->n_processes == b->n_processes && !a->text && !b->text &&
	       !memcmp(a->processes, b->processes, a->n_processes * sizeof(*a->processes));
}

/* Two names may mean one process. */
static bool is_same_target(const struct jobs_key *a, const struct jobs_key *b)
{
	for (uint32_t i = 0; i < a->n_processes; i++) {
		for (uint32_t k = 0; k < b->n_processes; k++) {
			if (a->processes[i].pid == b->processes[k].pid)
				return true;
		}
	}
	return false;
}

static double ends_in(const struct job *job)
{
	double seconds = job->key.seconds ? job->key.seconds : DEFAULT_SECONDS;
	double gone = (double)(clock_now_ns() - job->begun_ns) / 1e9;

	if (job->key.kind != WORKER_HEAP && job->key.kind != WORKER_MAP)
		return -1;
	return job->answered ? 1 : gone < seconds ? seconds - gone : 0;
}

static void tell_all(struct job *job, const struct jobs_result *r)
{
	while (job->waiters) {
		struct jobs_waiter *w = job->waiters;

		job->waiters = w->next;
		w->job = NULL;
		w->done(w, r);
	}
}

static void note_end(struct jobs *j, const struct job *job, const char *outcome)
{
	if (j->o.ended && attaches(job->key.kind) && !job->recording)
		j->o.ended(j->o.arg, &job->key, outcome);
}

static void finish(struct jobs *j, struct job *job, const struct jobs_result *r)
{
	job->answered = true;
	note_end(j, job, !r->err.code ? "ok" : r->cancelled ? "cancelled" : "failed");
	if (r->err.code && !r->cancelled)
		j->counts.failed[job->key.kind]++;
	tell_all(job, r);
}

static void fail(struct jobs *j, struct job *job, int errnum, const char *why)
{
	struct jobs_result r = { .fd = -1, .cancelled = j->stopping };

	error_set(&r.err, errnum, "%s", why);
	finish(j, job, &r);
}

static void on_reply(struct jobs *j, struct job *job, const struct worker_reply *reply)
{
	struct jobs_result r = { .err = reply->err,
		                 .fd = job->result,
		                 .bytes = reply->bytes,
		                 .held_bytes = reply->held_bytes,
		                 .is_of_last_gc = reply->is_of_last_gc,
		                 .lost_events = reply->lost_events,
		                 .own_bytes = reply->own_bytes,
		                 .gave_up = reply->gave_up,
		                 .is_refs = reply->is_refs,
		                 .cost_s = reply->cost_s };

	job->let_go = true;
	finish(j, job, &r);
	hand_tell(&job->hand); /* it ends by itself; should it not, it is ended */
}

static void job_free(struct job *job)
{
	if (job->result >= 0)
		close(job->result);
	free(job);
}

static uint64_t most_ns(const struct job *job)
{
	uint64_t extra = job->key.kind == WORKER_REFS ? REFS_SECONDS : LOOK_SECONDS;

	return (job->key.seconds + extra) * 1000000000ull;
}

static void run_job(struct jobs *j, struct job *job)
{
	struct worker_reply reply;
	int r = job->answered ? 0 : worker_take(&job->hand.worker, &reply);

	if (r > 0)
		on_reply(j, job, &reply);
	else if (r < 0)
		fail(j, job, j->stopping ? EINTR : EIO,
		     j->stopping ? "the service ends"
		                 : "the process that captured has ended early");
	if (!job->answered && clock_now_ns() - job->begun_ns > most_ns(job))
		hand_tell(&job->hand);
}

/* ---- recordings ---- */

static struct recording *find_recording(const struct jobs *j, const char *target)
{
	for (struct recording *r = j->recordings; r; r = r->next) {
		if (!strcmp(r->key.target, target))
			return r;
	}
	return NULL;
}

static bool records(const struct recording *r, const struct worker_process *of, uint32_t n)
{
	return r->key.n_processes == n && !memcmp(r->key.processes, of, n * sizeof(*of));
}

static void on_recording_reply(struct jobs *j, struct recording *r,
                               const struct worker_reply *reply)
{
	if (r->state == JOBS_STARTING) {
		r->state = reply->err.code ? JOBS_RECORDING_FAILED : JOBS_RECORDED;
		memcpy(r->why, reply->err.message, sizeof(r->why));
		return;
	}
	for (struct job *job = j->jobs; job; job = job->next) {
		if (job->recording == r && job->id == reply->id && !job->answered)
			on_reply(j, job, reply);
	}
}

static void run_recording(struct jobs *j, struct recording *r)
{
	struct worker_reply reply;
	int rc = 0;

	while (r->hand.worker.pid && (rc = worker_take(&r->hand.worker, &reply)) > 0)
		on_recording_reply(j, r, &reply);
	if (rc >= 0 || !hand_has_ended(&r->hand))
		return;
	if (r->state != JOBS_RECORDING_FAILED) {
		r->state = JOBS_RECORDING_FAILED;
		memcpy(r->why, "the process that recorded has ended", 36);
	}
	for (struct job *job = j->jobs; job; job = job->next) {
		if (job->recording == r && !job->answered)
			fail(j, job, j->stopping ? EINTR : EIO,
			     j->stopping ? "the service ends" : r->why);
	}
}

int jobs_record(struct jobs *j, const struct jobs_key *key, struct error *err)
{
	struct recording *r = calloc(1, sizeof(*r));
	struct worker_request *q = calloc(1, sizeof(*q));
	int rc = r && q ? 0 : error_oom(err);

	if (rc == 0) {
		r->key = *key;
		r->state = JOBS_STARTING;
		r->unused = memfd_create("memwho", MFD_CLOEXEC);
		rc = hand_start(j, &r->hand, err);
	}
	if (rc == 0) {
		q->kind = WORKER_RECORD;
		q->budget = j->o.budget;
		q->n_processes = key->n_processes;
		memcpy(q->processes, key->processes, sizeof(q->processes));
		rc = worker_ask(&r->hand.worker, q, r->unused, NULL, 0, err);
	}
	free(q);
	if (rc < 0 && !(r && r->hand.worker.pid)) {
		free(r);
		return rc;
	}
	/* one that could not be told ends by itself, and is waited for as any other */
	r->next = j->recordings;
	j->recordings = r;
	return 0;
}

void jobs_unrecord(struct jobs *j, const char *target)
{
	struct recording *r = find_recording(j, target);

	if (!r)
		return;
	hand_tell(&r->hand);
	r->key.target[0] = '\0'; /* a new one may begin; this one is waited for */
}

void jobs_give_up(struct jobs *j, const char *target, const char *why)
{
	struct recording *r = find_recording(j, target);

	if (!r)
		return;
	r->state = JOBS_RECORDING_FAILED;
	snprintf(r->why, sizeof(r->why), "%s", why);
	hand_tell(&r->hand);
}

enum jobs_recording jobs_recording_of(const struct jobs *j, const char *target,
                                      const struct worker_process *of, uint32_t n,
                                      char why[ERROR_MESSAGE_BYTES])
{
	const struct recording *r = find_recording(j, target);

	if (!r || !records(r, of, n))
		return JOBS_NOT_RECORDED;
	if (why)
		memcpy(why, r->why, sizeof(r->why));
	return r->state;
}

bool jobs_recorded_key(const struct jobs *j, const char *target, struct jobs_key *ret)
{
	const struct recording *r = find_recording(j, target);

	if (!r || r->state != JOBS_RECORDED)
		return false;
	*ret = r->key;
	return true;
}

/* ---- asking ---- */

static bool conflicts(const struct job *job, const struct jobs_key *key)
{
	return !job->recording && !job->let_go && attaches(job->key.kind) && attaches(key->kind) &&
	       is_same_target(&job->key, key);
}

static void describe(const struct job *job, struct jobs_running *ret)
{
	ret->key = job->key;
	ret->key.text = NULL;
	ret->ends_in_s = ends_in(job);
}

static size_t count_running(const struct jobs *j, bool attaching)
{
	size_t n = 0;

	for (const struct job *job = j->jobs; job; job = job->next)
		n += !job->recording && !job->let_go && attaches(job->key.kind) == attaching;
	return n;
}

static int send_request(struct jobs *j, struct job *job, struct error *err)
{
	struct worker_request *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return error_oom(err);
	q->id = job->id;
	q->kind = job->recording && job->key.kind == WORKER_HEAP ? WORKER_LOOK : job->key.kind;
	q->n_processes = job->key.n_processes;
	memcpy(q->processes, job->key.processes, sizeof(q->processes));
	q->seconds = job->recording && job->key.is_held ? 0 : job->key.seconds;
	q->is_held = job->key.is_held;
	q->or_refs = job->key.or_refs;
	q->least_bytes = job->key.least_bytes;
	q->budget = j->o.budget;
	memcpy(q->format, job->key.format, sizeof(q->format));
	if (job->key.text)
		snprintf(q->text, sizeof(q->text), "%s", job->key.text);
	r = worker_ask(job->recording ? &job->recording->hand.worker : &job->hand.worker, q,
	               job->result, job->key.inputs, job->key.n_inputs, err);
	free(q);
	return r;
}

static int start(struct jobs *j, const struct jobs_key *key, struct recording *recording,
                 struct job **ret, struct error *err)
{
	struct job *job = calloc(1, sizeof(*job));
	int r;

	if (!job)
		return error_oom(err);
	job->key = *key;
	job->id = ++j->last_id;
	job->begun_ns = clock_now_ns();
	job->recording = recording;
	job->result = memfd_create("memwho", MFD_CLOEXEC);
	r = job->result < 0 ? error_sys(err, errno, "no memory for the result") : 0;
	if (r == 0 && !recording)
		r = hand_start(j, &job->hand, err);
	if (r == 0)
		r = send_request(j, job, err);
	job->key.text = key->text ? "" : NULL;
	if (r < 0 && !job->hand.worker.pid) {
		job_free(job);
		return r;
	}
	job->answered = r < 0;
	job->next = j->jobs;
	j->jobs = job;
	if (r == 0) {
		j->counts.started[key->kind]++;
		*ret = job;
	}
	return r;
}

static void wait_for(struct job *job, struct jobs_waiter *w, bool joined)
{
	w->job = job;
	w->joined = joined;
	w->next = job->waiters;
	job->waiters = w;
}

static void close_inputs(const struct jobs_key *key)
{
	for (size_t i = 0; i < key->n_inputs; i++)
		close(key->inputs[i]);
}

static enum jobs_verdict ask(struct jobs *j, const struct jobs_key *key, struct jobs_waiter *w,
                             struct jobs_running *running, struct error *err)
{
	struct recording *recording = find_recording(j, key->target);
	struct job *job = NULL;

	if ((key->kind != WORKER_HEAP && !needs_recording(key->kind)) || !recording ||
	    recording->state != JOBS_RECORDED ||
	    !records(recording, key->processes, key->n_processes))
		recording = NULL;
	if (j->stopping) {
		error_set(err, EINTR, "the service ends");
		return JOBS_FAILED;
	}
	if (needs_recording(key->kind) && !recording) {
		error_set(err, ENODATA, "it is not recorded");
		return JOBS_FAILED;
	}
	for (job = j->jobs; job; job = job->next) {
		if (!job->answered && is_same(&job->key, key)) {
			wait_for(job, w, true);
			j->counts.joined++;
			return JOBS_WAIT;
		}
	}
	for (job = j->jobs; job && !recording; job = job->next) {
		if (conflicts(job, key)) {
			describe(job, running);
			j->counts.busy++;
			return JOBS_BUSY;
		}
	}
	if (!recording && count_running(j, attaches(key->kind)) >=
	                          (attaches(key->kind) ? j->o.slots : MAX_LOOKS)) {
		j->counts.full++;
		return JOBS_FULL;
	}
	if (start(j, key, recording, &job, err) < 0)
		return JOBS_FAILED;
	wait_for(job, w, false);
	return JOBS_WAIT;
}

enum jobs_verdict jobs_ask(struct jobs *j, const struct jobs_key *key, struct jobs_waiter *w,
                           struct jobs_running *running, struct error *err)
{
	enum jobs_verdict v = ask(j, key, w, running, err);

	close_inputs(key); /* the worker has its own */
	return v;
}

void jobs_leave(struct jobs *j, struct jobs_waiter *w)
{
	struct job *job = w->job;

	if (!job)
		return;
	for (struct jobs_waiter **at = &job->waiters; *at; at = &(*at)->next) {
		if (*at == w) {
			*at = w->next;
			break;
		}
	}
	w->job = NULL;
	if (job->waiters || job->answered)
		return;
	j->counts.cancelled++;
	note_end(j, job, "cancelled");
	job->answered = true;
	if (!job->recording)
		hand_drop(&job->hand);
}

/* ---- running ---- */

static bool job_is_over(struct job *job)
{
	if (!job->answered)
		return false;
	return job->recording || hand_has_ended(&job->hand);
}

static void drop_ended(struct jobs *j)
{
	for (struct job **at = &j->jobs; *at;) {
		struct job *job = *at;

		if (!job_is_over(job)) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		job_free(job);
	}
	for (struct recording **at = &j->recordings; *at;) {
		struct recording *r = *at;

		/* a failed one stays known until it is forgotten */
		if (r->key.target[0] || !hand_has_ended(&r->hand)) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		close(r->unused);
		free(r);
	}
}

/* A look belongs to a recording that is still there: jobs first. */
static void forget_looks_of_ended(struct jobs *j)
{
	for (struct job *job = j->jobs; job; job = job->next) {
		if (job->recording && !job->answered && !job->recording->hand.worker.pid)
			fail(j, job, EIO, "the recording has ended");
	}
}

void jobs_run(struct jobs *j)
{
	struct epoll_event events[64];

	/* level-triggered: which one it was does not matter, there are few */
	(void)!epoll_wait(j->epoll, events, ARRAY_SIZE(events), 0);
	for (struct recording *r = j->recordings; r; r = r->next)
		run_recording(j, r);
	for (struct job *job = j->jobs; job; job = job->next) {
		if (!job->recording)
			run_job(j, job);
	}
	forget_looks_of_ended(j);
	drop_ended(j);
}

bool jobs_is_idle(const struct jobs *j)
{
	return !j->jobs && (!j->recordings || !j->stopping);
}

void jobs_stop(struct jobs *j)
{
	j->stopping = true;
	for (struct job *job = j->jobs; job; job = job->next) {
		if (!job->recording)
			hand_tell(&job->hand);
	}
	for (struct recording *r = j->recordings; r; r = r->next) {
		hand_tell(&r->hand);
		r->key.target[0] = '\0';
	}
}

bool jobs_has_stopped(const struct jobs *j)
{
	return !j->jobs && !j->recordings;
}

struct jobs *jobs_free(struct jobs *j)
{
	if (!j)
		return NULL;
	while (j->jobs) {
		struct job *job = j->jobs;

		j->jobs = job->next;
		if (job->hand.worker.pid) {
			kill(job->hand.worker.pid, SIGKILL);
			close(job->hand.worker.fd);
		}
		job_free(job);
	}
	while (j->recordings) {
		struct recording *r = j->recordings;

		j->recordings = r->next;
		if (r->hand.worker.pid) {
			kill(r->hand.worker.pid, SIGKILL);
			close(r->hand.worker.fd);
		}
		close(r->unused);
		free(r);
	}
	close(j->epoll);
	free(j);
	return NULL;
}

void jobs_counts(const struct jobs *j, struct jobs_counts *ret)
{
	*ret = j->counts;
	ret->running = count_running(j, true);
	ret->recordings = 0;
	for (const struct recording *r = j->recordings; r; r = r->next)
		ret->recordings += r->state == JOBS_RECORDED;
}

bool jobs_running_of(const struct jobs *j, const char *target, struct jobs_running *ret)
{
	for (const struct job *job = j->jobs; job; job = job->next) {
		if (!job->recording && !job->let_go && attaches(job->key.kind) &&
		    !strcmp(job->key.target, target)) {
			describe(job, ret);
			return true;
		}
	}
	return false;
}
