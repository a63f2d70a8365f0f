/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* glibc's malloc, in libc.so.6 or linked into a static program. */

#include "runtime/runtime.h"

extern const struct runtime_ops glibc_runtime;
