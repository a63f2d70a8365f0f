/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The difference of two ladders for scripts: figures at the top, and the lists
 * differences, settings, explanations (profile/ladder_diff.h), always there. */

#include <stdio.h>

#include "profile/profile.h"

int ladder_diff_json_write(const struct profile *p, FILE *to, struct error *err);
