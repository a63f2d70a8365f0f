/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which words of a frame the compiler takes for pointers that are alive, by the
 * program's stack maps and stack objects: what the collector would look at. The
 * surprising rule: this decides only whose an object is. A word that is dead by the
 * maps still counts, under a root of its own, for a stack may stand where they do
 * not hold, and a stale word must not make an object "shared".
 *
 * Facts: stkframe.go (getStackMap), traceback.go before 1.21; symtab.go (stackmap),
 * stack.go (stackObjectRecord).
 */

#include "runtime/go/go_slots.h"

struct go_liveness {
	struct go_liveness_object { /* locals whose address is taken */
		uint64_t start, end;
		bool is_alive; /* something that is alive points to it */
	} * objects;           /* by address; owned */
	size_t n, cap;
	size_t *queue; /* of those that are to be looked into; owned */
	size_t n_queue, cap_queue;
	const struct go_frames *frames;
	uint64_t low, high; /* of the stack */
	uint64_t room;      /* bytes of objects that there may still be */
	uint64_t looks;     /* records of them that may still be looked at */
	struct error *err;
};
void go_liveness_clear(struct go_liveness *l); /* usable with cleanup() */

/* For the stack of @g, whose frames were walked; @slots: what the runtime uses on it. */
int go_liveness_find(struct go_liveness *l, const struct go_frames *f, const struct go_goroutine *g,
                     const struct go_slots *slots, struct error *err);
/* The word at @at, which is in frame @frame. True also where nothing is known. */
bool go_liveness_has(const struct go_liveness *l, size_t frame, uint64_t at);
