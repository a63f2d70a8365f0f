/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Stored stacks -> frames of a profile; each distinct address is looked up
 * once. */

#include "alloc/recorder.h"
#include "profile/profile.h"

struct stack_frames {
	struct alloc_recorder *recorder;
	struct profile *profile;
	struct hash_map by_address; /* (slot, pc) -> index into spans */
	struct stack_frames_span {
		u32 first, n;
	} * spans;
	size_t n_spans, cap_spans;
	u32 *ids; /* profile frame ids */
	size_t n_ids, cap_ids;
	struct hash_map modules; /* symbol_module -> string id of its path */
};

void stack_frames_clear(struct stack_frames *f);

/* Frame ids of stack @stack of @t, leaf first, at most PROFILE_MAX_FRAMES into
 * @ids; returns how many (>= 1: a stack that was not stored is one frame that
 * says so) or -errno. A cut stack ends in a frame that says so. */
int stack_frames_of(struct stack_frames *f, struct tracee *t, u32 stack, u32 *ids,
                    struct error *err);

/* Did the walk of this stack reach the thread's or program's start? */
bool stack_frames_is_complete(struct tracee *t, const struct engine_bpf *e,
                              const struct alloc_stack *s);
