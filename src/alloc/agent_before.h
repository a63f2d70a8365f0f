/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What was there before the attach (before.h), of a process that the agent records. */

#include "alloc/recorder.h"

/* From time to time, so that it is known of a process that ends. */
void agent_before_tend(struct alloc_recorder *r, struct tracee *t);
/* Now; the set has just been looked at (agent_samples.h). */
void agent_before_look(struct alloc_recorder *r, struct tracee *t);
