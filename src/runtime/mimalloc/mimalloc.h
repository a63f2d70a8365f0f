/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* mimalloc, as malloc and by its own names (mi_...). */

#include "runtime/runtime.h"

extern const struct runtime_ops mimalloc_runtime;
