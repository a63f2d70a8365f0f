/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How much of a heap that was read while its process ran may be wrong. What the
 * runtime allocates or frees meanwhile shows in its spans: each that is new, gone
 * or otherwise filled than at the beginning may hold objects that were taken for
 * others. What only moved from one holder to another is found, or counted as not
 * reached: both together bound the error.
 */

#include "runtime/go/go_objects.h"

/* Bytes of the spans that differ between two looks at one heap. */
uint64_t go_changes_bytes(const struct go_objects *before, const struct go_objects *after);
