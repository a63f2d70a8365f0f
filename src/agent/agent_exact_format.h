/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What exact mode has in a target besides struct agent_data: a second mapping,
 * which is there only while it records (alloc/agent_exact.c makes it and takes
 * it away). Anonymous, private, MADV_WIPEONFORK:
 *
 *	struct agent_exact, then what its offsets say:
 *	rw-	counters, slots, threads, works, memos, rules, ids, stacks, pcs, levels of the set,
 *		contexts
 *	r--	spans (two lists), index, rows: memwho's, the agent only reads them
 *
 * All offsets count from struct agent_exact. In a child that a signal handler
 * made by fork() in the middle of the agent all this is zeros: then every offset
 * leads into the first pages, which may be written, and every number is 0.
 *
 * The tables are those of the eBPF engine (bpf/unwind_format.h): rows by module,
 * found through an index. Rows and index are only ever added to. Which code is
 * where is a list that is written anew into the half that is not in use, and
 * then pointed at by one word (agent_exact_published); a walk that finds another
 * word at its end has seen a mixture, and begins again.
 */

#include "agent/agent_format.h"
#include "bpf/unwind_format.h"

#define AGENT_EXACT_MAGIC 0x3265786577686d41ull /* "Amhwexe2" */

enum {
	AGENT_EXACT_MAX_SPANS = 1 << 12,
	AGENT_EXACT_GENERATIONS = 16, /* 0 is none */
	AGENT_EXACT_RULE_BITS = 12,
	AGENT_EXACT_WORKS = 256,
	AGENT_EXACT_WORK_TRIES = 64,
	AGENT_EXACT_ID_TRIES = 32,
	AGENT_EXACT_MEMOS = 4, /* of a thread */
	AGENT_EXACT_MEMO_WORDS = 60,

	/* the set: levels of buckets, each four times as large as the one before */
	AGENT_EXACT_LEVELS = 5,
	AGENT_EXACT_FIRST_BITS = 14,
	AGENT_EXACT_STEP_BITS = 2,
	AGENT_EXACT_BUCKET_ENTRIES = 7,

	AGENT_EXACT_CONTEXT_BITS = 16,
	AGENT_EXACT_CONTEXT_TRIES = 32,
};

/* Executable code, sorted; n_rows 0: without a table. */
struct agent_exact_span {
	agent_u64 start, end;
	agent_u64 text; /* run-time address of row pc 0 */
	agent_u32 first_row, n_rows;
	agent_u32 first_index, n_index;
};

/* Which spans hold: bits 0..3 the generation, 4 the half, 8..23 how many, 32..63
 * the epoch: how often code has gone away, so that another may be in its place. */
static inline agent_u64 agent_exact_published(agent_u32 generation, agent_u32 half, agent_u32 n,
                                              agent_u32 epoch)
{
	return generation | half << 4 | n << 8 | (agent_u64)epoch << 32;
}

struct agent_exact_value {
	agent_u64 size; /* the upper 16 bits: check of all, a reader may come in the middle */
	agent_u32 stack, birth; /* 0: no stack; time stamp counter >> AGENT_EXACT_BIRTH_SHIFT */
};
enum { AGENT_EXACT_SIZE_BITS = 48, AGENT_EXACT_BIRTH_SHIFT = 20 };
#define AGENT_EXACT_MAX_SIZE ((1ull << AGENT_EXACT_SIZE_BITS) - 1)

/*
 * Which context (pool) a block is of: 1 + its index, and above 32 bits the generation that
 * the context had. A reset gives it the next one: blocks of older ones are gone, wherever
 * they lie. 0: of none.
 */
static inline agent_u64 agent_exact_ref(agent_u32 index, agent_u32 generation)
{
	return (agent_u64)generation << 32 | (index + 1);
}

/* Whatever @ref is, an index of a context. */
static inline agent_u32 agent_exact_ref_index(agent_u64 ref)
{
	return ((agent_u32)ref - 1) & ((1u << AGENT_EXACT_CONTEXT_BITS) - 1);
}

static inline agent_u64 agent_exact_check(agent_u64 ptr, agent_u64 size, agent_u32 stack,
                                          agent_u32 birth, agent_u64 ref)
{
	const agent_u64 all = (ptr ^ (agent_u64)stack << 32 ^ birth ^ ref) * 0x9e3779b97f4a7c15ull +
	                      size;

	return (all * 0xbf58476d1ce4e5b9ull) >> AGENT_EXACT_SIZE_BITS << AGENT_EXACT_SIZE_BITS;
}

