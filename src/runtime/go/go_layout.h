/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the Go runtime keeps what the reference graph needs: offsets, sizes and
 * constants, by version and experiment (go_layout_fields.inc, written by
 * tools/go-layout.py from the DWARF of real toolchains). The surprising rule: a
 * program of a version that the table has is read by the table even if it has
 * DWARF, for reading that costs more than the whole walk of a small heap; the
 * table itself is tested against the DWARF of real programs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GO_LAYOUT_OLDEST = 17, GO_LAYOUT_NEWEST = 26 }; /* minors of the table */

#define GO_LAYOUT_NONE UINT32_MAX /* not there in this version */

enum go_layout_bits {
	GO_BITS_NIBBLES, /* heapArena.bitmap: 2 bits a word (mbitmap.go, 1.17-1.19) */
	GO_BITS_ARENA,   /* heapArena.bitmap: 1 bit a word, noMorePtrs (1.20, 1.21) */
	GO_BITS_SPAN,    /* at the end of the span, malloc headers, largeType (1.22+) */
};

struct go_layout {
	unsigned minor; /* 26 for 1.26 */
	enum go_layout_bits bits;
#define GO_FIELD(name, where, ...) uint32_t name;
#include "runtime/go/go_layout_fields.inc"
#undef GO_FIELD
};

/* @version: as .go.buildinfo has it, "go1.25.4 X:greenteagc". 1, *ret; 0: the table has no such. */
int go_layout_of(const char *version, struct go_layout *ret);

/* The lines of the table, for what reads or writes all of them. */
struct go_layout_field {
	const char *name;
	const char *where; /* "runtime.g sched.sp|...", "sizeof T|...", "const NAME|..." */
	size_t at;         /* of its uint32_t in struct go_layout */
};
extern const struct go_layout_field go_layout_fields[];
extern const size_t go_layout_n_fields;

/* Sets what follows from the other fields. */
void go_layout_complete(struct go_layout *l, unsigned minor);

/* The first line that all versions of the table have and @l does not; NULL: none. */
const char *go_layout_lacks(const struct go_layout *l);
