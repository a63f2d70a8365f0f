/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Text form of a probe plan -> micro-operations (bpf/plan_format.h has their
 * meaning). Words separated by blanks: "RET PTR ARG0 SIZE END"; a number is
 * attached to its word ("ADDI-8", "LD8:16", "ARG2"). */

#include "base/error.h"
#include "bpf/plan_format.h"

/* -EINVAL names the word that is wrong. The first END of a FREE or REALLOC ends
 * section 1; ALLOC and RESET have one section and may END early (after SKZ). */
int plan_compile(enum plan_role role, const char *text, struct plan_code *ret, struct error *err);

/* Which of the arguments 0..3 the plan reads, as bits: registers that a probe
 * point must find unchanged. */
unsigned plan_arguments(const struct plan_code *code);

/* Make the plan read argument a from where argument @where[a] was passed. */
void plan_move_arguments(struct plan_code *code, const unsigned char where[4]);

/* Run one section on known operands in user space: what the engines do, for
 * tests. @out gets PTR, SIZE, CTX, OLD. Returns 0, or -EFAULT when @read fails. */
int plan_run(const struct plan_code *code, unsigned from, const unsigned long long arg[4],
             unsigned long long ret,
             int (*read)(void *ctx, unsigned long long addr, void *buf, unsigned len), void *ctx,
             unsigned long long out[4]);
