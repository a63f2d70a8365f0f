/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where a thread's memory says which processor it is on: what glibc (2.35 and later) has
 * registered with the kernel for restartable sequences, at an offset from the thread pointer
 * that its loader publishes (__rseq_offset, the same for all threads of a process; __rseq_size
 * is 0 where nothing is registered: sys/rseq.h and the glibc manual, "Restartable Sequences").
 * The agent only reads it.
 */

#include <stdint.h>

#include "alloc/tracee.h"

/* For struct agent_table, cpu_at; 0: not known (another libc, an older or a stripped static
 * one, GLIBC_TUNABLES=glibc.pthread.rseq=0), or a machine with more than 255 processors. */
int64_t agent_cpu_find(const struct tracee *t);

/* The highest number in a list as /sys/devices/system/cpu/possible has it ("0-3,8"); -1: none. */
long agent_cpu_highest(const char *list);
