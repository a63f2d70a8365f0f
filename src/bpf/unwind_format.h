/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * Compact unwind rows, shared by the table maker (unwind/), the user-space
 * unwinder and the BPF unwinder. No includes: BPF programs bring their own
 * integer types (unwind_types.h in user space is <stdint.h>).
 *
 * A module has rows sorted by pc; a row holds from its pc to the next row's.
 * pc is a vaddr of the module relative to the module's lowest executable vaddr
 * ("text base"), so that 32 bits do for modules linked high.
 */

enum unwind_cfa {
	UNWIND_NONE,      /* no rule: the walk stops, "no table" */
	UNWIND_RSP,       /* CFA = sp + cfa_offset */
	UNWIND_RBP,       /* CFA = bp + cfa_offset */
	UNWIND_PLT,       /* the linker's PLT: CFA = sp + 8 + ((pc & 15) >= 11 ? 8 : 0) */
	UNWIND_SIGNAL,    /* signal frame: registers from the ucontext at sp + 40 + 8 * reg */
	UNWIND_END,       /* outermost frame: the walk is complete here */
	UNWIND_RBP_DEREF, /* CFA = *(bp + cfa_offset): DRAP frames (gcc stack realignment); the
	                   * caller's rbp is always at *bp, rbp_slot is unused */
	UNWIND_RSP_FAR,   /* CFA = sp + 8 * cfa_offset: frames of 32 KiB and more */
};

struct unwind_row {
	unsigned int pc;
	short cfa_offset;
	unsigned char rbp_slot; /* caller's rbp is at CFA - 8 * rbp_slot; 0: unchanged */
	unsigned char type;     /* enum unwind_cfa */
};

/* How a walk ended. */
enum unwind_stop {
	UNWIND_STOP_END,        /* reached the outermost frame */
	UNWIND_STOP_DEEP,       /* more than UNWIND_MAX_FRAMES */
	UNWIND_STOP_NO_MODULE,  /* pc in no known module (dlopen just now, JIT) */
	UNWIND_STOP_NO_TABLE,   /* module without rows here (musl's libc) */
	UNWIND_STOP_BAD_STACK,  /* stack could not be read */
	UNWIND_STOP_TRAMPOLINE, /* a uretprobe's trampoline that could not be resolved */
	UNWIND_STOP_KINDS,
};

#define UNWIND_MAX_FRAMES 512
/* Rows are searched through an index: for each 2^UNWIND_INDEX_SHIFT bytes of
 * text the last row that starts at or before them. */
#define UNWIND_INDEX_SHIFT 8
