/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a rule is told that needs a process of its own to find out (worker.h): what
 * the allocators of a target have given out, or what each stack of its recording
 * holds. Such a look is taken every fortieth of the rule's window, from 2 to 30
 * seconds, and never costs more than a twentieth of the time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/jobs.h"
#include "serve/trigger_rule.h"
#include "serve/trigger_stacks.h"
#include "serve/watched.h"

struct slow_look {
	struct jobs_waiter waiter;
	enum worker_kind kind;
	int64_t least_bytes; /* of a stack */
	uint64_t every_ns, begun_ns, next_ns;
	bool is_new, has_failed;

	int64_t allocated_bytes; /* -1: not known */
	struct trigger_stack *stacks;
	size_t n_stacks;
};

/* Does that rule need one? */
bool slow_look_is_for(const struct trigger_rule *r);
void slow_look_init(struct slow_look *l, const struct trigger_rule *r);
void slow_look_clear(struct slow_look *l, struct jobs *j);
/* Another process: what was seen is not its memory. */
void slow_look_forget(struct slow_look *l, struct jobs *j);
/* Begin one if it is due. True: the figures are new since the last call. */
bool slow_look_run(struct slow_look *l, struct jobs *j, const struct watched_item *item,
                   uint64_t now_ns);
