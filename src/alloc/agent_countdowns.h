/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The countdowns of an agent, threads' and processors' alike, as memwho sees and renews them. */

#include <stdint.h>

#include "agent/agent_format.h"
#include "base/error.h"
#include "inject/inject.h"

/* One that is in use, at @at; the copy may be older than what is there now. */
typedef int (*agent_countdowns_fn)(void *arg, uint64_t at, const struct agent_slot *s,
                                   struct error *err);

/* All that are in use, of the agent whose data is at @data; ends with what @f returns below 0. */
int agent_countdowns_each(struct inject *in, uint64_t data, agent_countdowns_fn f, void *arg,
                          struct error *err);
/* A new one is to be drawn for the slot at @at. The write may be lost against the thread's own. */
int agent_countdowns_renew(struct inject *in, uint64_t at, struct error *err);
