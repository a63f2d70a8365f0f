/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where a Go program has a variable of its runtime: by the symbol, or, when strip
 * took that, by the code of two functions of the runtime that name it.
 */

#include <stdint.h>

#include "runtime/go/go_module.h"

/* Address of the variable with this symbol ("runtime.mbuckets"); 0: there is none. */
uint64_t go_variables_symbol(const struct go_module *m, const char *name);

enum go_variables_how {
	GO_VARIABLES_ANY,
	GO_VARIABLES_READ, /* it is read there; locks are only named, by their address */
};

/* The only variable that both functions ("runtime.mProf_Free") name; 0: there is not exactly one,
 * or a function is not there, or its code is not for this machine. */
uint64_t go_variables_shared(const struct go_module *m, const char *one, const char *other,
                             enum go_variables_how how);
