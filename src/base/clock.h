/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Monotonic time. One surprising rule: it is the clock that BPF's
 * bpf_ktime_get_ns() reads, so both sides' times can be compared. */

#include <stdint.h>

uint64_t clock_now_ns(void);

/* CPU time that this process has used so far. */
uint64_t clock_self_cpu_ns(void);
