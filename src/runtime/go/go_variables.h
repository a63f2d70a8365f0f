/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where a Go program has a variable of its runtime: by the symbol, or, when strip
 * took that, by the code of functions of the runtime that name it: pclntab, which
 * strip leaves in place, has their names.
 */

#include <stddef.h>
#include <stdint.h>

#include "runtime/go/go_module.h"

/* Address of the variable with this symbol ("runtime.mbuckets"); 0: there is none. */
uint64_t go_variables_symbol(const struct go_module *m, const char *name);

enum go_variables_how {
	GO_VARIABLES_ANY,
	GO_VARIABLES_READ, /* it is read there; locks are only named, by their address */
};

/* Each once, as they come in the code. */
enum { GO_VARIABLES_MAX = 64 };
struct go_variables {
	uint64_t at[GO_VARIABLES_MAX];
	size_t n;
};
/* *ret gets all that @function ("sync.poolCleanup", at most 63 bytes long) names: who asks checks
 * that one of them is what it must be. None: it is not there, or its code is not for this machine.
 */
void go_variables_of(const struct go_module *m, const char *function, enum go_variables_how how,
                     struct go_variables *ret);

/* The only variable that both functions ("runtime.mProf_Free") name; 0: there is not exactly one,
 * or a function is not there, or its code is not for this machine. */
uint64_t go_variables_shared(const struct go_module *m, const char *one, const char *other,
                             enum go_variables_how how);
