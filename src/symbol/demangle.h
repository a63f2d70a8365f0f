/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * From a linker's symbol to what a person calls the function: no version, no
 * suffix of a compiler's clone, C++ and Rust demangled without parameter list
 * and return type (ns::Class::method<T>). C names stay as they are. The names
 * are hostile: libiberty's recursion limit stays on and what a name may grow
 * to is bounded; a name that breaks a bound is shown mangled.
 */

#include <stddef.h>

enum {
	DEMANGLE_MAX_INPUT = 4096,
	DEMANGLE_MAX_OUTPUT = 16384,
};

/* malloc'ed; NULL only when there is no memory. */
char *demangle_name(const char *symbol);

/* Length of @symbol without "@version" and ".constprop.0" and the like. */
size_t demangle_bare_length(const char *symbol);
