/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Who does the looking: a process of its own for each capture, started from our
 * own executable, memwho-serve, with the word serve-worker.
 *
 * Why a process and not a thread: a collector reads hostile memory, maps foreign
 * files and holds what it found in memory. When it dies, is killed or runs out
 * of memory, the service answers with a reason and goes on; when it has ended,
 * its memory has gone; it can be ended at any time (every collector's hold on a
 * target survives our SIGKILL); and it does not have what the service has in its
 * memory: tokens, other callers' results. Why exec and not fork alone: the
 * service has threads (pushes), and after fork() of a threaded process little
 * may be called.
 *
 * Service and worker talk over a SOCK_SEQPACKET pair. A request is one struct
 * worker_request with the descriptor that the result is to be written to; the
 * answer is one struct worker_reply. A worker that records goes on until its
 * socket is closed; any other ends after its answer. SIGTERM ends what it does,
 * with the targets let go first; SIGUSR1 the same, without a result.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

enum {
	WORKER_FD = 3, /* the socket, in the worker */
	WORKER_MAX_PIDS = 64,
	WORKER_TEXT_BYTES = 16384,
	WORKER_MAX_INPUTS = 2,
};

enum worker_kind {
	WORKER_LADDER,
	WORKER_HEAP,    /* who holds what */
	WORKER_MAP,     /* who mapped it */
	WORKER_REFS,    /* who refers to it */
	WORKER_SYMBOL,  /* names of addresses: text is "0xa+0xb" */
	WORKER_RECORD,  /* attach, then answer WORKER_LOOK at any time */
	WORKER_ROWS,    /* the ladder in figures: struct worker_row */
	WORKER_STORED,  /* a profile of inputs[0] in another format, */
	WORKER_DIFF,    /* or the difference from inputs[0] to inputs[1] */
	WORKER_LOOK,    /* to a recording one: what is held now; seconds: what changes in them */
	WORKER_FIGURES, /* the same: only what the reply has */
	WORKER_STACKS,  /* the same: struct trigger_stack of those that hold least_bytes */
	WORKER_N_KINDS,
};

/* A process, so that another one with the same number is not taken for it. */
struct worker_process {
	int32_t pid;
	uint64_t start_ticks; /* field 22 of /proc/PID/stat */
};

struct worker_request {
	uint64_t id; /* comes back in the answer: looks may overtake each other */
	uint32_t kind;
	uint32_t n_processes;
	struct worker_process processes[WORKER_MAX_PIDS];
	double seconds; /* 0: what is there already, or 5 s where nothing is */
	bool is_held;   /* what is held; seconds: to record if nothing is kept already */
	bool or_refs;   /* WORKER_HEAP: where the runtime keeps no profile, who refers to it */
	double budget;  /* as struct alloc_options */
	int64_t least_bytes;
	char format[16]; /* a name in render's table */
	char text[WORKER_TEXT_BYTES];
};

/* Of one process. */
struct worker_row {
	char kind[32];
	uint64_t virtual_bytes, resident_bytes, swap_bytes;
	int64_t in_use_bytes, cached_bytes; /* -1: not known */
	bool is_inside;                     /* its blocks are another row's, too */
};

/* Codes: 0, or -errno as the collectors give it. */
struct worker_reply {
	uint64_t id;
	struct error err;
	uint64_t bytes;      /* written */
	bool is_refs;        /* as or_refs let it choose */
	int64_t held_bytes;  /* WORKER_HEAP, LOOK, FIGURES: sum of what is held; else 0 */
	int64_t lost_events; /* WORKER_FIGURES; -1: not known */
	int64_t own_bytes;   /* the same: resident memory of ours in the target */
	double cost_s;       /* the same: CPU time that it has cost the target, as estimated */
	bool is_of_last_gc;  /* what the process has kept itself, as of its last collection */
	bool ended;   /* WORKER_LOOK: the recording had ended (the target did, or by budget) */
	bool gave_up; /* WORKER_FIGURES: by itself, the target goes on */
};

/* The worker's whole life. Never returns an error: it is told through @fd. */
int worker_main(int fd);

/* ---- the service's side ---- */

struct worker {
	pid_t pid;
	int fd;
};

/* Start one. *ret->fd is non-blocking and close-on-exec. */
int worker_start(struct worker *ret, struct error *err);
/* @result is the descriptor to write to, @inputs (n_inputs of them) those to read; they stay the
 * caller's. */
int worker_ask(const struct worker *w, const struct worker_request *q, int result,
               const int *inputs, size_t n_inputs, struct error *err);
/* 1: *ret is there, 0: not yet, -EPIPE: the worker has ended without an answer. */
int worker_take(const struct worker *w, struct worker_reply *ret);
