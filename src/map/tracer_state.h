/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The tracer's insides, shared by tracer*.c only. */

#include "base/hash.h"
#include "map/range_set.h"
#include "map/tracer.h"
#include "map/tracer_bpf.h"
#include "target/target.h"
#include "target/thread_names.h"
#include "unwind/code_history.h"
#include "unwind/modules.h"

/* A call of a thread that was told when it was entered. */
struct tracer_pending {
	u32 kind; /* enum map_event_kind; 0: none */
	u64 a, b;
	struct range_list removed;
};

struct tracer_process {
	pid_t pid;
	u32 slot; /* its events' and its stacks' now; a child's changes when it gets own code */
	struct target *target; /* NULL: it was gone before it could be opened */
	char command[64];
	enum tracer_ended ended; /* how, or TRACER_RUNNING */
	bool is_first;           /* was asked for; not a child */
	bool begins_at_exec;     /* until it is joined: what nobody asked for exec has made */

	/* Its code. A forked child has its maker's, and its stacks are walked with
	 * the same tags, until it maps code itself: from then on it has a slot of
	 * its own, and older stacks are still its maker's. */
	struct symbol_space *space;
	struct code_history history;
	struct tracer_process *like; /* the maker; NULL: none */
	u32 like_slot;
	bool owns_code;
	bool wants_code; /* its modules have changed */
	u64 code_ns;     /* not read again before */

	struct range_set set;
	struct range_set touched; /* owner: who touched first */
	struct thread_names threads;
	u64 learn_ns, attached_ns;

	/* tid -> index in pending */
	struct hash_map pending_index;
	struct tracer_pending *pending;
	size_t n_pending, cap_pending;

	/* joining with the maps: what events touched meanwhile */
	bool window_open;
	struct range_set window;
	/* a fork under way: what its copy may have of both */
	u32 n_forking;
	struct range_set fork_window;

	bool wants_sync;
	u64 synced_ns, sync_cost_ns;
	u64 lost_seen; /* events lost by then */
	/* what joining had to correct after the attach */
	u64 grown_bytes, gone_bytes;
};

struct tracer_calls { /* of one (slot, stack, tid, kind) */
	u32 slot, stack, tid, kind;
	u64 calls, bytes;
};

struct tracer {
	struct tracer_options options;
	struct symbol_pool *pool;
	struct modules modules;
	struct tracer_bpf *bpf;
	struct tracer_process **processes;
	size_t n_processes, cap_processes;
	struct hash_map by_slot;

	struct tracer_calls *calls;
	size_t n_calls, cap_calls;
	struct hash_map calls_index;

	struct hash_map segments; /* id -> bytes */
	u64 segments_read_ns;

	u64 begun_ns, ended_ns;
	int64_t begun_unix_ns;
	double attach_seconds, detach_seconds;
	bool detached;
	u64 lost_children, late_code;
	u64 tended_ns;
	struct map_counters seen; /* by then; only what the estimate needs */
	bool told;                /* the estimate */
	u32 stride;
	double slowdown; /* estimated, of the last second */
};

/* tracer_process.c */
int tracer_process_open(struct tracer *t, pid_t pid, struct tracer_process **ret,
                        struct error *err);
/* A new program in the process @pid, whose events have @slot already. */
int tracer_process_exec(struct tracer *t, pid_t pid, u32 slot, struct error *err);
int tracer_process_fork(struct tracer *t, struct tracer_process *parent, u32 parent_slot, pid_t pid,
                        u32 slot, struct error *err);
struct tracer_process *tracer_process_close(struct tracer_process *p);
struct tracer_process *tracer_process_of(const struct tracer *t, u32 slot); /* or NULL */
/* Read its modules again, and let the programs know. */
int tracer_process_refresh(struct tracer *t, struct tracer_process *p, struct error *err);
/* What stacks of this slot are in; NULL: nobody has read that. */
const struct code_history *tracer_process_code(struct tracer_process *p, u32 slot);
/* It has ended; what nobody needs any more goes. */
void tracer_process_end(struct tracer_process *p, enum tracer_ended how);
/* Events of a slot that nobody knows: how it began was lost. */
int tracer_process_found(struct tracer *t, u32 slot, struct error *err);

/* tracer_apply.c: one event. */
int tracer_apply(void *arg, const struct map_event *e, struct error *err);

/* tracer_sync.c: join the set with /proc/PID/maps. @attaching: what is there
 * and was not seen being made was there before. */
int tracer_sync(struct tracer *t, struct tracer_process *p, bool attaching, struct error *err);
/* What events say about [@start, @end) is truer than the maps that are being read. */
int tracer_sync_note(struct tracer_process *p, u64 start, u64 end, struct error *err);

/* tracer_resident.c: pages that are there at the attach were touched before. */
int tracer_resident_before(struct tracer_process *p, struct error *err);

/* tracer_result.c */
int tracer_result_ranges(struct tracer *t, struct profile *p,
                         int (*fn)(void *arg, const struct tracer_range *r, struct error *err),
                         void *arg, struct error *err);
int tracer_result_make(struct tracer *t, enum tracer_ended ended, struct profile **ret,
                       struct error *err);
