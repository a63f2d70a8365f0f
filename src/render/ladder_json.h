/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A ladder (report figure "result" = "ladder") for scripts and for a terminal. */

#include <stdbool.h>
#include <stdio.h>

#include "profile/profile.h"

bool ladder_json_is_ladder(const struct profile *p);
/* The figures and the tables as keys and lists; what is not known (-1) is null. */
void ladder_json_write(const struct profile *p, FILE *to);
