/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * runtime.firstmoduledata of a Go program: where its text, data and types lie,
 * and which words of data and bss are pointers. Found without symbols: by its own
 * section (1.26), else as the word that points at .gopclntab's header, checked by
 * its neighbours. The module is the program's, or a library's: Go in a C program
 * (-buildmode=c-shared).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_layout.h"
#include "target/image.h"

enum { GO_MODULE_OTHERS = 64 };

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
	/* plugins, to which moduledata.next leads: their variables are roots, too. Of their code
	 * nothing is read but the names of variables. */
	struct go_module_other {
		uint64_t text, etext, types, etypes;
		struct go_module_data data[2];
	} others[GO_MODULE_OTHERS];
	size_t n_others;
};

/* -ENOTSUP: not a Go program, below 1.17, or of a version that neither the table nor the program's
 * own DWARF tells the layout of. */
int go_module_open(struct image *i, struct go_module *ret, char *version, size_t version_bytes,
                   struct error *err);

/* Where the segment of the program that has @addr ends, whatever else says so; @addr: none has. */
uint64_t go_module_end_of(const struct go_module *m, uint64_t addr);

/* Is @at in the code, or in the types, of one of the modules? */
bool go_module_is_code(const struct go_module *m, uint64_t at);
bool go_module_is_type(const struct go_module *m, uint64_t at);
/* Name of the type at @type ("*main.Conn"), or "". */
void go_module_type_name(const struct go_module *m, uint64_t type, char *buf, size_t size);
