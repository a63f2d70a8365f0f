/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* From the sets to a profile: shared by tracer_result.c, tracer_pieces.c and
 * tracer_resident.c. */

#include "map/ladder.h"
#include "map/tracer_state.h"
#include "profile/profile.h"
#include "unwind/stack_frames.h"

enum {
	TRACER_TYPE_MAPPED,
	TRACER_TYPE_RESIDENT,
	TRACER_TYPE_CALLS,
	/* with TRACER_BY_TOUCHED */
	TRACER_TYPE_TOUCHED,
	TRACER_TYPE_FAULTS,
	TRACER_TYPES,
};

struct tracer_filling {
	struct tracer *t;
	struct profile *profile;
	struct stack_frames frames;
	struct profile_label labels[PROFILE_MAX_LABELS];
	size_t n_labels;
	u64 mapped_bytes, resident_bytes, uncertain_bytes, unseen_bytes;
	bool any_alive; /* of a process that has ended nobody knows what was resident */
};

bool tracer_result_is_uncertain(const struct tracer *t, const struct range *r);
/* Does what @p has mapped belong into the result? */
bool tracer_result_counts(const struct tracer *t, const struct tracer_process *p);
/* Frame ids, leaf first, at most PROFILE_MAX_FRAMES: how many, or -errno. */
int tracer_result_stack(struct tracer_filling *f, struct tracer_process *p, u32 stack, u32 *ids,
                        struct error *err);

/* What of a process is shown as one: a range, or a part of one from before the
 * attach that the ladder knows the owner of. */
struct tracer_piece {
	struct range range;
	int part; /* of the ladder; -1: none */
	u64 resident;
};

enum tracer_touch_how { TRACER_TOUCH_SEEN, TRACER_TOUCH_BEFORE, TRACER_TOUCH_UNSEEN };

/* Resident bytes that one stack of one thread has touched first. */
struct tracer_touch {
	u32 stack, tid, kind;
	enum tracer_touch_how how;
	u64 bytes;
};

struct tracer_pieces {
	struct ladder ladder;
	struct tracer_piece *items;
	size_t n_items, cap_items;
	struct tracer_touch *touches;
	size_t n_touches, cap_touches;
	struct hash_map touch_index;
};

/* tracer_pieces.c */
int tracer_pieces_make(struct tracer *t, struct tracer_process *p, struct tracer_pieces *ret,
                       struct error *err);
void tracer_pieces_clear(struct tracer_pieces *ps);
/* Names of the owner of a piece from before the attach, leaf first. */
int tracer_pieces_frames(struct tracer_filling *f, const struct tracer_pieces *ps,
                         const struct tracer_piece *piece, u32 *ids, struct error *err);

/* tracer_resident.c: fill in the pieces' resident bytes and the touches. */
int tracer_resident(struct tracer *t, struct tracer_process *p, struct tracer_pieces *ps,
                    struct error *err);
