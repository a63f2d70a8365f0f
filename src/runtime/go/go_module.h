/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * runtime.firstmoduledata of a Go program: where its text, data and types lie,
 * and which words of data and bss are pointers. Found without symbols: by its own
 * section (1.26), else as the word that points at .gopclntab's header, checked by
 * its neighbours.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_layout.h"
#include "target/image.h"

/* Not to be copied once it is open. */
struct go_module {
	struct image *image;
	const struct go_layout *layout; /* is own */
	struct go_layout own;
	bool by_dwarf; /* of a version that the table does not have */
	struct elf_file *exe;
	uint64_t bias;
	uint64_t at; /* address of the moduledata */
	uint64_t text, etext, types, etypes;
	struct go_module_data {
		uint64_t start, end;
		uint64_t mask; /* address of the bit mask, one bit a word */
		uint64_t mask_bits;
	} data[2];                                /* data, bss */
	uint64_t func_names, pc_table, functions; /* funcnametab, pctab, pclntable */
	uint64_t ftab, n_ftab;
};

/* -ENOTSUP: not a Go program, below 1.17, or of a version that neither the table nor the program's
 * own DWARF tells the layout of. */
int go_module_open(struct image *i, struct go_module *ret, char *version, size_t version_bytes,
                   struct error *err);

/* Where the segment of the program that has @addr ends, whatever else says so; @addr: none has. */
uint64_t go_module_end_of(const struct go_module *m, uint64_t addr);

/* Name of the type at @type ("*main.Conn"), or "". */
void go_module_type_name(const struct go_module *m, uint64_t type, char *buf, size_t size);
