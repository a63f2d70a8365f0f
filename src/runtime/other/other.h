/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Any module that defines malloc and free and is none that we know. */

#include "runtime/runtime.h"

extern const struct runtime_ops other_runtime;
