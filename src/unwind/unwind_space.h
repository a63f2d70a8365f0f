/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All code of a process with its unwind tables, as unwind_walk() wants it: of each
 * module one table, read once, however often the mappings are read again.
 */

#include <stddef.h>

#include "base/error.h"
#include "symbol/symbol.h"
#include "target/target.h"
#include "unwind/unwind.h"

struct unwind_space {
	struct unwind_module *modules; /* by address; owned */
	size_t n_modules, cap_modules;
	struct unwind_space_table {
		struct symbol_module *module;
		struct unwind_table *table; /* owned; NULL: the module has no file */
	} * tables;                         /* owned */
	size_t n_tables, cap_tables;
};
void unwind_space_clear(struct unwind_space *s); /* { 0 } is empty */

/* Read the mappings of @t (again), which @symbols holds: it must live as long. */
int unwind_space_read(struct unwind_space *s, const struct target *t, struct symbol_space *symbols,
                      struct error *err);
