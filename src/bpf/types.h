/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * Types for BPF programs, without vmlinux.h: the few kernel structs that are
 * read name only the fields that are used, and CO-RE finds where the running
 * kernel has them.
 */

#include <linux/bpf.h>

/* asm/ptrace.h has the names that bpf_tracing.h expects in user space */
#include <asm/ptrace.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s64 s64;

/* The compiler forgets what it knows about @x, so that the value it checks is
 * the value it uses. */
#define ONE_COPY(x) __asm__ volatile("" : "+r"(x))

/* bpf_loop (Linux 5.17) by its number: Ubuntu 22.04's libbpf has no name for it. */
static long (*const helper_loop)(u32 n, void *step, void *ctx, u64 flags) = (void *)181;

#define TRUE_SIZE __attribute__((preserve_access_index))

struct return_instance {
	unsigned long stack;
	unsigned long orig_ret_vaddr;
	_Bool chained;
	struct return_instance *next;
} TRUE_SIZE;

struct uprobe_task {
	struct return_instance *return_instances;
} TRUE_SIZE;

struct xol_area {
	unsigned long vaddr;
} TRUE_SIZE;

struct uprobes_state {
	struct xol_area *xol_area;
} TRUE_SIZE;

struct mm_struct {
	struct uprobes_state uprobes_state;
	unsigned long brk;
} TRUE_SIZE;

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
} TRUE_SIZE;

struct vm_area_struct {
	unsigned long vm_end;
} TRUE_SIZE;

struct upid {
	int nr;
	struct pid_namespace *ns;
} TRUE_SIZE;

struct pid {
	unsigned int level;
	struct upid numbers[1];
} TRUE_SIZE;

struct task_struct {
	int pid, tgid;
	struct pid *thread_pid;
	struct task_struct *group_leader;
	struct mm_struct *mm;
	struct uprobe_task *utask;
	struct signal_struct *signal;
} TRUE_SIZE;
