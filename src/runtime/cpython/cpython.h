/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * CPython's small-object allocator (obmalloc, 3.8 to 3.13) from outside. The
 * surprising rule: only blocks up to 512 bytes are obmalloc's. Larger ones, and
 * everything under PYTHONMALLOC=malloc or in free-threaded builds, come from the
 * allocator below and are in its row.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops cpython_runtime;
