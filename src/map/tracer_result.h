/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* From the sets to a profile: shared by tracer_result.c, tracer_before.c and
 * tracer_resident.c. */

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
	struct tracer_before *before;
	struct profile_label labels[PROFILE_MAX_LABELS];
	size_t n_labels;
	u64 mapped_bytes, resident_bytes, uncertain_bytes;
};

bool tracer_result_is_uncertain(const struct tracer *t, const struct range *r);
/* Does what @p has mapped belong into the result? */
bool tracer_result_counts(const struct tracer *t, const struct tracer_process *p);
/* Frame ids, leaf first, at most PROFILE_MAX_FRAMES: how many, or -errno. */
int tracer_result_stack(struct tracer_filling *f, struct tracer_process *p, u32 stack, u32 *ids,
                        struct error *err);
int tracer_result_frames(struct tracer_filling *f, struct tracer_process *p, const struct range *r,
                         u32 *ids, struct error *err);

/* tracer_before.c: whose a range from before the attach is. */
int tracer_before_begin(struct tracer_filling *f, struct tracer_process *p, struct error *err);
int tracer_before_frames(struct tracer_filling *f, struct tracer_process *p, const struct range *r,
                         u32 *ids, struct error *err);
void tracer_before_end(struct tracer_filling *f);

/* tracer_resident.c: resident bytes of each range of @set, in order, malloc'ed;
 * NULL when it cannot be known (the process has ended). */
int tracer_resident(const struct tracer_process *p, const struct range_set *set, u64 **ret,
                    struct error *err);
