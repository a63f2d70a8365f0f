/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * What the map programs (map.bpf.c) and their loader (map/) share. The includer
 * brings u8..u64 (BPF: bpf/types.h; user space: unwind/bpf_tables.h).
 *
 * The order of the events in the one ring is the order in which they are true:
 * what gives address space back is told when the call is entered, what takes it
 * when the call returns. A range that another thread is given after our munmap
 * can so never be told before it.
 */

#include "bpf/stack_format.h"

enum map_event_kind {
	MAP_EVENT_MMAP = 1,     /* returned: a address, b length as asked, c file offset */
	MAP_EVENT_MMAP_FAILED,  /* with MAP_FIXED: a, b; what was there may be gone */
	MAP_EVENT_UNMAP,        /* entered (or, after the attach, returned): a, b */
	MAP_EVENT_UNMAP_FAILED, /* a, b */
	MAP_EVENT_REMAP_BEGIN,  /* entered: a old, b old length, c new length, d new address, flags
	                         */
	MAP_EVENT_REMAP,        /* returned: the same, ret */
	MAP_EVENT_BRK_BEGIN,    /* entered: a what is asked for, b what it was */
	MAP_EVENT_BRK,          /* returned: a what was asked for, b what it is */
	MAP_EVENT_SHMAT,        /* returned: a address, b end (0: not known), c id, flags */
	MAP_EVENT_SHMDT,        /* entered: a */
	MAP_EVENT_SHMDT_FAILED, /* a */
	MAP_EVENT_PROTECT,      /* returned: a, b, prot; ret */
	MAP_EVENT_ADVISE,       /* entered: a, b, c advice */
	MAP_EVENT_OTHER,        /* returned: a call that may have changed the maps */
	MAP_EVENT_TOUCH,        /* page fault at a; flags: 1 in kernel mode */
	MAP_EVENT_FORK_BEGIN,   /* entered: from here to MAP_EVENT_FORK the memory is copied */
	MAP_EVENT_FORK,         /* a child, b its slot; flags: 1 it shares the memory */
	MAP_EVENT_FORK_FAILED,
	MAP_EVENT_EXEC, /* a the new program's slot */
	MAP_EVENT_EXIT,
	MAP_EVENT_MODULES, /* a pc was in no module */
};

/* Events of touches end before @b. */
struct map_event {
	u32 kind, slot;
	u32 tid, stack;
	u64 time_ns; /* CLOCK_MONOTONIC */
	u64 a;
	u64 b, c, d;
	u64 ret;
	u32 prot, flags;
	u32 pid, pad;
};
#define MAP_TOUCH_BYTES 32

/* No slot: a process that is not (or not any more) of interest. */
#define MAP_NO_SLOT 0xffffffffu

/* A call that gives back and has not returned. Key: the thread. */
struct map_in_flight {
	u64 start, end;
	u32 slot, tid;
};

struct map_counters {
	u64 events, faults, kernel_faults;
	u64 event_lost;   /* the ring was full */
	u64 last_lost_ns; /* when that happened last */
	u64 calls;
	u64 stacks_dropped; /* on request, to stay within the limit */
	u64 busy;           /* no work slot free: an event without its stack */
	u64 stack_full;
	u64 no_flight; /* a call was not noted as being under way */
	u64 no_slot;   /* more processes than there are slots */
	/* stacks */
	u64 walks, frames;
	u64 stops[8]; /* by enum unwind_stop */
	u64 trampolines;
	u64 stack_collisions;
};
