/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A process's jemalloc, told what to do and asked what it knows, by calls of its
 * own mallctl(). The surprising rule: its profiler can be switched on only where
 * the process was started with opt.prof (MALLOC_CONF=prof:true, prof_active:false
 * costs next to nothing); everything else works in any jemalloc.
 *
 * A session holds the process by one open transaction (inject.h): at most one
 * memwho at a time, and no thread stands still but for single calls.
 */

#include <sys/types.h>

#include "capture/heaps.h"
#include "profile/profile.h"
#include "runtime/jemalloc/jemalloc_control.h"
#include "runtime/jemalloc/jemalloc_stats.h"

struct capture_je {
	struct heaps_session heaps;
	struct inject *in;
	struct jemalloc_control control;
};

/* Only to be looked at from outside (heaps.h): nothing is called, ->in is NULL. */
int capture_je_look(pid_t pid, struct capture_je **ret, struct error *err);
/* -ENOTSUP: no jemalloc that can be called, or a filter forbids a call; -EBUSY, -EPERM: as
 * inject_open() says. @timeout_ms: for one call; 0: 30 s. */
int capture_je_open(pid_t pid, unsigned timeout_ms, struct capture_je **ret, struct error *err);
struct capture_je *capture_je_close(struct capture_je *c);
void capture_je_closep(struct capture_je **c);

/* What its profiler is and does. */
struct capture_je_state {
	char version[64];   /* "5.3.0-0-g54eaed1d8b56b1aa528be3bdd1877e59c56fa90c" */
	bool is_built;      /* config.prof */
	bool is_on;         /* opt.prof: the process was started with it */
	bool is_active;     /* prof.active */
	bool accumulates;   /* opt.prof_accum: what was freed is in a profile, too */
	uint64_t lg_sample; /* one sample in 2^lg_sample bytes */
	int64_t dirty_decay_ms, muzzy_decay_ms; /* of new arenas; -1: never */
	uint64_t n_arenas;
};
int capture_je_state(struct capture_je *c, struct capture_je_state *ret, struct error *err);

/* -ENOTSUP with the way out where there is no profiler to switch. *was: active before. */
int capture_je_activate(struct capture_je *c, bool on, bool *was, struct error *err);
/* Forget all samples; from now on one in 2^@lg_sample bytes (-1: as before). */
int capture_je_reset(struct capture_je *c, int lg_sample, struct error *err);

/* What its profiler holds now, with names, without jemalloc's own frames. */
int capture_je_profile(struct capture_je *c, struct profile **ret, struct error *err);

/* Was a process started with opt.prof? 1 yes; 0 no, or not known. Read from outside, nothing is
 * called. Errors: the process is gone, or may not be looked at. */
int capture_je_has_profiler(pid_t pid, struct error *err);
/* Is there a jemalloc in it of which no function has a name, so that no recorder sees it? */
bool capture_je_is_nameless(pid_t pid);
/* What the profiler of such a process holds: 1; 0: it has none, or that is off and holds nothing.
 * Errors are those of calls. */
int capture_je_own(pid_t pid, struct profile **ret, struct error *err);

/* MALLCTL_ARENAS_ALL of jemalloc 5 (include/jemalloc/jemalloc_macros.h.in), in names */
#define CAPTURE_JE_ALL_ARENAS "4096"
#define CAPTURE_JE_HEAP       "jemalloc" /* its name in @before and @after */

/* Free pages: what was predicted (dirty and muzzy pages that are there), and what the process had
 * before and after. */
struct capture_je_purge {
	int64_t predicted_bytes; /* -1: not known */
	struct heaps before, after;
};
void capture_je_purge_clear(struct capture_je_purge *p); /* { 0 } is empty */
int capture_je_purge(struct capture_je *c, struct capture_je_purge *ret, struct error *err);
/* The allocator's tree by arenas and size classes, read from outside: nothing is called. */
int capture_je_stats(struct capture_je *c, struct jemalloc_stats_list *ret, struct error *err);
