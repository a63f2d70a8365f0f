/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Functions of a file without symbols, found by their code: a linker copies each
 * executable section of an object file byte for byte, but for where relocations
 * were applied and what it relaxes beside them. The rule that matters: only a whole
 * section that is there once, outside those bytes, is believed; a short one needs
 * calls to or from what is proven already. A wrong name is worse than an address.
 */

#include <stddef.h>

#include "base/error.h"
#include "target/elf_file.h"

struct object_code; /* builds: what compilers made of some libraries */

int object_code_new(struct object_code **ret, struct error *err);
struct object_code *object_code_free(struct object_code *c); /* NULL is fine; returns NULL */
void object_code_freep(struct object_code **c);

/* Learn a static library or one object file. -ENOEXEC: neither, or of no use (another
 * machine, no machine code), with the reason. */
int object_code_add_file(struct object_code *c, const char *path, struct error *err);

enum { OBJECT_CODE_TITLE_BYTES = 160 };
struct object_code_found {
	char title[OBJECT_CODE_TITLE_BYTES]; /* of the builds that were found; "": none */
	size_t n_functions;
	/* exported names of what is there, but more than once, or too short to be proven: each
	 * ends with a NUL, one more at the end. malloc'ed; NULL: none. */
	char *undecided;
};
/* Find functions in @f and give them to it as its ELF_FOUND symbols. 0 also when there
 * are none. Of builds that have their functions at the same place the one of which most
 * was found is meant; those of add_file() go first. */
int object_code_find(const struct object_code *c, struct elf_file *f, struct object_code_found *ret,
                     struct error *err);
