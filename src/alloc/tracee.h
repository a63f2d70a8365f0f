/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One traced process: who it is, its modules, which allocator functions are
 * probed in it. The recorder owns it; the slot is its number in the engine.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "alloc/alloc.h"
#include "alloc/before.h"
#include "alloc/engine_bpf.h"
#include "base/error.h"
#include "base/hash.h"
#include "runtime/runtime.h"
#include "symbol/symbol.h"
#include "target/target.h"
#include "target/thread_names.h"
#include "unwind/code_history.h"
#include "unwind/modules.h"

enum { TRACEE_MAX_RUNTIMES = 16 };

struct tracee {
	pid_t pid;
	u32 slot;
	struct target *target;
	struct symbol_space *space;
	const struct runtime_ops *runtimes[TRACEE_MAX_RUNTIMES];
	size_t n_runtimes;
	const char *allocators; /* --allocator, the recorder's; NULL: all that are found */
	struct runtime_probes probes;
	size_t n_attached;                /* probes[0 .. n_attached) have their links */
	struct engine_bpf_links links;    /* of this generation */
	struct engine_bpf_links sessions; /* of functions that may throw */
	struct engine_bpf_links replaced; /* of the last generation, for a while */
	u64 replaced_ns;                  /* when that began */
	size_t n_session_probes;
	u32 generation;
	bool forks;       /* has been seen to, or has children: see enum engine_bpf_how */
	bool no_throwing; /* functions that may throw are left out; why: throw_reason */
	const char *throw_reason;
	bool watches_linker; /* a probe on ld.so's _dl_debug_state */
	struct code_history history;

	char command[64];
	char kind[64]; /* what the runtime calls this process; "" */
	enum alloc_ended ended;
	u64 attached_ns, ended_ns;
	double cpu_ns;      /* processor time, as last seen */
	u64 late_ns;        /* a child's first time, which was not recorded */
	u64 looked_ns;      /* before anything of it was read */
	bool wants_refresh; /* its maps have changed */
	u64 refresh_ns;     /* not before */
	u64 learn_ns;       /* when to look for names next */
	u64 used_before;    /* contexts' own account at the attach */
	bool has_used_before;
	struct before before;       /* what its allocators held before */
	int mark;                   /* while uprobes are in it: inject/lock.h; -1 */
	struct engine_agent *agent; /* of recorder_agent.c; NULL: it could not attach */

	/* context address -> index into contexts: names outlive the contexts */
	struct hash_map context_index;
	struct runtime_context *contexts;
	size_t n_contexts, cap_contexts;
	struct thread_names threads;
};

/* Of any runtime that is recorded: then it is the first. */
static inline bool tracee_has_contexts(const struct tracee *t)
{
	return t->n_runtimes && t->runtimes[0]->has_contexts;
}

/* Look at process @pid: modules, allocators, probe points. Touches nothing in
 * it. @allocators: names separated by commas, or NULL for all that are found.
 * -ENOTSUP says why nothing can be recorded. */
int tracee_open(pid_t pid, u32 slot, struct symbol_pool *pool, const char *allocators,
                struct tracee **ret, struct error *err);
/* The same for a child that @parent has just forked: same layout, so what was
 * found in the parent holds. -EAGAIN: the child runs another program already. */
int tracee_fork(const struct tracee *parent, pid_t pid, u32 slot, struct symbol_pool *pool,
                struct tracee **ret, struct error *err);
struct tracee *tracee_close(struct tracee *t); /* its links must be detached */
void tracee_closep(struct tracee **t);

/* Does any probe need a session (a function that may throw)? */
bool tracee_may_throw(const struct tracee *t);
/* Leave functions that may throw out, when that has a reason on this target or
 * kernel (see tracee.c). */
void tracee_decide_throws(struct tracee *t, bool engine_has_sessions);

/* Run-time address - vaddr in @module; false: it is not mapped any more. */
bool tracee_find_bias(const struct tracee *t, const struct symbol_module *module, u64 *ret);
/* Code that belongs to the allocators, at run-time addresses, sorted; malloc'ed. */
int tracee_internal_ranges(const struct tracee *t, struct alloc_range **ret, size_t *ret_n,
                           struct error *err);
/* Tell the engine about the modules and what is internal. */
int tracee_publish(struct tracee *t, struct engine_bpf *e, struct modules *m, struct error *err);
/* Count only / record: attach what is not attached yet. */
int tracee_attach_counting(struct tracee *t, struct engine_bpf *e, struct error *err);
int tracee_attach(struct tracee *t, struct engine_bpf *e, struct error *err);
void tracee_detach(struct tracee *t);
/* In the background (the process has ended), or together with others' links. */
void tracee_detach_later(struct tracee *t, struct engine_bpf *e);
int tracee_give_links(struct tracee *t, struct engine_bpf_links *to, struct error *err);
/* The process forks: from now on its children must not keep our breakpoints. */
int tracee_expect_forks(struct tracee *t, struct engine_bpf *e, struct error *err);
/* Links that have been replaced go once no call needs them; to be called now and then. */
void tracee_end_replaced(struct tracee *t, struct engine_bpf *e, u64 now_ns);

/* The maps have changed: new modules, perhaps with new allocators. */
int tracee_refresh(struct tracee *t, struct engine_bpf *e, struct modules *m, struct error *err);

/* Only look at the maps, for the names of what is recorded: at the end. */
void tracee_look_again(struct tracee *t, const struct engine_bpf *e);

/* What recorded pcs were in. */
const struct code_history *tracee_history(struct tracee *t);

/* Is it time to? Soon and often after the attach (a child may be short-lived),
 * then every second. */
bool tracee_names_are_due(struct tracee *t, u64 now_ns);
/* Learn names that will be gone with the process: threads, contexts, kind. */
void tracee_names_learn(struct tracee *t);
/* Names of @n contexts as of now, or as last known. */
int tracee_names_of_contexts(struct tracee *t, const u64 *addresses, size_t n, struct error *err);
const struct runtime_context *tracee_names_context(const struct tracee *t,
                                                   u64 address); /* or NULL */
