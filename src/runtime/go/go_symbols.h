/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The variables of a Go program by its symbol table: none, if it is stripped. Then DWARF may have
 * their names still. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_module.h"
#include "runtime/go/go_types.h"

struct go_symbols {
	struct go_symbol {
		uint64_t start, end;
		const char *name; /* the program's file has it */
	} * items;                /* by address; owned */
	size_t n, cap;
	const struct go_module *module;
	struct go_types *types; /* whose DWARF names variables, too; NULL: none. Set by the user */
};
void go_symbols_clear(struct go_symbols *s); /* usable with cleanup() */

int go_symbols_read(const struct go_module *m, struct go_symbols *ret, struct error *err);
/* The one that holds @addr; NULL: none. */
const struct go_symbol *go_symbols_at(const struct go_symbols *s, uint64_t addr);
/* Its address; 0: none is called so. */
uint64_t go_symbols_find(const struct go_symbols *s, const char *name);
/* What the variable that holds @addr is called: "main.conns", or by its place, "bss+0x1c0". True:
 * it has a name. */
bool go_symbols_name(const struct go_symbols *s, uint64_t addr, char *buf, size_t size);
