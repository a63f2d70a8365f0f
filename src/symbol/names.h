/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Function names of an ELF file's symbol tables by address. A name is given
 * only where a symbol's size covers the address. Hand-written assembly has
 * symbols without a size; those are believed only in a full .symtab and only
 * up to the next symbol of any kind and the end of their section: a stripped
 * table has gaps that such a symbol would swallow.
 */

#include <stdbool.h>
#include <stdint.h>

#include "symbol/spans.h"
#include "target/elf_file.h"

struct names {
	struct spans sized;   /* symbols that say how long they are */
	struct spans unsized; /* asked only where no sized one covers the address */
};

void names_clear(struct names *n);

/* Add the functions of @where; @elf must outlive @n. @full: the table was not
 * thinned out, as far as its kind goes (one without any local function is taken
 * as thinned out whatever is said). Call names_finish() after
 * the last one. */
int names_add(struct names *n, struct elf_file *elf, enum elf_symbols where, bool full,
              struct error *err);
int names_finish(struct names *n, struct error *err);

/* The symbol that covers @vaddr, its name as the linker has it, or NULL. */
const struct span *names_find(const struct names *n, uint64_t vaddr);
