/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the code inside a target (agent.c) shares with who puts it there
 * (alloc/agent_*.c, alloc/engine_agent.c). No includes but the plans' form.
 *
 * The agent is one range of address space near the allocator:
 *
 *	code, r-x	the blob; at AGENT_TABLE_AT what was patched, and the plans;
 *			at AGENT_STUBS_AT an entry for each patched function
 *	data, rw-	struct agent_data, zero when it is made
 *
 * Everything that a child of fork() needs lies in the code. The data is
 * MADV_WIPEONFORK: in the child it is all zeros, and zeros mean "off".
 *
 * The range is never unmapped: a thread that a signal handler keeps away, on a
 * stack of its own, may still return into the code. What stays after a detach is
 * the address range and the code's few pages; the next memwho takes them over if
 * it would write the same bytes, but for the mode of the recording.
 */

#include "bpf/plan_format.h"

typedef unsigned char agent_u8;
typedef unsigned int agent_u32;
typedef unsigned long long agent_u64;

#define AGENT_MAGIC 0x38746e6577686d41ull /* "Amhwent8": one more with each layout */

enum {
	AGENT_CODE_BYTES = 0x30000,
	AGENT_CLAIM_AT = AGENT_CODE_BYTES - 8, /* AGENT_MAGIC, written first */
	AGENT_TABLE_AT = 0x8000,
	AGENT_STUBS_AT = 0x1c000,
	AGENT_STUB_BYTES = 0x200,
	AGENT_MAX_FUNCTIONS = 128, /* mimalloc has 70, and libc comes along */
	AGENT_MAX_RANGES = 512,
	AGENT_PATCH_BYTES = 5, /* jmp rel32 */

	AGENT_SLOT_BITS = 12,
	AGENT_SLOTS = 1 << AGENT_SLOT_BITS,
	AGENT_SLOT_TRIES = 16,
	AGENT_CPUS = 256, /* the highest stands for threads whose processor is not known */
	AGENT_BUCKET_BITS = 15,
	AGENT_BUCKETS = 1 << AGENT_BUCKET_BITS,
	AGENT_BUCKET_ENTRIES = 8,
	AGENT_RATES = 128,
	AGENT_RATES_OF_TWO = 4, /* lines of the table of rates until the mean has doubled */
	AGENT_METER_ONE_IN = 8,
	AGENT_NO_RATE = 0xff, /* of a countdown that is only a pause */
	AGENT_SEQ_RATE = 56,  /* a sample's number has that of its rate from this bit on */
	AGENT_LEFT_BITS = 56, /* of a countdown; the byte above them is its sign, or: */
	AGENT_RENEW = 0xc0,   /* memwho's wish for a new countdown. It stays below zero */
	AGENT_CONTEXT_BITS = 14,
	AGENT_CONTEXT_BUCKETS = 1 << AGENT_CONTEXT_BITS,
	AGENT_CONTEXT_ENTRIES = 4, /* of a bucket */
	AGENT_LINKS = 1 << 17,
	AGENT_FILTER_MAX = 200, /* so that a byte of the filter cannot wrap */
	AGENT_RECORDS = 512,
	AGENT_STACK_BYTES = 16 * 1024 - 64,

	/* glibc's struct pthread has the thread's number there, behind the thread pointer,
	 * since 2.4: 704 bytes for the header, and a list (nptl/descr.h). Only compared
	 * with what it was, where it could be read before. */
	AGENT_TID_AT = 704 + 16,

	/* in the word that a stub hands over: */
	AGENT_FUNCTION_MASK = 0xff,
	AGENT_CHARGED = 0x100, /* the countdown has gone below zero: it is sampled */
};

/* Taken from the countdown beside what is asked for, where only that is known: a header,
 * and nothing is for nothing (struct plan_code, asked). */
#define AGENT_ASKED_MORE 8

/* The tables are found by the upper bits of (u32)key * AGENT_HASH. */
#define AGENT_HASH 0x9e3779b1u

struct agent_range {
	agent_u64 start, end;
};

struct agent_function {
	agent_u64 original; /* a copy of the instructions that were moved, and the way on */
	/* What is called instead, when the call is watched, of a function that may throw: an
	 * exception finds no way through the agent's frame. It has the same arguments and
	 * result, and says NULL where the function throws; that is then called without us.
	 * 0: the function does not throw. */
	agent_u64 quiet;
	agent_u64 patch_at;
	/* AGENT_PATCH_BYTES of them: without us, and with, for the mode of the recording that was
	 * last. Of all the code only @is differs between two recordings. */
	agent_u8 was[8], is[8];
	struct plan_code code;
};

