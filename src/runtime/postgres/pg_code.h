/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a server's machine code says without symbols: where functions begin and
 * end (.eh_frame_hdr keeps a sorted table of them, in stripped files too), and
 * which addresses one function mentions. x86-64 only; any other machine gives
 * empty answers, never wrong ones.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

/* Function starts by address. { 0 } is empty. */
struct pg_functions {
	uint64_t *starts;
	size_t n, cap;
};
void pg_code_functions_clear(struct pg_functions *f);

/* Read the binary search table of PT_GNU_EH_FRAME. A file without one, or with
 * an encoding that the linkers do not write, gives an empty list. Parts of a
 * function that the compiler split off (.cold) have entries of their own. */
int pg_code_functions(const struct elf_file *elf, struct pg_functions *ret, struct error *err);

/* Bytes from @start to the next function (padding included); 0 when no
 * function begins exactly there. */
uint64_t pg_code_function_size(const struct pg_functions *f, uint64_t start);

struct pg_refs {
	uint64_t *items; /* vaddrs in the order of the code; repeated ones are kept */
	size_t n, cap;
};
void pg_code_refs_clear(struct pg_refs *r);

enum pg_ref_kind {
	PG_REF_DATA,   /* lea, RIP-relative or absolute operands, address-like immediates */
	PG_REF_BRANCH, /* targets of direct calls and jumps that leave the function */
};

/* What [@vaddr, @vaddr + @size) mentions. At most 64 KiB of code are looked at. */
int pg_code_refs(struct elf_file *elf, uint64_t vaddr, uint64_t size, enum pg_ref_kind kind,
                 struct pg_refs *ret, struct error *err);
