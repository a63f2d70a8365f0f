/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Captures that are asked for, and who waits for them. One thread; nothing here
 * blocks.
 *
 *   the same target, kind, seconds and format while one runs: the caller joins
 *   something else of that target:                            JOBS_BUSY
 *   all slots used:                                           JOBS_FULL
 *   the last waiter gone:                                     cancelled at once
 *
 * Each capture is a process (worker.h). A target under record = always has one
 * that stays; what it holds is looked at without a slot, and any number of looks
 * is no conflict. The surprising rule: a capture that is cancelled counts as
 * running until its process has ended, for until then the target is not free.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "serve/worker.h"

struct jobs;

struct jobs_key {
	char target[64]; /* its name, or the pid */
	enum worker_kind kind;
	unsigned seconds;
	bool is_held;        /* as struct worker_request's, */
	bool or_refs;        /* this */
	int64_t least_bytes; /* and this */
	char format[16];
	uint32_t n_processes;
	struct worker_process processes[WORKER_MAX_PIDS];
	int inputs[WORKER_MAX_INPUTS]; /* jobs' from jobs_ask() on, which closes them */
	size_t n_inputs;               /* such a job is never joined */
	const char *text; /* of WORKER_SYMBOL; NULL: none. Such a job is never joined */
};

struct jobs_result {
	struct error err; /* code 0: it is there */
	int fd;           /* jobs' own: dup() it; read it from its beginning */
	uint64_t bytes;
	int64_t held_bytes;
	int64_t lost_events; /* of WORKER_FIGURES, as struct worker_reply's, */
	int64_t own_bytes;   /* this */
	double cost_s;       /* and this */
	bool is_of_last_gc;  /* and this */
	bool gave_up;        /* and this */
	bool is_refs;        /* and this */
	bool cancelled;      /* by the end of the service */
};

/* Who waits; the caller's memory, until done() or jobs_leave(). */
struct jobs_waiter {
	struct job *job; /* NULL: waits for nothing */
	bool joined;
	void (*done)(struct jobs_waiter *w, const struct jobs_result *r);
	struct jobs_waiter *next;
};

enum jobs_verdict { JOBS_WAIT, JOBS_BUSY, JOBS_FULL, JOBS_FAILED };

/* What runs, for who is told JOBS_BUSY. */
struct jobs_running {
	struct jobs_key key;
	double ends_in_s; /* < 0: not known */
};

struct jobs_options {
	size_t slots;
	double budget;
	/* Called when a capture that attaches has ended, before its waiters. May be NULL. */
	void (*ended)(void *arg, const struct jobs_key *key, const char *outcome);
	void *arg;
};

struct jobs_counts {
	uint64_t started[WORKER_N_KINDS], failed[WORKER_N_KINDS]; /* by kind */
	uint64_t joined, busy, full, cancelled;
	size_t running, recordings;
};

int jobs_new(const struct jobs_options *o, struct jobs **ret, struct error *err);
void jobs_set_options(struct jobs *j, const struct jobs_options *o);
/* Ends every process, at once: call jobs_stop() before. */
struct jobs *jobs_free(struct jobs *j);

/* JOBS_BUSY fills *running; JOBS_FAILED fills *err. @w->done is set by the caller; it is not
 * called from within. */
enum jobs_verdict jobs_ask(struct jobs *j, const struct jobs_key *key, struct jobs_waiter *w,
                           struct jobs_running *running, struct error *err);
/* @w does not wait any more. */
void jobs_leave(struct jobs *j, struct jobs_waiter *w);

/* An epoll descriptor that is readable when jobs_run() has something to do; it is to be called
 * every 100 ms, too, while jobs_is_idle() is false. */
int jobs_fd(const struct jobs *j);
void jobs_run(struct jobs *j);
bool jobs_is_idle(const struct jobs *j);

/* Let all targets go; waiters get what was recorded so far, or a reason. False while some
 * process has not ended: run on. */
void jobs_stop(struct jobs *j);
bool jobs_has_stopped(const struct jobs *j);

/* ---- record = always ---- */

enum jobs_recording { JOBS_NOT_RECORDED, JOBS_STARTING, JOBS_RECORDED, JOBS_RECORDING_FAILED };

/* Record these processes from now on. */
int jobs_record(struct jobs *j, const struct jobs_key *key, struct error *err);
/* The recording of @target ends, and is forgotten. */
void jobs_unrecord(struct jobs *j, const char *target);
/* It has given up by itself: its process is ended, and it counts as failed. */
void jobs_give_up(struct jobs *j, const char *target, const char *why);
/* @why (may be NULL): of a failure. @of: does it record just these processes? */
enum jobs_recording jobs_recording_of(const struct jobs *j, const char *target,
                                      const struct worker_process *of, uint32_t n,
                                      char why[ERROR_MESSAGE_BYTES]);

/* What is being recorded under that name; false: nothing. */
bool jobs_recorded_key(const struct jobs *j, const char *target, struct jobs_key *ret);

void jobs_counts(const struct jobs *j, struct jobs_counts *ret);
/* What is running of @target (an attaching capture), or false. */
bool jobs_running_of(const struct jobs *j, const char *target, struct jobs_running *ret);
