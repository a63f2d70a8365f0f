/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Who was chosen to be killed for want of memory, by the kernel's tracepoint
 * oom/mark_victim: it comes some 10 ms before the death, which is too late for a
 * capture, but says for certain why a process has ended. Counts of a cgroup
 * (memory.events) only say that somebody in it was killed.
 *
 * Source: include/trace/events/oom.h of Linux 6.18 (the field pid is there since 4.14).
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct oom;

/* NULL where it cannot be known: no tracefs, no right to perf events, another PID namespace than
 * the kernel's own, whose numbers the tracepoint has. Never an error. */
struct oom *oom_open(void);
struct oom *oom_close(struct oom *o); /* NULL is fine; returns NULL */
/* Take what the kernel has said; to be called every 100 ms. */
void oom_run(struct oom *o);
/* Was process @pid a victim within the last ten seconds? NULL @o: false. */
bool oom_has_killed(const struct oom *o, pid_t pid);
/* Victims so far. */
uint64_t oom_count(const struct oom *o);

/* Of the text of the tracepoint's `format` file: its id and where its pid is; for tests. */
bool oom_parse_format(const char *text, uint64_t *id, uint32_t *offset);
