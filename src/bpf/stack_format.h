/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * What every program that records stacks (alloc.bpf.c, map.bpf.c) shares with
 * its loader: processes by slot, their executable mappings, stored stacks. The
 * includer brings u8..u64 (BPF: bpf/types.h; user space: unwind/bpf_tables.h).
 */

enum {
	STACK_MAX_PROCESSES = 1 << 14, /* of one recording: a slot is not used again */
	/* more than can be in the middle of a hit: with preemption that is not the
	 * number of processors. A power of two. */
	STACK_WORK_SLOTS = 512,
	STACK_WORK_TRIES = 64,
};

/* A pc of a stack that is not a return address (interrupted by a signal). */
#define STACK_PC_EXACT (1ULL << 62)
/*
 * Libraries come and go, and another may be at the same place: a pc of a stack
 * says which one it was in. Bits 48..60: the snapshot of the maps in which its
 * mapping was first seen (symbol.h), 0 when that does not fit; or, with
 * STACK_PC_UNSEEN, how often ld.so had changed its list when the pc was met in
 * code that we had not seen yet.
 */
#define STACK_PC_UNSEEN  (1ULL << 61)
#define STACK_PC_SHIFT   48
#define STACK_PC_MASK    0x1fffULL
#define STACK_PC_ADDRESS ((1ULL << STACK_PC_SHIFT) - 1)

/* A distinct stack of one process: pcs[first .. first + n). */
struct stack_record {
	u32 first;
	u16 n;
	u8 stop; /* enum unwind_stop */
	u8 pad;
	u32 slot, pad2;
	/* alloc.bpf.c's; others leave them alone */
	u64 alloc_objects, alloc_bytes;
	u64 lost_objects, lost_bytes; /* allocations that found the live table full */
};

/* An executable mapping of a process. */
struct stack_span {
	u64 start, end;
	u64 bias;      /* run-time address - bias = vaddr */
	u64 text_base; /* vaddr of row pc 0 */
	/* Whether it is still there: these 8 bytes (of its build-id) are at that
	 * address; 0: it cannot be told. */
	u64 check_at, check_value;
	u32 snapshot, pad; /* of the maps, in which it was first seen */
	u32 first_row, n_rows;
	u32 first_index, n_index;
};

/* One process. */
struct stack_process {
	u32 first_span, n_spans;   /* sorted by start */
	u32 first_range, n_ranges; /* sorted: code that is internal to the allocators;
	                            * alloc's, as is the generation */
	u32 tgid;
	u32 active; /* 0: ended (exec, exit); hits are dropped */
	/* Entries by links of other generations are ignored. Two: one set of links takes
	 * over from another, and both are heard for a while. */
	u32 generation, next_generation;
	u64 trampoline; /* of return probes, once seen; 0 */
	/* how often ld.so has changed its list of modules; up to which change the
	 * spans are known to be right */
	u32 modules_changed, modules_seen;
};

/* The slot of a child that nobody has looked at yet: its exec is told, too. */
#define STACK_SLOT_PENDING 0xffffffffu
