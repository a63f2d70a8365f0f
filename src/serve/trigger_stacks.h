/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The rule "held-growth 64M by stack": one stack holds so much more than it did
 * within the window, whatever the process as a whole does. Only stacks that
 * hold a sixteenth of it are followed, so that their number is bounded by what the
 * process holds; one that appears is taken to have held that sixteenth before.
 */

#include "serve/trigger.h"

enum { TRIGGER_STACKS_MAX = 4096 };

/* What one stack holds; @id is the caller's, and stays the same for a stack. */
struct trigger_stack {
	uint64_t id;
	int64_t held_bytes;
};

struct trigger_stacks {
	struct trigger *trigger; /* rule, policy and counts */
	struct trigger_stacks_entry *entries;
	size_t n, cap;
	uint64_t overflow; /* stacks that were not followed: too many */
};

void trigger_stacks_clear(struct trigger_stacks *t); /* keeps ->trigger */

/* After trigger_look() of the same moment. *grown: index in @held of the stack that
 * has grown most. Returns 1 when it fires, 0, or -ENOMEM. */
int trigger_stacks_look(struct trigger_stacks *t, uint64_t now_ns, const struct trigger_stack *held,
                        size_t n, size_t *grown, char reason[TRIGGER_REASON_BYTES],
                        struct error *err);
