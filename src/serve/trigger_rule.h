/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * When a capture is made by itself, as a person writes it:
 *
 *	growth 256M [of anon|cgroup|allocated] in 10m
 *	above 80% of limit | above 2G [of anon|cgroup|allocated]
 *	eta 15m to limit
 *	held-growth 64M by stack [in 10m]
 *	pressure 10%
 *	oom
 *
 * Sizes are powers of 1024 (K, M, G, T), times s, m, h, d.
 */

#include <stdint.h>

#include "base/error.h"

enum trigger_kind {
	TRIGGER_GROWTH,
	TRIGGER_ABOVE_PART, /* of the limit */
	TRIGGER_ABOVE_SIZE,
	TRIGGER_ETA,
	TRIGGER_HELD,
	TRIGGER_PRESSURE, /* tasks of the cgroup wait for memory, part of the last 10 s (PSI) */
	TRIGGER_OOM,      /* a process of the cgroup was killed for want of memory */
};

enum trigger_source {
	TRIGGER_ANON,      /* resident pages without a file, of one process */
	TRIGGER_CGROUP,    /* what its memory cgroup is charged, less what is easily taken back */
	TRIGGER_ALLOCATED, /* what its allocator has given out */
	TRIGGER_N_SOURCES,
};

struct trigger_rule {
	enum trigger_kind kind;
	enum trigger_source source;
	uint64_t bytes;
	double part;        /* of the limit, of the time: 0 to 1 */
	uint64_t window_ns; /* "in", or the time to the limit */
};

/* -EINVAL: which word is wrong, and what it should have been (the hint). @text is
 * hostile. */
int trigger_rule_parse(const char *text, struct trigger_rule *ret, struct error *err);

/* One word for metrics and names of captures: "growth", "limit", "eta" ... */
const char *trigger_rule_name(const struct trigger_rule *r);
