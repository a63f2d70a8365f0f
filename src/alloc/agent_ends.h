/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Allocation functions that are made of others: one may be nothing but a jump to
 * another, end in one, or call one. Each block must be counted once, by one of them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "alloc/tracee.h"
#include "runtime/code.h"

/* Is it nothing but "jmp other", where the other is probed? By a word that the dynamic
 * linker has not filled so far, what the relocation says. @bias: of its module. */
bool agent_ends_at_once(const struct tracee *t, struct elf_file *f, const struct code_function *c,
                        uint64_t bias);

/* May the function at @vaddr end by a jump to a probed one? Then the fast way would charge
 * one allocation twice. What is not known is a yes. */
bool agent_ends_in_another(const struct tracee *t, struct elf_file *f, uint64_t vaddr,
                           uint64_t size, uint64_t bias);

/* Is the function at @vaddr straight code up to a jump to a probed one? */
bool agent_ends_straight(const struct tracee *t, struct elf_file *f, uint64_t vaddr);

/* A probed function with @role that the one at @vaddr calls, or jumps to; NULL: none. */
const struct runtime_probe *agent_ends_calls(const struct tracee *t, struct elf_file *f,
                                             uint64_t vaddr, uint64_t size, enum plan_role role);
