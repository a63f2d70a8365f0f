/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The ways to find out who allocated what. A new one is one file that fills a struct
 * engine_ops, and one line in engine.c's table: --engine, the doctor and the choice by
 * itself read the table, alloc.c calls nothing else.
 *
 * The order in the table is that of preference where two cost the same.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/alloc.h"
#include "base/error.h"
#include "target/target.h"

/* What a recording is asked for. */
struct engine_request {
	const struct alloc_options *options;
	const pid_t *pids;
	size_t n_pids;
	bool started_stopped; /* as in alloc_start() */
};

struct engine_ops {
	const char *name;  /* --engine's word */
	const char *check; /* what the doctor calls it */
	const char *title; /* what it does, in a few words */

	/* It stops the target's threads and makes calls by them: whoever holds the target
	 * must let it (launch_loosen()). */
	bool lends;

	/* Can it work on this machine for this user and, unless @t is NULL, on that
	 * process? 0, or -errno with the reason in one sentence and what would help. Only
	 * looks; what only an attach can find out is found out by the attach. */
	int (*possible)(const struct target *t, struct error *err);
	/* How many of the process's functions could it change? -errno with the reason
	 * when there are none. NULL: it changes none. */
	int (*covers)(pid_t pid, const char *allocators, struct error *err);
	/* Options that it does not have: -ENOTSUP. Touches nothing. */
	int (*accepts)(const struct engine_request *q, struct error *err);

	/* The recorder has its options. On failure nothing is left in any target; what
	 * the recorder holds is closed by close(). */
	int (*open)(struct alloc_recorder *r, const struct engine_request *q, struct error *err);
	int (*poll)(struct alloc_recorder *r, int timeout_ms, enum alloc_ended *ended,
	            struct error *err);
	uint64_t (*held_bytes)(const struct alloc_recorder *r);
	void (*detach)(struct alloc_recorder *r); /* once; results can still be made */
	int (*result)(struct alloc_recorder *r, enum alloc_ended ended,
	              const struct alloc_filter *filter, struct profile **ret, struct error *err);
	void (*close)(struct alloc_recorder *r); /* also one that was never opened */
};

/* Each in its file. */
extern const struct engine_ops recorder_bpf_ops, recorder_agent_ops, recorder_usdt_ops;

size_t engine_n(void);
const struct engine_ops *engine_at(size_t i);
const struct engine_ops *engine_find(const char *name); /* NULL: there is none */

/* The one that is asked for, or the best that can do what is asked for; why not another
 * one is said in a remark. */
int engine_choose(const struct engine_request *q, const struct engine_ops **ret, struct error *err);
