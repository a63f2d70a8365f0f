/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Stored stacks -> frames of a profile; each distinct address is looked up
 * once. */

#include "base/hash.h"
#include "profile/profile.h"
#include "unwind/bpf_tables.h"
#include "unwind/code_history.h"

struct stack_frames {
	const struct bpf_tables *tables;
	struct profile *profile;
	const char *no_stack;       /* the frame of a stack that was not stored */
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

/* Frame ids of stack @stack of the process in @slot, leaf first, at most
 * PROFILE_MAX_FRAMES into @ids; returns how many (>= 1: a stack that was not
 * stored is one frame that says so) or -errno. A cut stack ends in a frame that
 * says so. */
int stack_frames_of(struct stack_frames *f, const struct code_history *h, u32 slot, u32 stack,
                    u32 *ids, struct error *err);

/* The same of return addresses that are kept elsewhere. @cut: the last frame, which
 * says why the stack ends there; NULL: it is whole. */
int stack_frames_of_pcs(struct stack_frames *f, const struct code_history *h, u32 slot,
                        const u64 *pcs, size_t n_pcs, const char *cut, u32 *ids, struct error *err);

/* Did a walk that ended by @stop (enum unwind_stop) reach the thread's or program's start? */
bool stack_frames_are_complete(const struct code_history *h, const u64 *pcs, size_t n, u32 stop);
/* Did the walk of this stack reach the thread's or program's start? */
bool stack_frames_is_complete(const struct code_history *h, const struct bpf_tables *t,
                              const struct stack_record *s);
