/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Our area in a target: code (never writable), data, and a stack of our own.
 * The data begins with the journal: what is under way, and by whom, so that the
 * next memwho can finish or take back what one that was killed had begun.
 *
 * The surprising rule: JOURNAL_DONE is stored before the last two instructions
 * of a stub. It means "the work is done", not "the thread has left": a slot is
 * used again, and the area taken away, only when no thread can be in it.
 */

#include <stdint.h>

enum {
	JOURNAL_CODE_BYTES = 0x4000,
	JOURNAL_DATA_BYTES = 0x10000,
	JOURNAL_STACK_BYTES = 0x40000,
	JOURNAL_AREA_BYTES = JOURNAL_CODE_BYTES + JOURNAL_DATA_BYTES + JOURNAL_STACK_BYTES,
	JOURNAL_SLOT_BYTES = 0x400, /* one stub */
	JOURNAL_SLOTS = JOURNAL_CODE_BYTES / JOURNAL_SLOT_BYTES,
	/* in the data: */
	JOURNAL_XSAVE_AT = 0x1000, /* 64-byte aligned; the thread's vector state */
	JOURNAL_XSAVE_BYTES = 0x5000,
	JOURNAL_SCRATCH_AT = 0x6000, /* arguments that are pointers */
	JOURNAL_SCRATCH_BYTES = JOURNAL_DATA_BYTES - JOURNAL_SCRATCH_AT,
};

#define JOURNAL_MAGIC 0x31306f68776d656dull /* "memwho01" */

enum journal_state {
	JOURNAL_IDLE,     /* nothing, or committed and not begun */
	JOURNAL_STARTED,  /* the thread is in the stub */
	JOURNAL_RETURNED, /* the call is done, state is being put back */
	JOURNAL_DONE,
};

struct journal {
	uint64_t magic;
	uint32_t state; /* written by the stub */
	uint32_t next;  /* slot of the next transaction, modulo JOURNAL_SLOTS */
	uint64_t result;
	uint64_t new_mask, old_mask; /* signals blocked meanwhile, and as they were */
	uint64_t errno_at;           /* address of the thread's errno; its value is saved below */
	uint32_t saved_errno;
	int32_t tid; /* whose transaction is under way, as memwho sees it; 0: none */
	uint32_t mxcsr;
	uint32_t ttl;                     /* of a copy: naps until it ends by itself */
	int64_t nap[2];                   /* struct timespec */
	int32_t child;                    /* of a double clone: the helper's status */
	int32_t memwho_pid;               /* who wrote this last */
	int32_t slot_tids[JOURNAL_SLOTS]; /* last thread that was sent into each slot */
};
