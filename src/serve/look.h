/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a trigger is told about a process: cheap looks, from files that stay
 * open. A file of /proc belongs to the process that was there when it was
 * opened, so a pid that is used again is never mistaken.
 *
 * The surprising rule: not every look reads. Resident memory is read at each
 * (1 to 3 us), but the longer it has hardly moved the fewer, once a second at
 * least (hardly is a 64th of what its rules wait for, in a tenth of a second);
 * the cgroup once a second, its limit every ten.
 *
 * Sources: fs/proc/array.c (statm), Documentation/admin-guide/cgroup-v1/memory.rst
 * and cgroup-v2.rst, Documentation/accounting/psi.rst of Linux 6.18.
 */

#include <sys/types.h>

#include "base/error.h"
#include "serve/trigger.h"

struct look;

/* -ESRCH: no such process. Without a memory cgroup its figures stay unknown. */
int look_open(pid_t pid, struct look **ret, struct error *err);
struct look *look_close(struct look *l); /* NULL is fine; returns NULL */
void look_closep(struct look **l);

/* From now on it is for this rule, too: kills and pressure are read if it asks for them, resident
 * memory as often as it needs. */
void look_need(struct look *l, const struct trigger_rule *r);
/* To be called ten times a second or less often. Returns 1, or 0 when nothing
 * was read: *ret is as before, and rules need not be asked; -ESRCH: the process has ended.
 * TRIGGER_ALLOCATED is left unknown: its allocator's reader knows it. */
int look_sample(struct look *l, uint64_t now_ns, struct trigger_sample *ret);

/* Texts of the kernel's files into a sample; for tests. Unknown where it is not said. */
void look_parse_stat(const char *memory_stat, bool is_v2, uint64_t *inactive_file, int64_t *limit);
double look_parse_pressure(const char *text);                 /* avg10 of "some", 0 to 1; < 0 */
int64_t look_parse_number(const char *text, const char *key); /* "key N"; -1 */
