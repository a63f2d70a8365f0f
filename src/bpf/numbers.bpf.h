/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * Process and thread numbers as memwho knows them. The kernel's helpers speak
 * of the first pid namespace; memwho in a container sees that container's
 * numbers in /proc, and gives and takes those.
 */

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "bpf/types.h"

#ifndef bpf_core_field_offset /* libbpf 0.5 */
#define bpf_core_field_offset(type, field)                                                         \
	__builtin_preserve_field_info(((type *)0)->field, BPF_FIELD_BYTE_OFFSET)
#endif

/* memwho's own namespace: its depth (0: the first one) and its identity. */
u32 numbers_level;
u64 numbers_namespace;

/* include/linux/pid.h: numbers[] has one entry for each namespace down to the
 * process's own. 0: it has no number in ours. */
static __noinline u32 numbers_translate(struct task_struct *task)
{
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	u64 at = bpf_core_field_offset(struct pid, numbers) +
	         numbers_level * (u64)bpf_core_type_size(struct upid);
	struct upid n;
	u32 level;

	if (bpf_core_read(&level, sizeof(level), &pid->level) || level < numbers_level ||
	    bpf_core_read(&n.nr, sizeof(n.nr), &((struct upid *)((void *)pid + at))->nr) ||
	    bpf_core_read(&n.ns, sizeof(n.ns), &((struct upid *)((void *)pid + at))->ns) ||
	    (u64)n.ns != numbers_namespace)
		return 0;
	return n.nr;
}

static __always_inline u32 numbers_tid(void)
{
	if (!numbers_level)
		return (u32)bpf_get_current_pid_tgid();
	return numbers_translate((void *)bpf_get_current_task());
}

static __always_inline u32 numbers_group(struct task_struct *task)
{
	if (!numbers_level)
		return BPF_CORE_READ(task, tgid);
	return numbers_translate(BPF_CORE_READ(task, group_leader));
}

/* Run once by memwho itself (BPF_PROG_TEST_RUN), never attached. */
SEC("raw_tp/sched_process_exit")
int numbers_learn(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	struct upid *last;
	u32 level = 0;

	if (bpf_core_read(&level, sizeof(level), &pid->level))
		return 0;
	last = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
	       level * (u64)bpf_core_type_size(struct upid);
	bpf_core_read(&numbers_namespace, sizeof(numbers_namespace), &last->ns);
	numbers_level = level;
	return 0;
}
