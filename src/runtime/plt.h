/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The linker's stubs (.plt): code that jumps through a word that the dynamic
 * linker fills, so only a relocation says to what. */

#include <stdbool.h>
#include <stdint.h>

#include "target/elf_file.h"

/* Is @vaddr inside a section of stubs? */
bool plt_contains(const struct elf_file *f, uint64_t vaddr);

/* Where the word is that the stub at @vaddr jumps through; 0: it is no stub. */
uint64_t plt_slot(const struct elf_file *f, uint64_t vaddr);

/* The function of the same file that the stub at @vaddr stands for, as far as
 * no other module's takes precedence at run time; 0: no stub, or another
 * module's function. x86-64. */
uint64_t plt_own_function(struct elf_file *f, uint64_t vaddr);