/* Journal of the place: what a memwho that was killed may have left to do. */
enum agent_place_state {
	AGENT_PLACE_IDLE,    /* no patches; the data is zeros, or not made yet */
	AGENT_PLACE_PATCHED, /* all, some or no patches are set */
	AGENT_PLACE_UNCLEAN, /* no patches; threads may be in the code, and use the data */
};

/* In the code; whole before the first patch is made, but for @place. */
struct agent_table {
	agent_u64 magic; /* written last */
	agent_u32 n_functions, n_ranges;
	agent_u32 place, pad;
	agent_u64 return_at; /* the only address in the code that the stacks of calls hold */
	/* the mapping of exact mode, before it is made; 0: none (agent_exact_format.h) */
	agent_u64 exact_at, exact_bytes;
	/* the mapping of --patch page (alloc/agent_pages.h), before it is made; 0: none */
	agent_u64 pages_at;
	/* countdowns are the processors': displacement from the thread pointer of what says
	 * which one (alloc/agent_cpu.h); 0: they are the threads' */
	long long cpu_at;
	agent_u8 pages[AGENT_MAX_FUNCTIONS]; /* of each page: 1, it is being put back */
	/* what is internal to the allocator: calls that return into it are not counted */
	struct agent_range ranges[AGENT_MAX_RANGES];
	struct agent_function functions[AGENT_MAX_FUNCTIONS]; /* last: only these are written */
};

/* One thread's, found by its thread pointer; or one processor's, of which only the countdown
 * is used. */
struct agent_slot {
	agent_u64 owner; /* thread pointer, a processor's: 1; 0: free */
	long long left;  /* bytes until the next sample; below zero for a moment */
	agent_u64 random;
	/* memwho's: the stack of the thread reaches from here to the thread pointer */
	agent_u64 stack_low;
	/* of which thread: threads that come later may have the same pointer. 0: not known */
	agent_u32 stack_tid;
	agent_u32 rate; /* that @left was drawn at: index into agent_control.means */
	agent_u64 pad[3];
};

/*
 * One processor's. What glibc has registered for restartable sequences tells each thread
 * where it runs: the four bytes of cpu_id_start, which is less than 2^24 everywhere, and of
 * cpu_id. The last byte of one and the first of the other, read as one number, are the
 * distance of the processor's countdown from the first: no shift, no bound to check.
 *
 * Two threads may be at one of these at once, where one was moved in the middle; then a
 * call may be taken from it twice, or not at all, which is once in some million.
 */
struct agent_cpu {
	struct agent_slot slot;
	agent_u64 pad[24];
};
_Static_assert(sizeof(struct agent_cpu) == 256, "as the two bytes have it");

/* A sampled block that lives. */
struct agent_entry {
	agent_u64 ptr; /* 0: free; AGENT_BUSY: being filled */
	agent_u64 size, seq;
	agent_u64 asked;   /* what the countdown was charged with: the chance it was drawn with */
	agent_u64 context; /* 0: none */
	agent_u64 sum;     /* of the others: a reader may come in the middle */
};
#define AGENT_BUSY 1ull

static inline agent_u64 agent_entry_sum(agent_u64 ptr, const struct agent_entry *e)
{
	return (ptr ^ (e->size * 0x9e3779b97f4a7c15ull) ^ (e->seq << 32 | e->seq >> 32) ^
	        (e->asked * 0xbf58476d1ce4e5b9ull) ^ (e->context * 0x94d049bb133111ebull)) +
	       1;
}

/* A context that has sampled blocks, and the first of its links. */
struct agent_context {
	agent_u64 context; /* 0: free; AGENT_BUSY: being filled */
	agent_u32 first;   /* 1 + index; 0: none */
	agent_u32 n_links; /* in its chain, also of blocks that are gone */
	agent_u32 n_live, pad;
};

/* One sampled block of a context: what a reset has to take out. */
struct agent_link {
	agent_u64 ptr, seq;
	agent_u32 next, pad; /* 1 + index; 0: the last */
};

