/* SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause */
#pragma once

/*
 * Probe plans: an allocator described as data. Engines execute plans and know
 * no allocator; a runtime (runtime/) makes them. No includes: the header is
 * shared with BPF programs.
 *
 * A plan belongs to one function of an allocator. Its micro-operations work on
 * one accumulator; operands of a call are the first four integer arguments at
 * the function's entry and, after the call, the return value.
 *
 *   role     section 1 (up to the first END)      section 2 (after it)
 *   ALLOC    at return: PTR, SIZE, [CTX]           -
 *   REALLOC  at entry: OLD                         at return: PTR, SIZE, [CTX]
 *   FREE     at entry: PTR                         at entry, only for a pointer that is not
 *                                                  known: SIZE (bytes of an older block)
 *   RESET    at entry: CTX                         -
 *   MARK     at one instruction: PTR, SIZE, WEIGHT -
 *
 * MARK is a place at which a program says what it has allocated; so may FREE be. Operands
 * there are registers.
 * ALLOC with PTR 0 is a failed call. REALLOC with PTR 0 and SIZE > 0 failed:
 * the old block lives on; with SIZE 0 it freed it.
 */

enum plan_role { PLAN_NONE, PLAN_ALLOC, PLAN_FREE, PLAN_REALLOC, PLAN_RESET, PLAN_MARK };

enum plan_op {
	PLAN_END,    /* end of a section */
	PLAN_ARG,    /* acc = argument n (0..3) */
	PLAN_RET,    /* acc = return value */
	PLAN_IMM,    /* acc = imm */
	PLAN_ADDI,   /* acc += imm */
	PLAN_ANDI,   /* acc &= imm (sign-extended) */
	PLAN_SHRI,   /* acc >>= imm */
	PLAN_SHLI,   /* acc <<= imm */
	PLAN_LD8,    /* acc = 8 bytes at acc + imm */
	PLAN_LD4,    /* acc = 4 bytes at acc + imm, zero-extended */
	PLAN_ST,     /* tmp n (0..3) = acc */
	PLAN_LDT,    /* acc = tmp n */
	PLAN_ADD,    /* acc += tmp n */
	PLAN_SUB,    /* acc -= tmp n */
	PLAN_MUL,    /* acc *= argument n */
	PLAN_SHLV,   /* acc <<= tmp n */
	PLAN_SKZ,    /* skip the next n operations if acc is 0 */
	PLAN_SKNZ,   /* skip the next n operations if acc is not 0 */
	PLAN_PTR,    /* output: pointer */
	PLAN_SIZE,   /* output: size in bytes */
	PLAN_CTX,    /* output: context (pool) */
	PLAN_OLD,    /* output: old pointer of a realloc */
	PLAN_REG,    /* acc = register n (0..15, as instructions number them) at the place itself */
	PLAN_WEIGHT, /* output: bytes that a sampled block stands for */
	PLAN_N_OPS,
};

struct plan_uop {
	unsigned char op; /* enum plan_op */
	unsigned char n;
	unsigned short pad;
	int imm;
};

#define PLAN_MAX_UOPS 48

/* The function may leave by a C++ exception: a return probe would turn a throw
 * into std::terminate(). Engines that cannot decide call by call leave it out. */
#define PLAN_THROWS 1
/* Blocks are samples: what counts is the bytes that they stand for. */
#define PLAN_WEIGHTED 2

/* The function may leave by longjmp(), with its blocks as they were; and no other thread is
 * given the address of an old block before the function returns. */
#define PLAN_JUMPS 4

struct plan_code {
	unsigned int role;   /* enum plan_role */
	unsigned int flags;  /* PLAN_THROWS ... */
	unsigned int n;      /* operations in all */
	unsigned int second; /* index of section 2's first operation; 0: none */
	/* 1 + the argument with the bytes that are asked for, where SIZE is only known after
	 * the call; else 0. For engines that have to decide before it. */
	unsigned int asked;
	struct plan_uop uops[PLAN_MAX_UOPS];
};
