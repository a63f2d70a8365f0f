/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * OpenJDK's HotSpot from outside: it describes itself in an exported table
 * (gHotSpotVMStructs), also when it is stripped. The surprising rule: most of
 * what a JVM maps is reserved, not used; committed is not touched either. Java
 * threads' stacks are rows of their own (thread-stack), what HotSpot takes from
 * malloc is in malloc's row.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops jvm_runtime;
