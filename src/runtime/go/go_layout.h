/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the Go runtime keeps what the reference graph needs, by minor version.
 * Offsets were read from the DWARF of go1.17.13, 1.18.10, 1.19.8, 1.20.14,
 * 1.21.13, 1.22.12, 1.23.12, 1.24.13, 1.25.7 and 1.26.8 (linux/amd64); no patch
 * release of these minors that was looked at differs in any of them.
 */

#include <stdint.h>

enum go_layout_bits {
	GO_BITS_NIBBLES, /* heapArena.bitmap: 2 bits a word (mbitmap.go, 1.17-1.19) */
	GO_BITS_ARENA,   /* heapArena.bitmap: 1 bit a word, noMorePtrs (1.20, 1.21) */
	GO_BITS_SPAN,    /* at the end of the span, malloc headers, largeType (1.22+) */
};

struct go_layout {
	unsigned minor;
	enum go_layout_bits bits;
	uint16_t types;       /* moduledata.types; etypes behind it */
	uint16_t gc_masks;    /* moduledata.gcdatamask.bytedata's bitvector; gcbssmask behind it */
	uint16_t next;        /* moduledata.next */
	uint8_t specials;     /* mspan.specials */
	uint8_t large_type;   /* mspan.largeType; 0: not there */
	uint8_t special_kind; /* special.kind; special.offset is at 8 */
	uint8_t special_fn;   /* specialfinalizer.fn, specialCleanup.fn */
	uint8_t finalizer, cleanup, weak; /* kinds; 0: not there */
	uint16_t status, start_pc;        /* g.atomicstatus (goid behind it), g.startpc */
	uint32_t inline_marks;            /* heapArena.pageUseSpanInlineMarkBits; 0: not there */
};

/* NULL: a version that is not known. */
const struct go_layout *go_layout_of(unsigned minor);

enum {
	/* moduledata, the same in all of them (symtab.go) */
	GO_MODULE_FUNCNAMETAB = 8,
	GO_MODULE_PCTAB = 80,
	GO_MODULE_PCLNTABLE = 104,
	GO_MODULE_FTAB = 128,
	GO_MODULE_TEXT = 176,
	GO_MODULE_DATA = 208, /* data, edata, bss, ebss */
	/* _type (type.go, internal/abi/type.go) */
	GO_TYPE_SIZE = 0,
	GO_TYPE_PTR_BYTES = 8,
	GO_TYPE_TFLAG = 20,
	GO_TYPE_KIND = 23,
	GO_TYPE_GC_DATA = 32,
	GO_TYPE_STR = 40,
	GO_TYPE_BYTES = 48,
	/* g (runtime2.go) */
	GO_G_STACK = 0, /* lo, hi */
	GO_G_SP = 56,   /* sched.sp */
	GO_G_BYTES = 392,
};
