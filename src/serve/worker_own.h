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

/* 1: made; 0: it keeps none, or cannot be asked: the recorder is to be. */
int worker_own_heap(const struct worker_request *q, const pid_t *pids, struct profile **ret,
                    struct error *err);

/* @after less @before, all value types, so that it still is a heap profile. */
int worker_own_subtract(const struct profile *before, const struct profile *after,
                        struct profile **ret, struct error *err);

/* Until they are over, or the worker is told to end. */
void worker_own_wait(double seconds);
