/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The sampling engine's blocks -> a profile: estimates, each with its interval. */

#include "alloc/recorder.h"

/* As alloc_result(). */
int result_agent_make(struct alloc_recorder *r, enum alloc_ended ended,
                      const struct alloc_filter *filter, struct profile **ret, struct error *err);

/* Learn the names of the contexts of what was held at the last look. */
int result_agent_learn(struct tracee *t, struct error *err);
