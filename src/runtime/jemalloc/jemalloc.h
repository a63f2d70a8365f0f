/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* jemalloc, preloaded, linked, or built in under any prefix (_rjem_, je_, ...). */

#include "runtime/runtime.h"

extern const struct runtime_ops jemalloc_runtime;
