/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Lua states (5.1 to 5.4, PUC Lua) from outside. The surprising rule: a state
 * has no ranges. Its blocks come from an allocator that the program chose, and
 * lie inside that one's heap; the row has figures and `inside`.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops lua_runtime;
