/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A worker's heap where the process keeps a profile itself: Go's, or that of a
 * jemalloc that was started with opt.prof. Nothing is recorded then. The
 * surprising rule: jemalloc's profiler is switched on for the seconds that are
 * asked for, and is off again afterwards if it was.
 */

#include "profile/profile.h"
#include "serve/worker.h"

/* 1: made; 0: it keeps none, or cannot be asked: the recorder is to be. *of_last_gc: it is Go's. */
int worker_own_heap(const struct worker_request *q, const pid_t *pids, struct profile **ret,
                    bool *of_last_gc, struct error *err);

/* Says in the profile of a Go program of when it is. */
int worker_own_say_gc(struct profile *p, struct error *err);

/* @after less @before, all value types, so that it still is a heap profile. */
int worker_own_subtract(const struct profile *before, const struct profile *after,
                        struct profile **ret, struct error *err);

/* Until they are over, or the worker is told to end. */
void worker_own_wait(double seconds);
