/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What object_code.c and object_known.c share. */

#include "symbol/object_build.h"
#include "symbol/object_code.h"

/* Takes what is in @b over and empties it. */
int object_code_add_build(struct object_code *c, struct object_build *b, struct error *err);
