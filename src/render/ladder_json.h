/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A ladder for scripts (docs/json.md): the report's figures at the top, its
 * tables as lists of objects. What is not known is null. profile/saved_ladder.h
 * reads it back.
 */

#include <stdio.h>

#include "profile/profile.h"

/* -EINVAL: @p is no ladder. */
int ladder_json_write(const struct profile *p, FILE *to, struct error *err);
