/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Ask the scheduler for short slices: on a busy machine this thread then begins earlier when
 * it has something to do, and gets no more time than before. Children have the usual ones. It
 * takes effect since Linux 6.12, without any privilege (kernel/sched/syscalls.c, sched_runtime
 * of SCHED_OTHER); where it does not, nothing changes. */
void slice_make_short(void);