struct agent_exact_bucket {
	agent_u64 ptrs[AGENT_EXACT_BUCKET_ENTRIES]; /* 0: free; AGENT_BUSY: being filled */
	agent_u32 elsewhere; /* at least as many blocks as belong here and lie elsewhere */
	agent_u32 pad32;
	struct agent_exact_value values[AGENT_EXACT_BUCKET_ENTRIES];
	agent_u64 pad[2];
};
_Static_assert(sizeof(struct agent_exact_bucket) == 192, "three cache lines");

/* Of the bucket with the same number: the contexts of its blocks. */
struct agent_exact_refs {
	agent_u64 refs[AGENT_EXACT_BUCKET_ENTRIES], pad;
};

struct agent_exact_context {
	agent_u64 context; /* 0: free; AGENT_BUSY: being filled */
	agent_u32 generation, pad;
	agent_u64 objects, bytes; /* of this generation, that are held */
};

/* A distinct stack: pcs[first .. first + n), leaf first; those of interrupted code
 * have AGENT_EXACT_PC_EXACT. Never changed once its id can be found, but for the sums. */
struct agent_exact_stack {
	agent_u64 hash;
	agent_u32 first;
	unsigned short n;
	agent_u8 stop; /* enum unwind_stop */
	agent_u8 ready;
	agent_u32 epoch, pad;
	agent_u64 objects, bytes; /* all that was allocated there */
};
#define AGENT_EXACT_PC_EXACT (1ull << 62) /* as STACK_PC_EXACT */

/* A word of a stack that a walk has read. */
struct agent_exact_word {
	agent_u64 at, value;
};

struct agent_exact_work {
	agent_u32 lock, pad[15];
	agent_u64 pcs[UNWIND_MAX_FRAMES];
	struct agent_exact_word words[AGENT_EXACT_MEMO_WORDS];
};

/* A walk of a thread: from the same registers, by the same list of code, over the same words
 * at the same places it comes to the same stack. */
struct agent_exact_memo {
	agent_u64 lock; /* odd while it is written; other than before: it was */
	agent_u64 published, pc, sp, bp;
	agent_u64 end; /* behind the highest word */
	agent_u32 n, stack;
	agent_u64 uses_bp; /* 0: it is only handed on */
	struct agent_exact_word words[AGENT_EXACT_MEMO_WORDS];
};
_Static_assert(sizeof(struct agent_exact_memo) == 1024, "whole pages");

/* Of the thread whose slot has the same number. */
struct agent_exact_thread {
	agent_u64 objects, bytes;             /* allocated */
	agent_u64 freed_objects, freed_bytes; /* of those */
	agent_u64 pad[4];
};

struct agent_exact_counters {
	struct agent_exact_thread others; /* of threads without a slot */
	agent_u32 used_stacks, used_pcs;  /* stack 0 is none */
	agent_u32 top, claims;            /* the highest level that has blocks; slots taken */
	agent_u64 set_full, set_full_bytes;
	agent_u64 contexts_full;            /* of set_full: no room to know the block's context */
	agent_u64 no_stack, no_stack_bytes; /* blocks: tables full, or too many at once */
	agent_u64 late, late_bytes;         /* behind the deadline: not recorded */
	agent_u64 cut;     /* walks, as it was not known how far the stack reaches */
	agent_u64 unknown; /* walks that came to code that is not in the list */
	agent_u64 gave_up; /* nothing is recorded any more: the reader has not come back */
};

struct agent_exact {
	agent_u64 magic, bytes; /* of the whole mapping */
	agent_u64 published;
	agent_u64 alive; /* ticks behind the deadline until it gives up */
	agent_u64 counters, slots, threads, works, memos, rules;
	agent_u64 ids, stacks, pcs;
	agent_u32 id_mask, max_stacks, max_pcs, n_levels;
	agent_u64 levels[AGENT_EXACT_LEVELS];
	/* 0: no context is known here; then there are no refs either */
	agent_u64 contexts, refs[AGENT_EXACT_LEVELS];
	agent_u64 spans, index,
		rows; /* the second list is AGENT_EXACT_MAX_SPANS behind the first */
	agent_u32 n_index, n_rows;
};
