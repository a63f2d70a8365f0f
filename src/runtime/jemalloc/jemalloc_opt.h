/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A switch of jemalloc's control tree ("opt.prof"), read from outside: the function
 * that answers for the name reads one variable, and nothing is called. The
 * surprising rule: no symbol is needed, the tree has a shape (jemalloc_tree.h); and
 * where the function is not as simple as that, the switch is not known.
 */

#include <stdbool.h>

#include "base/error.h"
#include "symbol/symbol.h"
#include "target/target.h"

/* 1: *ret is its value in the one jemalloc of the process; 0: there is none, or several, or it is
 * not known. -ENOMEM. */
int jemalloc_opt_read(const struct target *t, const struct symbol_space *space, const char *name,
                      bool *ret, struct error *err);

/* Is there a control tree in any module? */
bool jemalloc_opt_is_there(const struct symbol_space *space);
