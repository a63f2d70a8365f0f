/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Unwind table of one module, made from .eh_frame (found by PT_GNU_EH_FRAME,
 * else by section: static glibc has no program header for it) or .debug_frame.
 * The same rows feed the user-space unwinder here and the BPF one. Frame
 * pointers are only used where a row says so.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/unwind_format.h"
#include "target/elf_file.h"

struct unwind_table {
	uint64_t text_base;      /* row pc + text_base = vaddr */
	uint64_t text_end;       /* vaddr behind the last byte of text */
	struct unwind_row *rows; /* the first one's pc is 0: text without a row is UNWIND_NONE */
	size_t n_rows;
	uint32_t *index; /* n_index entries: row number for text_base + (i << UNWIND_INDEX_SHIFT) */
	size_t n_index;
	/* how good it is */
	size_t n_fdes;
	size_t n_dropped;  /* rules that a row cannot hold; rows of type UNWIND_NONE */
	size_t n_followed; /* functions without frame information (musl's libc) whose rows come from
	                    * their code */
};

/* Make the table of @f. A module without any frame information, and without
 * functions that can be understood by their code, gives a table with n_rows 0
 * (no error); so does one of another machine than x86-64. Hostile input: bounded by the file's
 * size. */
int unwind_table_make(struct elf_file *f, struct unwind_table **ret, struct error *err);
struct unwind_table *unwind_table_free(struct unwind_table *t);
void unwind_table_freep(struct unwind_table **t);

/* As unwind_table_make(), through a cache on disk keyed by build-id
 * ($XDG_CACHE_HOME/memwho or ~/.cache/memwho; a file that does not verify is
 * made anew; without build-id or home it just makes the table). */
int unwind_table_cached(struct elf_file *f, struct unwind_table **ret, struct error *err);

/* The row that holds at vaddr; it may be an UNWIND_NONE. NULL outside of the text and
 * for a table without rows. */
const struct unwind_row *unwind_table_find(const struct unwind_table *t, uint64_t vaddr);
