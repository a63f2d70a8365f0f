/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What each stack of a recording holds, without its names: for rules that follow single
 * stacks (trigger_stacks.h). Two stacks through the same functions are one. */

#include <stdint.h>
#include <stdio.h>

#include "base/error.h"
#include "profile/profile.h"

/* Write a struct trigger_stack for each stack of @p that holds @least_bytes or more. A stack's
 * id is made of its frames alone, so that it is the same in the next profile. -ENOMEM;
 * -ENOTSUP: the profile does not say what is held. */
int worker_stacks_write(const struct profile *p, int64_t least_bytes, FILE *to, struct error *err);
