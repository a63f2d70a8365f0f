/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* tcmalloc: gperftools' and Google's newer one. */

#include "runtime/runtime.h"

extern const struct runtime_ops tcmalloc_runtime;
