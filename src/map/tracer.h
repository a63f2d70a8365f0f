/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * LAYER 1, live: which code asked for the ranges that are mapped? A tracer
 * attaches to one or more processes, follows every call that changes their
 * address spaces, and knows at any moment the set of mapped ranges, each with
 * the stack that made it: the same ranges as in /proc/PID/maps (but for
 * [vsyscall]). What was there before the attach has no stack.
 *
 *	tracer_start() -> tracer_poll()... -> tracer_result() (any number) -> tracer_free()
 *
 * The surprising rule: nothing is stopped. The set is joined with the maps by
 * replay: what events say about a byte is truer than a snapshot taken
 * meanwhile, and the snapshot is right about all bytes that no event touched.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "map/range_set.h"
#include "profile/profile.h"
#include "symbol/symbol.h"

enum tracer_by { TRACER_BY_MAPPED, TRACER_BY_TOUCHED, TRACER_BY_CALLS };

struct tracer_options {
	enum tracer_by by;   /* TOUCHED: page faults are followed, too */
	bool follow;         /* take children in */
	bool at_exec;        /* the target waits at its exec: what it has is the kernel's making */
	double max_slowdown; /* 0: no limit. Above it fewer stacks are taken; ranges always */
	size_t ring_bytes;   /* 0: the default */
	struct symbol_options symbols;
};

enum tracer_ended { /* keep in the order of tracer_ended_text() */
	            TRACER_RUNNING,
	            TRACER_ENDED_DURATION,
	            TRACER_ENDED_SIGNAL,
	            TRACER_ENDED_EXIT,
	            TRACER_ENDED_EXEC,
};
const char *tracer_ended_text(enum tracer_ended e);

struct tracer;

int tracer_start(const pid_t *pids, size_t n_pids, const struct tracer_options *o,
                 struct tracer **ret, struct error *err);
/* Serve the tracer for up to @timeout_ms. *ended: all processes have ended. */
int tracer_poll(struct tracer *t, int timeout_ms, enum tracer_ended *ended, struct error *err);
/* What is mapped now (of processes that have all ended: what was, at the end),
 * with the value types mapped_bytes, resident_bytes, calls and, with
 * TRACER_BY_TOUCHED, touched_bytes and faults. */
int tracer_result(struct tracer *t, enum tracer_ended ended, struct profile **ret,
                  struct error *err);
/* Do all system calls of all processes take longer meanwhile? */
bool tracer_taxes_everyone(const struct tracer *t);
uint64_t tracer_mapped_bytes(const struct tracer *t);
struct tracer *tracer_free(struct tracer *t);
void tracer_freep(struct tracer **t);

/* The ranges themselves, in the state of the last tracer_result(). */
struct tracer_range {
	pid_t pid;
	struct range range;
	const uint32_t *frames; /* frame ids of the profile, leaf first */
	size_t n_frames;
	const char *thread; /* "" before the attach */
};
/* Valid until the next call on @t. */
int tracer_ranges(struct tracer *t, struct profile *p,
                  int (*fn)(void *arg, const struct tracer_range *r, struct error *err), void *arg,
                  struct error *err);
const char *tracer_kind_text(enum range_kind kind); /* "mmap", "file", ... */
