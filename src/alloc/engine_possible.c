/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_possible.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>

#include "alloc/engine_agent.h"
#include "alloc/tracee.h"
#include "base/cleanup.h"
#include "base/kernel.h"
#include "bpf/bpf_load.h"
#include "target/permission.h"
#include "target/proc.h"

/* ---- bpf ---- */

int engine_possible_bpf(const struct target *t, struct error *err)
{
	const enum kernel_answer bpf = kernel_has(KERNEL_BPF);

	if (bpf == KERNEL_UNKNOWN)
		return bpf_load_explain(-EPERM, err);
	if (bpf == KERNEL_NO || kernel_has(KERNEL_BTF) == KERNEL_NO ||
	    kernel_has(KERNEL_BPF_LOOP) == KERNEL_NO)
		return bpf_load_explain(-ENOTSUP, err);
	if (kernel_has(KERNEL_UPROBES) == KERNEL_NO)
		return error_set(err, ENOTSUP, "this kernel has no uprobes");
	return 0;
}

/* ---- the agent ---- */

/* What holds for every process of this user; Yama's words for ptrace_scope are in
 * Documentation/admin-guide/LSM/Yama.rst. */
static int machine_permits_agent(struct error *err)
{
	const int scope = permission_ptrace_scope();

#if !defined(__x86_64__)
	return error_set(err, ENOTSUP, "the agent is for x86-64 only, so far");
#endif
	if (scope >= 3)
		return error_set(err, EPERM,
		                 "kernel.yama.ptrace_scope is 3, which forbids looking into "
		                 "processes to everybody");
	if (scope == 0 || permission_has(CAP_SYS_PTRACE))
		return 0;
	if (scope == 2)
		return error_set(err, EPERM,
		                 "kernel.yama.ptrace_scope is 2 and CAP_SYS_PTRACE is "
		                 "missing");
	error_set(err, EPERM,
	          "kernel.yama.ptrace_scope is 1: only programs that memwho starts "
	          "itself can be looked into");
	return error_hint(err, "memwho run -- COMMAND, or: sudo sysctl kernel.yama.ptrace_scope=0");
}

static int memory_is_open(const struct target *t, struct error *err)
{
	cleanup_close int fd = openat(t->proc_fd, "mem", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return permission_explain(t->pid, t->proc_fd, PERMISSION_ATTACH, errno, err);
	return error_sys(err, errno, "memory of process %d", (int)t->pid);
}

/* A thread that stands still, or that a debugger holds, cannot make the agent's calls. */
static int it_runs_freely(const struct target *t, struct error *err)
{
	cleanup_free char *status = NULL;
	const char *tracer, *state;

	if (target_proc_file(t, "status", 1 << 16, &status, NULL, err) < 0)
		return err->code;
	tracer = proc_status_line(status, "TracerPid");
	state = proc_status_line(status, "State");
	if (tracer && strtol(tracer, NULL, 10) > 0)
		return error_set(err, EBUSY, "process %d is traced by process %ld", (int)t->pid,
		                 strtol(tracer, NULL, 10));
	if (state && state[0] == 'T')
		return error_set(err, EBUSY, "process %d is stopped", (int)t->pid);
	return 0;
}

int engine_possible_agent(const struct target *t, struct error *err)
{
	int r = 0;

	if (!t)
		return machine_permits_agent(err);
#if !defined(__x86_64__)
	r = error_set(err, ENOTSUP, "the agent is for x86-64 only, so far");
#endif
	if (r == 0)
		r = memory_is_open(t, err);
	if (r == 0)
		r = it_runs_freely(t, err);
	return r < 0 ? r : engine_agent_check_calls(t, err);
}

int engine_possible_patches(pid_t pid, const char *allocators, struct error *err)
{
	const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(tracee_closep) struct tracee *t = NULL;
	int r = symbol_pool_new(&options, &pool, err);

	if (r == 0)
		r = tracee_open(pid, 0, pool, allocators, &t, err);
	return r < 0 ? r : engine_agent_check_code(t, err);
}
