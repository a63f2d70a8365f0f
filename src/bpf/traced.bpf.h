/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/* Which processes are traced, and the ring in which the loader is told what
 * becomes of them. */

/* set by the loader before the load */
const volatile u8 follows = 0; /* children are taken in */

/* changed while running */
u64 modules_asked_ns;

/* traced thread groups, as the initial pid namespace numbers them -> slot. Two
 * may have the same where they share their memory (vfork, posix_spawn). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, STACK_MAX_PROCESSES);
	__type(key, u32);
	__type(value, u32);
} groups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 256 * 1024);
} events SEC(".maps");

/* May the loader be asked to look for new modules, at @now? Not more often than
 * every 50 ms. */
static __always_inline int may_ask_for_modules(u64 now)
{
	if (now - modules_asked_ns < 50000000)
		return 0;
	modules_asked_ns = now;
	return 1;
}
