/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The exact engine's loader: the BPF object, its maps, its links. It knows
 * slots, plans and addresses; which process and allocator they belong to is
 * recorder.c's business. The kernel owns everything that is attached: when
 * memwho dies, however it dies, the probes go.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "bpf/plan_format.h"
#include "bpf/unwind_format.h"
#include "unwind/bpf_tables.h"

#include "bpf/alloc_format.h"

struct engine_bpf;

/* What the tables must hold; they cannot grow later except the live table. */
struct engine_bpf_sizes {
	struct bpf_tables_sizes tables;
	size_t first_level; /* live blocks; more levels are added as needed */
	size_t reset_contexts;
	bool want_stacks;
	bool want_sessions; /* a plan has PLAN_THROWS; costs a longer load */
	bool follow;        /* children are to be taken in: see engine_bpf_watch() */
};

/* Load the programs. -EPERM, -ENOTSUP: with a hint on what is missing. */
int engine_bpf_open(const struct engine_bpf_sizes *sizes, struct engine_bpf **ret,
                    struct error *err);
/* Detaches what is attached. */
struct engine_bpf *engine_bpf_close(struct engine_bpf *e);
void engine_bpf_closep(struct engine_bpf **e);

bool engine_bpf_has_sessions(const struct engine_bpf *e);

/* Unwind tables and stacks. */
struct bpf_tables *engine_bpf_tables(struct engine_bpf *e);

/* Describe (or describe anew) the process in @slot; takes effect at once. */
int engine_bpf_set_process(struct engine_bpf *e, u32 slot, pid_t tgid,
                           const struct stack_span *spans, size_t n_spans,
                           const struct alloc_range *ranges, size_t n_ranges, struct error *err);
/* Hits of this slot are dropped from now on, and its process is not watched any
 * more, unless another program runs in it already. */
void engine_bpf_end_process(struct engine_bpf *e, u32 slot);
/* The same when the process goes on with another program: watched as pending. */
void engine_bpf_end_program(struct engine_bpf *e, u32 slot);
/* Has it neither ended nor replaced its program? */
bool engine_bpf_is_active(const struct engine_bpf *e, u32 slot);
/* How often ld.so has changed the list of modules; and: with the last
 * description it is right up to this change. */
u32 engine_bpf_modules_changed(const struct engine_bpf *e, u32 slot);
void engine_bpf_set_modules_seen(struct engine_bpf *e, u32 slot, u32 changed);
/* Watch this thread group for fork, exec and exit. What it does while @slot is
 * STACK_SLOT_PENDING is told with that slot: with sizes.follow children begin so,
 * and so does a process that has replaced its program. */
int engine_bpf_watch(struct engine_bpf *e, u32 slot, pid_t tgid, struct error *err);

/* The number of an equal plan, added on first use. */
int engine_bpf_add_plan(struct engine_bpf *e, const struct plan_code *code, u32 *ret,
                        struct error *err);

enum engine_bpf_probe { /* in the order in which they are attached */
	                ENGINE_BPF_RETURN,
	                ENGINE_BPF_SESSION, /* entry and return; only where
	                                       engine_bpf_has_sessions() */
	                ENGINE_BPF_MODULES,
	                ENGINE_BPF_COUNT,
	                ENGINE_BPF_ENTRY, /* last: without its return it would only leave a stash */
	                ENGINE_BPF_KINDS,
};

struct engine_bpf_point {
	enum engine_bpf_probe kind;
	int fd;      /* the ELF file, owned by whoever made the point */
	u64 offset;  /* place in the file */
	u64 counter; /* of a trace point, raised while we listen: place in the file, or 0 */
	u32 plan;
};

struct engine_bpf_links {
	struct engine_bpf_link *items;
	size_t n, cap;
};

/*
 * How probes are attached. Closing one perf event waits about 90 ms for the
 * kernel's readers, one after another; an uprobe_multi link waits once for all
 * its places. But breakpoints of uprobe_multi stay in a forked child, which
 * pays for them until we detach, while perf's go at their first hit. So: multi
 * until a process is seen to fork, perf from then on.
 */
enum engine_bpf_how { ENGINE_BPF_MULTI, ENGINE_BPF_PERF };
bool engine_bpf_has_multi(const struct engine_bpf *e);

/* Attach to process @pid. Entries of a generation other than the process's two
 * (engine_bpf_set_generation) are ignored, so that one set of links can take
 * over from another without a call missed or counted twice. On failure what
 * was attached is in @to as well. */
int engine_bpf_links_attach(struct engine_bpf *e, enum engine_bpf_how how, pid_t pid, u32 slot,
                            u32 generation, const struct engine_bpf_point *points, size_t n,
                            struct engine_bpf_links *to, struct error *err);
/* While both are heard, @next is the one that replaces @generation; else they are equal. */
void engine_bpf_set_generation(struct engine_bpf *e, u32 slot, u32 generation, u32 next);
/* Detach all of them at once, and empty the list. */
void engine_bpf_links_detach(struct engine_bpf_links *links);
/* Move all of @from into @to. */
int engine_bpf_links_move(struct engine_bpf_links *to, struct engine_bpf_links *from,
                          struct error *err);
/* The same in the background: the poll loop must not wait for the kernel. */
void engine_bpf_links_detach_later(struct engine_bpf *e, struct engine_bpf_links *links);
/* Wait for all that. */
void engine_bpf_links_wait(struct engine_bpf *e);
/* Recording has begun: have what a first fork needs ready, in the background. */
void engine_bpf_links_preload(struct engine_bpf *e);

/* Live counters; valid while the engine is open. */
const volatile struct alloc_counters *engine_bpf_counters(const struct engine_bpf *e);
void engine_bpf_reset_counters(struct engine_bpf *e);

/* Sampled hits of each thread since the last call, busiest first: how many
 * of @max were filled. */
struct engine_bpf_thread {
	pid_t tid;
	u64 hits;
};
size_t engine_bpf_threads(struct engine_bpf *e, struct engine_bpf_thread *ret, size_t max);

/* Call @fn for each waiting event; waits up to @timeout_ms for the first. */
int engine_bpf_poll(struct engine_bpf *e, int timeout_ms,
                    int (*fn)(void *arg, const struct alloc_event *event), void *arg,
                    struct error *err);

/* ---- engine_bpf_table.c: reading and keeping the live table ---- */

/* Grow and sweep as needed; called from the poll loop. */
int engine_bpf_table_tend(struct engine_bpf *e, struct error *err);
/* Call @fn for each live block (no stale ones), also for blocks that a realloc
 * has in its hands right now. @fn returns 0 or -errno, which ends the walk. */
int engine_bpf_table_each(struct engine_bpf *e,
                          int (*fn)(void *arg, u64 key, const struct alloc_entry *entry), void *arg,
                          struct error *err);
/* Memory of the live table in the kernel, about; and blocks it can hold. */
u64 engine_bpf_table_capacity(const struct engine_bpf *e);
u64 engine_bpf_table_swept_bytes(const struct engine_bpf *e);
