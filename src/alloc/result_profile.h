/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include "alloc/recorder.h"
#include "profile/profile.h"

/* Samples of @groups, and of what was allocated and freed again, into @p. */
int result_profile_fill(struct alloc_recorder *r, const struct recorder_groups *groups,
                        struct profile *p, struct error *err);

/* result_report.c: the figures beside it. */
int result_report_fill(struct alloc_recorder *r, const struct recorder_groups *groups,
                       enum alloc_ended ended, const struct alloc_filter *filter, struct report *to,
                       struct error *err);

/* What alloc_result() is. */
int result_profile_make(struct alloc_recorder *r, enum alloc_ended ended,
                        const struct alloc_filter *filter, struct profile **ret, struct error *err);

/* Read the names of the contexts in @groups while their processes live. */
int result_profile_name_contexts(struct alloc_recorder *r, const struct recorder_groups *groups,
                                 struct error *err);
