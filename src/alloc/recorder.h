/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The recorder's insides, shared by alloc.c, the engines' recorder_*.c, follow.c and
 * result*.c. */

#include "alloc/alloc.h"
#include "alloc/budget.h"
#include "alloc/engine.h"
#include "alloc/engine_agent.h"
#include "alloc/engine_bpf.h"
#include "alloc/guard.h"
#include "alloc/tracee.h"
#include "profile/interval.h"
#include "unwind/modules.h"

/* Live blocks of one (process, stack, context, thread). */
struct recorder_group {
	u32 slot, stack, tid;
	u64 context;
	u64 objects, bytes;
	u64 birth_sum_ms; /* of the objects' birth times */
	struct interval_sum estimated_objects,
		estimated_bytes; /* the same, of a weighted recorder */
};

struct recorder_groups {
	struct recorder_group *items;
	size_t n_items, cap_items;
	struct hash_map index;
	u64 taken_ns;
	u64 bytes;
	struct interval_sum estimated_bytes;
};

/* A process that was asked for, and is not recorded. */
struct recorder_left_out {
	pid_t pid;
	char reason[192];
};

/* The exact engine was there first, and came to cost too much. */
struct recorder_handover {
	double after_seconds; /* of exact recording; 0: there was none */
	double gap_seconds;   /* in which nothing was recorded */
	uint64_t held_bytes;  /* recorded and held then */
};

struct alloc_recorder {
	struct alloc_options options;
	char *allocators; /* our copy of options.allocators */
	struct symbol_pool *pool;
	struct modules modules;
	const struct engine_ops *ops;
	/* of an engine that counts first: what it would cost, what the agent would; shares
	 * of the target's processor time */
	double exact_share, passing_share;
	bool over_budget;   /* it has not begun because of that */
	bool may_hand_over; /* to the agent, when it comes to cost too much */
	struct recorder_handover handover;
	struct budget budget;      /* of recorder_bpf.c; the agent has its own */
	struct engine_bpf *engine; /* of recorder_bpf.c */
	struct guard guard;
	struct tracee **tracees;
	size_t n_tracees, cap_tracees;
	u32 n_slots;                /* slots are not used again */
	struct hash_map by_slot;    /* -> index in tracees */
	struct alloc_event *events; /* waiting, from events_done on */
	size_t n_events, cap_events, events_done;
	u64 checked_ns; /* when it was last seen who is still there */
	struct recorder_left_out *left_out;
	size_t n_left_out, cap_left_out;
	struct agent_follow *follow; /* of recorder_agent.c; NULL: children are not taken in */

	bool weighted; /* blocks are samples of the program's own, and say what they stand for */
	bool detached;
	u64 begun_ns, ended_ns, tended_ns;
	u64 contexts_learned_ns, contexts_cost_ns;
	int64_t begun_unix_ns;
	double attach_seconds, detach_seconds;
	u64 looked_last_ns; /* of recorder_agent.c: at the end, when all is taken out already */
	u64 before_looked_ns, before_cost_ns; /* of bpf_before.c */
	size_t late_modules, lost_children, lost_events;
	enum alloc_ended ended; /* by itself: exit, exec, guard */

	u64 peak_held;    /* highest held seen in the counters */
	u64 peak_cost_ns; /* what the last snapshot took */
	struct recorder_groups peak;
};

/* Symbols and tracees, of which there is one at least then. */
int recorder_open(struct alloc_recorder *r, const pid_t *pids, size_t n, struct error *err);
/* Recording has begun; the last part of the attach did at @attach_began_ns. */
void recorder_begin(struct alloc_recorder *r, u64 attach_began_ns);

/* One of several that cannot be recorded: said, and put into the report. */
void recorder_leave_out(struct alloc_recorder *r, pid_t pid, const struct error *why);
int recorder_report_left_out(const struct alloc_recorder *r, struct report *to, struct error *err);
/* Forget the tracee at @index; nothing may know its slot. */
void recorder_drop(struct alloc_recorder *r, size_t index);
/* What there is of each process, and how it ended. */
int recorder_report_processes(const struct alloc_recorder *r, struct report *to, struct error *err);
/* Over when every process is; why: as the last of them. */
enum alloc_ended recorder_all_ended(const struct alloc_recorder *r);

/* For an engine that they need; else it is done behind its close(). */
void recorder_close_tracees(struct alloc_recorder *r);

/* The tracee with this slot, or NULL. */
struct tracee *recorder_tracee(const struct alloc_recorder *r, u32 slot);
/* Take it over (also on failure). */
int recorder_keep(struct alloc_recorder *r, struct tracee *t, struct error *err);
int recorder_attach(struct alloc_recorder *r, struct tracee *t, struct error *err);
void recorder_end(struct alloc_recorder *r, struct tracee *t, enum alloc_ended how);

/* result.c: group what is live now. @min_age_ns 0: everything. */
int result_groups(struct alloc_recorder *r, u64 min_age_ns, struct recorder_groups *ret,
                  struct error *err);
void result_groups_clear(struct recorder_groups *g);
