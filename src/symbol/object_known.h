/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The well-known builds that memwho brings along: known/, made by tools/object-code.py. */

#include "symbol/object_code.h"

int object_known_add(struct object_code *c, struct error *err);
