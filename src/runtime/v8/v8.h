/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * V8's heap pages and code range (Node 20, V8 11.3) from outside. The surprising
 * rule: nothing is said about what is in use; V8 counts in its spaces, whose
 * layout differs from build to build.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops v8_runtime;
