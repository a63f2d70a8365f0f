/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * What BPF programs must know of the machine: numbers of system calls, names of their
 * functions in the kernel, the registers that a call was made with, and those of a probe.
 */

#if defined(__TARGET_ARCH_x86)

/* arch/x86/entry/syscalls/syscall_64.tbl */
enum {
	NR_MMAP = 9,
	NR_MPROTECT = 10,
	NR_MUNMAP = 11,
	NR_BRK = 12,
	NR_MREMAP = 25,
	NR_MADVISE = 28,
	NR_SHMAT = 30,
	NR_CLONE = 56,
	NR_FORK = 57,
	NR_SHMDT = 67,
	NR_PRCTL = 157,
	NR_IO_SETUP = 206,
	NR_IO_DESTROY = 207,
	NR_REMAP_FILE_PAGES = 216,
	NR_PKEY_MPROTECT = 329,
	NR_CLONE3 = 435,
	NR_MAP_SHADOW_STACK = 453,
};
#define MACHINE_HAS_FORK
#define MACHINE_CALL_PREFIX "__x64_sys_"
#define machine_regs        pt_regs

static __always_inline void machine_call_args(const struct machine_regs *r, u64 arg[6])
{
	arg[0] = r->rdi;
	arg[1] = r->rsi;
	arg[2] = r->rdx;
	arg[3] = r->r10;
	arg[4] = r->r8;
	arg[5] = r->r9;
}

/* All that instructions can name, in their numbering. */
static __always_inline void machine_registers(const struct pt_regs *r, u64 to[16])
{
	to[0] = r->rax;
	to[1] = r->rcx;
	to[2] = r->rdx;
	to[3] = r->rbx;
	to[4] = r->rsp;
	to[5] = r->rbp;
	to[6] = r->rsi;
	to[7] = r->rdi;
	to[8] = r->r8;
	to[9] = r->r9;
	to[10] = r->r10;
	to[11] = r->r11;
	to[12] = r->r12;
	to[13] = r->r13;
	to[14] = r->r14;
	to[15] = r->r15;
}

static __always_inline u64 machine_call_number(const struct pt_regs *kernel)
{
	u64 nr = -1;

	bpf_probe_read_kernel(&nr, sizeof(nr), &kernel->orig_rax);
	return nr;
}

#elif defined(__TARGET_ARCH_arm64)

/* include/uapi/asm-generic/unistd.h; no fork, which is a clone there */
enum {
	NR_IO_SETUP = 0,
	NR_IO_DESTROY = 1,
	NR_PRCTL = 167,
	NR_SHMAT = 196,
	NR_SHMDT = 197,
	NR_BRK = 214,
	NR_MUNMAP = 215,
	NR_MREMAP = 216,
	NR_CLONE = 220,
	NR_MMAP = 222,
	NR_MPROTECT = 226,
	NR_MADVISE = 233,
	NR_REMAP_FILE_PAGES = 234,
	NR_PKEY_MPROTECT = 288,
	NR_CLONE3 = 435,
	NR_MAP_SHADOW_STACK = 453,
	NR_FORK = 1 << 16, /* never seen */
};
#define MACHINE_CALL_PREFIX "__arm64_sys_"
#define machine_regs        user_pt_regs

/*
 * struct pt_regs (arch/arm64/include/asm/ptrace.h): user_pt_regs, then the first
 * argument of the call, which the result overwrites, then its number.
 */
enum { REGS_ORIG_X0 = sizeof(struct user_pt_regs), REGS_SYSCALLNO = REGS_ORIG_X0 + 8 };

static __always_inline void machine_call_args(const struct machine_regs *r, u64 arg[6])
{
	for (int i = 0; i < 6; i++)
		arg[i] = r->regs[i];
}

/* Nobody makes plans with registers there so far. */
static __always_inline void machine_registers(const struct pt_regs *r, u64 to[16])
{
	(void)r;
	(void)to;
}

static __always_inline u64 machine_call_number(const struct pt_regs *kernel)
{
	int nr = -1;

	bpf_probe_read_kernel(&nr, sizeof(nr), (const char *)kernel + REGS_SYSCALLNO);
	return (s64)nr;
}

#else
#error "write this machine's system calls and registers"
#endif