enum agent_record_state { AGENT_RECORD_FREE, AGENT_RECORD_BUSY, AGENT_RECORD_READY };

/* The stack of one sample, for memwho to unwind. */
struct agent_record {
	agent_u64 seq, size, asked;
	agent_u64 pc, sp, bp; /* as after the return from the allocator */
	agent_u64 thread;     /* its thread pointer */
	agent_u64 n_bytes;    /* of the stack, from sp on */
	agent_u64 whole;      /* 0: the end of the stack was not known, one page was copied */
	agent_u8 stack[AGENT_STACK_BYTES];
};

enum agent_state { AGENT_OFF, AGENT_ON };

struct agent_control { /* memwho's */
	agent_u32 state;
	agent_u32 exact_on; /* in exact mode: calls come to the agent. It may clear that itself */
	agent_u64 deadline; /* time stamp counter: nothing is sampled after it */
	agent_u32 rate;     /* of the countdowns that are drawn: index into @means */
	agent_u32 reader_pid;
	/* once agent_counters.cycles is above @grant the mean is doubled, and again for
	 * each @grant_step, until memwho grants more; all ones: no budget */
	agent_u64 grant, grant_step;
	agent_u64 seed; /* random, and different each time: the calls of one attach know it */
	agent_u64 main_low, main_high; /* the first thread's stack: [stack] */
	agent_u64 means[AGENT_RATES];  /* bytes between two samples; fixed at the attach */
	agent_u64 exact;               /* address of struct agent_exact; 0: it samples */
	agent_u64 block_at; /* behind a thread pointer: alloc/agent_block.h; 0: not known */
};

struct agent_counters {    /* the agent's */
	agent_u64 samples; /* and number of the last one, without its rate */
	agent_u64 slow_calls, internal_calls;
	agent_u64 freed; /* samples */
	agent_u64 claims, no_slot, no_slot_bytes;
	agent_u64 set_full, set_full_bytes;
	agent_u64 contexts_full; /* of set_full: no room to know the block's context */
	agent_u64 resets, reset; /* of contexts that had samples; samples that went with them */
	agent_u64 stacks_lost, expired;
	/* of the time stamp counter, in here: of samples all, of other calls one in
	 * AGENT_METER_ONE_IN that stands for as many */
	agent_u64 cycles;
	agent_u64 passed_on; /* samples that were none: the quiet function had no memory */
};

struct agent_data {
	struct agent_control control __attribute__((aligned(4096)));
	struct agent_counters counters __attribute__((aligned(4096)));
	agent_u32 record_states[AGENT_RECORDS] __attribute__((aligned(64)));
	struct agent_slot slots[AGENT_SLOTS] __attribute__((aligned(4096)));
	/* one more, as the first byte that is read could be any, were the target's broken */
	struct agent_cpu cpus[AGENT_CPUS + 1] __attribute__((aligned(4096)));
	/* how many entries of the bucket are in use */
	agent_u8 filter[AGENT_BUCKETS] __attribute__((aligned(4096)));
	struct agent_entry entries[AGENT_BUCKETS][AGENT_BUCKET_ENTRIES]
		__attribute__((aligned(4096)));
	/* how many of the bucket are in use */
	agent_u8 context_filter[AGENT_CONTEXT_BUCKETS] __attribute__((aligned(4096)));
	struct agent_context contexts[AGENT_CONTEXT_BUCKETS][AGENT_CONTEXT_ENTRIES]
		__attribute__((aligned(4096)));
	/* links that were never used begin at n_links; those that were given back are a chain:
	 * low half 1 + index of the first, high half a number that changes with each */
	agent_u64 free_links __attribute__((aligned(4096)));
	agent_u32 n_links;
	struct agent_link links[AGENT_LINKS];
	struct agent_record records[AGENT_RECORDS] __attribute__((aligned(4096)));
};

enum {
	AGENT_DATA_BYTES = (sizeof(struct agent_data) + 4095) / 4096 * 4096,
	AGENT_BYTES = AGENT_CODE_BYTES + AGENT_DATA_BYTES,
};
_Static_assert(sizeof(struct agent_table) <= AGENT_STUBS_AT - AGENT_TABLE_AT, "table");
_Static_assert(AGENT_MAX_FUNCTIONS *AGENT_STUB_BYTES <= AGENT_CLAIM_AT - AGENT_STUBS_AT, "stubs");
