/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The values on the stack of a Lua thread, frame by frame, and the variables they are in. */

#include "runtime/lua/lua_refs.h"

/* Those of the thread at @addr up to its top, as the collector marks them. */
int lua_stack_each(const struct lua_refs *refs, uint64_t addr, struct error *err);
