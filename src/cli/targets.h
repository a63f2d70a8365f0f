/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The TARGET words of alloc and map: processes. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

struct targets {
	pid_t *items;
	size_t n, cap;
};

void targets_clear(struct targets *t);
/* The processes that the words mean, each once; with @follow the children that
 * are there already, too. -ESRCH: none. */
int targets_add(struct targets *to, char *const *words, size_t n_words, bool follow,
                struct error *err);
