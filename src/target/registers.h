/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The registers of a stopped thread by what they are for: with freeze_regs.c the
 * only place of this folder that knows the machine's names for them. x86-64 and
 * arm64; a third machine is added here and in machine.bpf.h, inject/stub*.c,
 * unwind/ and runtime/go/go_machine.h.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

/* REGISTERS_DWARF: how many DWARF numbers have a general register, pc among them. */
#if defined(__x86_64__)
enum { REGISTERS_MACHINE = 62, /* EM_X86_64 */ REGISTERS_DWARF = 17 };
/* int3; the pc stands behind it afterwards */
enum { BREAKPOINT_CODE = 0xcc, BREAKPOINT_MASK = 0xff, BREAKPOINT_PC_BEHIND = 1 };
#define REGISTERS_MACHINE_NAME "x86-64"
#elif defined(__aarch64__)
enum { REGISTERS_MACHINE = 183, /* EM_AARCH64 */ REGISTERS_DWARF = 33 };
/* brk #0; the pc stands on it afterwards */
#define BREAKPOINT_CODE        0xd4200000u
#define BREAKPOINT_MASK        0xffffffffu
enum { BREAKPOINT_PC_BEHIND = 0 };
#define REGISTERS_MACHINE_NAME "arm64"
#else
#error "memwho knows x86-64 and arm64"
#endif

uint64_t registers_pc(const struct user_regs_struct *r);
void registers_set_pc(struct user_regs_struct *r, uint64_t pc);
uint64_t registers_sp(const struct user_regs_struct *r);
uint64_t registers_frame(const struct user_regs_struct *r); /* frame pointer: rbp, x29 */
uint64_t registers_tls(const struct user_regs_struct *r);   /* 0: not among them (arm64) */

/* In code of 64 bits? */
bool registers_are_64_bit(const struct user_regs_struct *r);

/* All by DWARF number (x86-64: System V ABI, figure 3.36, 16 is the return address column: pc;
 * arm64: DWARF for the Arm 64-bit Architecture, 4.1, 31 sp, 32 pc). */
void registers_by_dwarf(const struct user_regs_struct *r, uint64_t ret[REGISTERS_DWARF]);

/*
 * The system call that a stop interrupted: its number, -1 for none, and what it
 * would return. arm64 does not show it among these registers: always -1.
 */
int64_t registers_call(const struct user_regs_struct *r);
int64_t registers_result(const struct user_regs_struct *r);
/* Back onto its system call instruction, to make call @number. */
void registers_call_again(struct user_regs_struct *r, int64_t number);
/* The kernel is to restart nothing by itself. */
void registers_forget_call(struct user_regs_struct *r);

/* Of thread @tid, which we trace and which stands still: 0, or -1 with errno, as ptrace(2). */
int registers_read(pid_t tid, struct user_regs_struct *ret);
int registers_write(pid_t tid, const struct user_regs_struct *r);
