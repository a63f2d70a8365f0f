/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Names, files and lines of a stack by Go's own tables (go_code.h). The surprising rule: in a stack
 * that the runtime has recorded each entry stands for one function, inlined ones included, and is a
 * return address (runtime/symtab.go, Frames.Next); so one entry gives one name.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/go/go_code.h"

struct go_pclntab {
	const struct go_module *module;
	uint64_t units, n_units;     /* moduledata.cutab */
	uint64_t files, files_bytes; /* moduledata.filetab */
};

/* Where its parts are; owns nothing, @m must live as long. */
void go_pclntab_open(const struct go_module *m, struct go_pclntab *ret);

/* What runs at @pc, an instruction of @f: the innermost function that was inlined
 * there (true), else @f itself. Instances of a generic function have one name,
 * "main.f[...]", as runtime.Frames gives it. */
bool go_pclntab_name(const struct go_pclntab *t, const struct go_code_function *f, uint64_t pc,
                     char *buf, size_t size);
/* Source line of @pc, 0 and "" if not known. */
unsigned go_pclntab_line(const struct go_pclntab *t, const struct go_code_function *f, uint64_t pc,
                         char *file, size_t size);
