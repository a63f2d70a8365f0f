/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* musl's malloc, in its libc.so or linked into a static program. */

#include "runtime/runtime.h"

extern const struct runtime_ops musl_runtime;
