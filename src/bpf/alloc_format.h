/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * What the alloc programs (alloc.bpf.c) and their loader (alloc/) share. The
 * includer brings u8..u64 (BPF: bpf/types.h; user space: unwind/bpf_tables.h), and
 * stack_format.h has what all programs that record stacks share.
 *
 * Keys of the live table, the resets and the stashes are user addresses with
 * the process's slot in the top 16 bits: user addresses have 47 bits here, and
 * one at or above 2^48 is counted as lost rather than folded.
 */

#include "bpf/stack_format.h"

enum {
	ALLOC_MAX_PLANS = 512,
	ALLOC_MAX_LEVELS = 16,
	ALLOC_SLOT_SHIFT = 48,
	ALLOC_RECLAIM_TRIES = 8,
	/* every how many hits one is charged to its thread; a prime, so that the
	 * choice does not beat with a loop of the target */
	ALLOC_THREAD_STRIDE = 13,
};

/* One live allocation. Its key is the address. */
struct alloc_entry {
	u64 size;
	/* Pool or 0; by plans that are PLAN_WEIGHTED, the bytes that it stands for. */
	u64 context;
	u64 time_ns; /* CLOCK_MONOTONIC */
	u64 epoch;   /* of the resets: stale when the context was reset later */
	u32 stack;   /* id in stacks; 0: none */
	u32 tid;
};

/* How many blocks stand for @weight bytes when one of @size was sampled? */
static inline u64 alloc_weight_blocks(u64 size, u64 weight)
{
	return size && weight > size ? (weight + size / 2) / size : 1;
}

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

struct alloc_range {
	u64 start, end;
};

enum alloc_event_kind {
	ALLOC_EVENT_FORK = 1, /* pid = child */
	ALLOC_EVENT_EXEC,
	ALLOC_EVENT_EXIT,
	ALLOC_EVENT_MODULES, /* ld.so has changed its list, or a pc was in no module */
};

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
