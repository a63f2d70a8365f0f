/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Walks over the entries of hostile DWARF that end. libdw goes wherever
 * DW_AT_sibling leads, also back; Go's linker writes none.
 */

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>

/* As dwarf_siblingof(), of @die itself; but not back: 0, or there is none. */
static inline int go_die_next(Dwarf_Die *die)
{
	const Dwarf_Off before = dwarf_dieoffset(die);
	const int r = dwarf_siblingof(die, die);

	return r == 0 && dwarf_dieoffset(die) <= before ? -1 : r;
}

/* Has nothing in @unit a DW_AT_sibling? A C compiler's units have, and nothing that is asked of
 * them. */
static inline bool go_die_is_plain(Dwarf_Die *unit)
{
	size_t length = 0, n;
	Dwarf_Off at = 0;
	Dwarf_Abbrev *a;

	while ((a = dwarf_getabbrev(unit, at, &length)) != NULL && a != DWARF_END_ABBREV) {
		if (dwarf_getattrcnt(a, &n) != 0)
			return false;
		for (size_t i = 0; i < n; i++) {
			unsigned name, form;
			Dwarf_Off unused;

			if (dwarf_getabbrevattr(a, i, &name, &form, &unused) != 0 ||
			    name == DW_AT_sibling)
				return false;
		}
		at += length;
	}
	return a == DWARF_END_ABBREV;
}
