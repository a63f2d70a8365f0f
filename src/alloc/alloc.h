/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * LAYER 2: who allocated the bytes that are still held? A recorder attaches an
 * engine to one or more processes, keeps the live set, and makes a profile of
 * it whenever asked. Held = allocated since the attach and not freed since.
 *
 *	alloc_start() -> alloc_poll()... -> alloc_result() (any number) -> alloc_free()
 */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "profile/profile.h"
#include "symbol/symbol.h"

struct alloc_options {
	const char *allocators; /* "postgres,libc", NULL: chosen by what the target is */
	const char *engine;     /* a name in engine.c's table; NULL: chosen by what is there */
	double max_slowdown;    /* 1.5 = half as slow again; 0: the default */
	bool follow;            /* take children in */
	bool peak;              /* keep what was held at the maximum */
	bool no_stacks;         /* count only */
	/* rows for what the allocator holds beside what was recorded (before.h): the agent's.
	 * Where nothing is said: with samples, not with exact recordings, whose rows are what
	 * the program asked for to the byte. */
	bool before, no_before;
	uint64_t min_size, max_size; /* requested bytes; max 0: no limit */
	struct symbol_options symbols;
	uint64_t table_entries; /* first size of the live table; 0: from the target */
	uint64_t sample_bytes;  /* the agent's mean between samples; 0: the default */
	double budget;          /* 0.02: of the target's processor time; 0: none */
	bool budget_asked;      /* it is not only the default */
	bool exact;             /* the agent's: every allocation, no samples */
	bool patch_pages;       /* the agent's: in copies of pages (agent_pages.h) */
};

enum alloc_ended { /* keep in the order of alloc_ended_text() */
	           ALLOC_RUNNING,
	           ALLOC_ENDED_DURATION,
	           ALLOC_ENDED_SIGNAL,
	           ALLOC_ENDED_CONDITION,
	           ALLOC_ENDED_EXIT,
	           ALLOC_ENDED_EXEC,
	           ALLOC_ENDED_GUARD,
	           ALLOC_ENDED_BUDGET,
};
const char *alloc_ended_text(enum alloc_ended e); /* "duration", "signal", ... */

struct alloc_recorder;

/* Attach to @pids. Counts first (the guard) unless the target is not running
 * yet (@started_stopped: `memwho run`, no guard; the agent needs it loosened, see
 * capture/launch.h). On failure nothing is left
 * in any target. */
int alloc_start(const pid_t *pids, size_t n_pids, const struct alloc_options *o,
                bool started_stopped, struct alloc_recorder **ret, struct error *err);

/* Serve the recorder for up to @timeout_ms: new modules, forks, exits, table
 * growth, the sweep, the guard. *ended says whether the recording is over. */
int alloc_poll(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
               struct error *err);

struct alloc_filter {
	uint64_t older_than_ns; /* only what has been held longer than this; 0: all */
	bool peak;              /* what was held at the maximum instead of now */
};

/* What is held now, as a profile with its report. @ended and the filter go
 * into the report. */
int alloc_result(struct alloc_recorder *r, enum alloc_ended ended,
                 const struct alloc_filter *filter, struct profile **ret, struct error *err);

/* Held bytes right now, cheaply (counters; resets are only subtracted when
 * swept). */
uint64_t alloc_held_bytes(const struct alloc_recorder *r);

/* Set by a signal handler: alloc_poll() returns at once. */
extern volatile sig_atomic_t alloc_interrupted;

/* Take all probes out; results can still be made. alloc_result() does it by
 * itself when the recording has ended. */
void alloc_detach(struct alloc_recorder *r);

/* Detach everything; the targets run at full speed when this returns. */
struct alloc_recorder *alloc_free(struct alloc_recorder *r);
void alloc_freep(struct alloc_recorder **r);
