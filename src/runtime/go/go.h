/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Go's heap from outside: runtime.mheap_ is found by its shape in the data of
 * any module, so stripped programs and libraries (c-shared) have it, too. The
 * surprising rule: no table of versions. Which of the few layouts of mspan is
 * right is chosen by what the spans say of themselves.
 */

#include "runtime/runtime.h"

extern const struct runtime_ops go_runtime;
