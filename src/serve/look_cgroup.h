/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A memory cgroup that somebody looks at (look.h). All who look at the same one
 * share it: it is read once a second, whatever their number. Its limit and its
 * memory.stat, which is dear, are read every ten seconds, or when usage has
 * moved by a megabyte.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "serve/trigger_rule.h"

/* -1: not known. */
struct look_cgroup_figures {
	uint64_t read_ns;    /* other than before: they are new */
	int64_t usage_bytes; /* less inactive files */
	int64_t limit_bytes, oom_kills;
	double pressure;
};

struct look_cgroup;

/* That of a process; where it has none that can be seen, its figures stay unknown. */
int look_cgroup_join(pid_t pid, struct look_cgroup **ret, struct error *err);
struct look_cgroup *look_cgroup_leave(struct look_cgroup *l); /* NULL is fine; returns NULL */

/* Kills and pressure are read only if some rule asks for them. */
void look_cgroup_need(struct look_cgroup *l, const struct trigger_rule *r);
/* The figures stay where they are until the next call. @now_ns: as look_sample()'s. */
const struct look_cgroup_figures *look_cgroup_read(struct look_cgroup *l, uint64_t now_ns);
