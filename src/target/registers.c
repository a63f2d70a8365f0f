/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/registers.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#if defined(__x86_64__)

enum {
	USER_CODE_64 = 0x33, /* __USER_CS (arch/x86/include/asm/segment.h) */
	SYSCALL_BYTES = 2,   /* 0f 05 */
};

uint64_t registers_pc(const struct user_regs_struct *r)
{
	return r->rip;
}

void registers_set_pc(struct user_regs_struct *r, uint64_t pc)
{
	r->rip = pc;
}

uint64_t registers_sp(const struct user_regs_struct *r)
{
	return r->rsp;
}

uint64_t registers_frame(const struct user_regs_struct *r)
{
	return r->rbp;
}

uint64_t registers_tls(const struct user_regs_struct *r)
{
	return r->fs_base;
}

bool registers_are_64_bit(const struct user_regs_struct *r)
{
	return r->cs == USER_CODE_64;
}

void registers_by_dwarf(const struct user_regs_struct *r, uint64_t ret[REGISTERS_DWARF])
{
	const uint64_t by_number[REGISTERS_DWARF] = {
		r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8,
		r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip,
	};

	memcpy(ret, by_number, sizeof(by_number));
}

int64_t registers_call(const struct user_regs_struct *r)
{
	return (int64_t)r->orig_rax < 0 ? -1 : (int64_t)r->orig_rax;
}

int64_t registers_result(const struct user_regs_struct *r)
{
	return (int64_t)r->rax;
}

void registers_call_again(struct user_regs_struct *r, int64_t number)
{
	r->rax = (uint64_t)number;
	r->rip -= SYSCALL_BYTES;
}

void registers_forget_call(struct user_regs_struct *r)
{
	r->orig_rax = -1;
}

/* Not PTRACE_GETREGSET: a thread in 32-bit code would have another layout there. */
int registers_read(pid_t tid, struct user_regs_struct *ret)
{
	return ptrace(PTRACE_GETREGS, tid, NULL, ret) < 0 ? -1 : 0;
}

int registers_write(pid_t tid, const struct user_regs_struct *r)
{
	return ptrace(PTRACE_SETREGS, tid, NULL, r) < 0 ? -1 : 0;
}

#else /* arm64: struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h) */

enum { FRAME_POINTER = 29, PSTATE_32_BIT = 0x10, DWARF_SP = 31, DWARF_PC = 32 };

uint64_t registers_pc(const struct user_regs_struct *r)
{
	return r->pc;
}

void registers_set_pc(struct user_regs_struct *r, uint64_t pc)
{
	r->pc = pc;
}

uint64_t registers_sp(const struct user_regs_struct *r)
{
	return r->sp;
}

uint64_t registers_frame(const struct user_regs_struct *r)
{
	return r->regs[FRAME_POINTER];
}

uint64_t registers_tls(const struct user_regs_struct *r)
{
	return 0;
}

bool registers_are_64_bit(const struct user_regs_struct *r)
{
	return !(r->pstate & PSTATE_32_BIT);
}

void registers_by_dwarf(const struct user_regs_struct *r, uint64_t ret[REGISTERS_DWARF])
{
	memcpy(ret, r->regs, sizeof(r->regs));
	ret[DWARF_SP] = r->sp;
	ret[DWARF_PC] = r->pc;
}

int64_t registers_call(const struct user_regs_struct *r)
{
	return -1;
}

int64_t registers_result(const struct user_regs_struct *r)
{
	return (int64_t)r->regs[0];
}

void registers_call_again(struct user_regs_struct *r, int64_t number)
{
	/* nobody asks for it: registers_call() never names one */
}

void registers_forget_call(struct user_regs_struct *r)
{
}

int registers_read(pid_t tid, struct user_regs_struct *ret)
{
	struct iovec v = { ret, sizeof(*ret) };

	if (ptrace(PTRACE_GETREGSET, tid, (void *)NT_PRSTATUS, &v) < 0)
		return -1;
	if (v.iov_len == sizeof(*ret))
		return 0;
	errno = ENOTSUP; /* those of a 32-bit program are fewer */
	return -1;
}

int registers_write(pid_t tid, const struct user_regs_struct *r)
{
	struct iovec v = { (void *)r, sizeof(*r) };

	return ptrace(PTRACE_SETREGSET, tid, (void *)NT_PRSTATUS, &v) < 0 ? -1 : 0;
}

#endif
