/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The sampling engine: the agent inside one process (agent/agent.c) draws blocks
 * with a probability that grows with their size, and keeps those that live in a
 * set in the target's memory; this reads the set, unwinds the stacks, and knows
 * how much each sample stands for.
 *
 * A block of s bytes is drawn with p = 1 - exp(-s/mean), so it stands for 1/p
 * blocks and s/p bytes: summed, that is unbiased whatever the sizes are. The mean
 * is the sample's own (alloc/agent_rate.h).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/agent_format.h"
#include "alloc/agent_exact.h"
#include "alloc/agent_health.h"
#include "alloc/agent_rate.h"
#include "alloc/agent_stacks.h"
#include "alloc/alloc.h"
#include "alloc/budget.h"
#include "alloc/tracee.h"
#include "base/error.h"
#include "inject/inject.h"
#include "target/maps_moved.h"

enum { ENGINE_AGENT_DEFAULT_MEAN = 512 * 1024 };

/* One sampled block that lived at the last look. */
struct engine_agent_block {
	u64 size, seq; /* seq: with the rate (AGENT_SEQ_RATE) */
	u64 asked;     /* what its chance was, agent_format.h */
	u64 context;   /* 0: none */
	u64 birth_ns;  /* when its sample was read */
	u32 stack;     /* 0: not stored */
};

struct engine_agent {
	struct tracee *tracee;
	struct inject *inject;
	u64 base;
	struct agent_rate rate;
	struct agent_table table;
	struct maps_moved moved; /* --patch page; empty: none */
	struct agent_stacks *stacks;
	struct agent_record record; /* the one that is being read */

	/* samples whose stack is known: seq -> index */
	struct engine_agent_block *samples;
	size_t n_samples, cap_samples;
	struct hash_map by_seq;

	/* the last look at the set, and when it was */
	struct engine_agent_block *blocks;
	size_t n_blocks, cap_blocks;
	u64 looked_ns, look_every_ns;
	double held; /* bytes that they stand for */
	u64 torn;    /* entries that could not be read whole */
	struct agent_health health;

	struct agent_counters counters; /* as last read */
	u64 begun_ns, begun_tsc;        /* to know how fast the time stamp counter goes */
	u64 renewed_ns, checked_ns;
	u64 claims_seen, tended_ns;
	u64 expired_seen, countdowns_ns; /* when old countdowns were last looked for */
	bool stacks_cut;    /* since tended_ns a stack was copied whose end was not known */
	unsigned n_drained; /* records at the last time */
	u64 stopped_ns;     /* the longest that the target stood still */
	u64 peak;           /* most held at a look */
	/* --peak: blocks, and looked_ns, when all processes together held most */
	struct engine_agent_block *peak_blocks;
	size_t n_peak_blocks;
	u64 peak_looked_ns;

	/* exact mode; NULL: it samples */
	struct agent_exact_run *exact;
	u64 exact_look_ns, exact_look_cost_ns; /* of its set */

	struct budget budget;
	u64 grant;    /* cycles that the agent may have spent */
	double calls; /* that the samples which were read stand for */
	u64 n_read;
	u64 rated_ns; /* when the rate was last thought about, and what was spent then */
	double rated_visits_ns, rated_passing_ns, rated_cpu_ns;
	u64 rated_samples, rated_slow;

	bool attached;
	char patch_lost[RUNTIME_PROBE_NAME_BYTES]; /* somebody changed this function: ended */
	bool left;                                 /* detached, but its place is still mapped */
};

/* May the agent's system calls be made in @t? 0, or -errno with the reason. Only looks. */
int engine_agent_check_calls(const struct target *t, struct error *err);
/* How many functions of @t's allocator can be patched (1 at least), or -errno with the
 * reason. Only looks. One where another memwho's agent is still in is taken for possible. */
int engine_agent_check_code(struct tracee *t, struct error *err);

/* Patch the allocators of @t. Of @o: the mean of bytes between samples, or exact mode, and
 * its table_entries. What cannot be done is refused before anything is changed. */
int engine_agent_open(struct tracee *t, const struct alloc_options *o, struct engine_agent **ret,
                      struct error *err);
/* Undoes everything. */
struct engine_agent *engine_agent_close(struct engine_agent *e);
void engine_agent_detach(struct engine_agent *e);

/* Keep what was held at the last look. -ENOMEM: what was kept before stays. */
int engine_agent_keep_peak(struct engine_agent *e, struct error *err);
/* That in place of the last look, and back again. */
void engine_agent_swap_peak(struct engine_agent *e);

/* Draw by another line of the table of rates from now on. */
int engine_agent_set_rate(struct engine_agent *e, unsigned line, struct error *err);

/* How long may it be left alone now, in ns? Until its records may be half full. */
u64 engine_agent_rest_ns(const struct engine_agent *e);

/* Read what has come, keep the agent alive. *ended is set when the target has ended. */
int engine_agent_poll(struct engine_agent *e, int timeout_ms, enum alloc_ended *ended,
                      struct error *err);
