/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Fallbacks on demand. MEMWHO_WITHOUT=btf,pagemap_scan makes this process act
 * as if the kernel had neither, so that each fallback can be tried on any
 * machine. Whoever uses an optional facility asks here first, by a name that
 * is in the list of feature.c; a name in the variable that is not in the list
 * is an error for the user (feature_check), never silently nothing.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* false when MEMWHO_WITHOUT names @name. It does not say that the kernel has it. */
bool feature_allowed(const char *name);

/* The same against a given list instead of the environment's (NULL: nothing). */
bool feature_allowed_in(const char *without, const char *name);

/* All names that may be switched off, NULL-terminated. */
const char *const *feature_names(void);

/* 0, or -EINVAL when MEMWHO_WITHOUT has a name that no code asks for. */
int feature_check(struct error *err);
