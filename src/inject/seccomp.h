/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a seccomp filter answers to a system call that is not made yet: its
 * program, classic BPF as the kernel hands it out, run on what the kernel would
 * give it. The surprising rule: anything that is not understood, and anything
 * that could not come from a kernel, is an answer, too: the worst one.
 *
 * Source: include/uapi/linux/{seccomp,filter}.h, kernel/seccomp.c
 * (seccomp_check_filter() says which instructions there are; of several filters
 * the strictest counts, seccomp_run_filters()), Linux 3.5 to 6.18.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/filter.h>
#include <linux/seccomp.h>

enum { SECCOMP_MAX_INSNS = 4096 /* BPF_MAXINSNS, of one filter */ };

/* What @code (@n instructions, hostile) returns for @d: SECCOMP_RET_* and 16 bits of data.
 * SECCOMP_RET_KILL_PROCESS for a program that no kernel accepts. Ends within @n steps, as jumps
 * only go forward. */
uint32_t seccomp_run(const struct sock_filter *code, size_t n, const struct seccomp_data *d);

/* Does the call happen, with nobody else asked? (SECCOMP_RET_ALLOW and _LOG.) */
bool seccomp_is_allowed(uint32_t answer);

/* What happens instead, as the end of a sentence: "kills the process". */
const char *seccomp_text(uint32_t answer);
