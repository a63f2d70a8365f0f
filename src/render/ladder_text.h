/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A ladder as a table for a terminal. */

#include <stdio.h>

#include "profile/profile.h"

void ladder_text_write(const struct profile *p, FILE *to);
