/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where inside a function to put a probe. The kernel emulates only a few
 * instructions under a uprobe (0.8 us here); any other is single-stepped
 * (10-15 us). So: the first emulated instruction before which nothing changed
 * sp, bp or an argument register, and to which nothing in the function jumps
 * back.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

/* *at gets the vaddr to probe; *single_stepped is true when no emulated
 * instruction fits (*at is then the function's start), also when a part of the
 * function does not decode, so that a jump back cannot be ruled out. A function
 * whose bytes cannot be read, or whose first ones are no instruction, is
 * -ENOEXEC. @size 0: not known. */
int probe_point_find(struct elf_file *f, uint64_t vaddr, uint64_t size, uint64_t *at,
                     bool *single_stepped, struct error *err);
struct probe_point {
	uint64_t at;
	uint64_t size; /* the function's, estimated if it was not known */
	bool single_stepped;
	/* in which argument register (0..3) the needed arguments are at @at */
	unsigned char where[4];
};

/* The same when only some arguments (bits, see plan_arguments()) are needed, and
 * when the code in front may have moved them between argument registers
 * (mimalloc's malloc does). */
int probe_point_find_for(struct elf_file *f, uint64_t vaddr, uint64_t size, unsigned arguments,
                         struct probe_point *ret, struct error *err);
