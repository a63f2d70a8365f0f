/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * What the alloc programs (alloc.bpf.c) and their loader (alloc/) share. The
 * includer brings u8..u64 (BPF: bpf/types.h; user space: alloc/engine_bpf.h).
 *
 * Keys of the live table, the resets and the stashes are user addresses with
 * the process's slot in the top 16 bits: user addresses have 47 bits here, and
 * one at or above 2^48 is counted as lost rather than folded.
 */

enum {
	ALLOC_MAX_PROCESSES = 1 << 14, /* of one recording: a slot is not used again */
	ALLOC_MAX_PLANS = 512,
	ALLOC_MAX_LEVELS = 16,
	ALLOC_SLOT_SHIFT = 48,
	/* more than can be in the middle of a hit: with preemption that is not the
	 * number of processors. A power of two. */
	ALLOC_WORK_SLOTS = 512,
	ALLOC_WORK_TRIES = 64,
	ALLOC_RECLAIM_TRIES = 8,
	/* every how many hits one is charged to its thread; a prime, so that the
	 * choice does not beat with a loop of the target */
	ALLOC_THREAD_STRIDE = 13,
};

/* A pc of a stack that is not a return address (interrupted by a signal). */
#define ALLOC_PC_EXACT (1ULL << 62)
/*
 * Libraries come and go, and another may be at the same place: a pc of a stack
 * says which one it was in. Bits 48..60: the snapshot of the maps in which its
 * mapping was first seen (symbol.h), 0 when that does not fit; or, with
 * ALLOC_PC_UNSEEN, how often ld.so had changed its list when the pc was met in
 * code that we had not seen yet.
 */
#define ALLOC_PC_UNSEEN  (1ULL << 61)
#define ALLOC_PC_SHIFT   48
#define ALLOC_PC_MASK    0x1fffULL
#define ALLOC_PC_ADDRESS ((1ULL << ALLOC_PC_SHIFT) - 1)

/* One live allocation. Its key is the address. */
struct alloc_entry {
	u64 size;
	u64 context; /* pool or 0 */
	u64 time_ns; /* CLOCK_MONOTONIC */
	u64 epoch;   /* of the resets: stale when the context was reset later */
	u32 stack;   /* id in stacks; 0: none */
	u32 tid;
};

/* A call that has been entered and has not returned. Key: address of its
 * return address, unique for each thread of a process. */
struct alloc_stash {
	u64 arg[4];
	u64 old_ptr;
	struct alloc_entry old; /* taken out of the table at the entry of realloc */
	u32 plan;
	u32 has_old;
	/* An outer function that has jumped to this one (pvalloc -> memalign) would
	 * return at the same place: it knows what was asked for. plan + 1; 0: none. */
	u32 outer_plan;
	u32 settled; /* the inner has returned @settled_ptr; only the outer is awaited */
	u64 outer_arg[4];
	u64 settled_ptr;
};

/* A distinct stack of one process: pcs[first .. first + n). */
struct alloc_stack {
	u32 first;
	u16 n;
	u8 stop; /* enum unwind_stop */
	u8 pad;
	u32 slot, pad2;
	u64 alloc_objects, alloc_bytes;
	u64 lost_objects, lost_bytes; /* allocations that found the live table full */
};

/* An executable mapping of a process. */
struct alloc_span {
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

struct alloc_range {
	u64 start, end;
};

/* One process. */
struct alloc_process {
	u32 first_span, n_spans;   /* sorted by start */
	u32 first_range, n_ranges; /* sorted: code that is internal to the allocators */
	u32 tgid;
	u32 active;     /* 0: ended (exec, exit); hits are dropped */
	u32 generation; /* entries by links of another one are ignored */
	u32 pad;
	u64 trampoline; /* of return probes, once seen; 0 */
	/* how often ld.so has changed its list of modules; up to which change the
	 * spans are known to be right */
	u32 modules_changed, modules_seen;
};

enum alloc_event_kind {
	ALLOC_EVENT_FORK = 1, /* pid = child */
	ALLOC_EVENT_EXEC,
	ALLOC_EVENT_EXIT,
	ALLOC_EVENT_MODULES, /* ld.so has changed its list, or a pc was in no module */
};

/* The slot of a child that nobody has looked at yet: its exec is told, too. */
#define ALLOC_SLOT_PENDING 0xffffffffu

struct alloc_event {
	u32 kind, slot;
	u32 pid, parent;
	u64 time_ns;
};

/* Everything that is not a plain success is counted here. */
struct alloc_counters {
	u64 hits;
	u64 allocs, alloc_bytes;
	u64 frees, free_bytes;             /* of blocks that were in the table */
	u64 older_frees, older_free_bytes; /* of blocks from before the attach */
	u64 older_free_unsized;            /* of these, size not known */
	u64 reallocs, resets;
	u64 internal;        /* calls from inside an allocator: part of another */
	u64 failed;          /* the allocator returned NULL */
	u64 undone;          /* failed or abandoned reallocs put back */
	u64 no_stash;        /* returns whose entry another probe accounted for */
	u64 replaced;        /* blocks at whose address another was made: a free was missed */
	u64 dead_stash;      /* calls that never returned (throw, longjmp) */
	u64 refused_returns; /* sessions: returns not waited for (would-be throws) */
	/* losses */
	u64 table_full, table_full_bytes;
	u64 stash_full;
	u64 resets_full;
	u64 busy;     /* no work slot free */
	u64 bad_read; /* a plan could not read the target's memory */
	u64 bad_address;
	u64 stack_full; /* recorded without its stack */
	u64 event_lost;
	/* stacks */
	u64 walks, frames;
	u64 stops[8];    /* by enum unwind_stop */
	u64 trampolines; /* return probes of others (or nested ones) seen through */
	u64 stack_collisions;
};
