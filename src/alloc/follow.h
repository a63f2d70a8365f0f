/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the traced processes do while they are recorded: fork, exec, exit, load
 * code. Events are first taken off the kernel's ring, which must not fill up,
 * and then worked on, a little at a time: the table, the guard and Ctrl-C must
 * not wait for a storm of them.
 */

#include <stdbool.h>

#include "alloc/recorder.h"

/* For engine_bpf_poll(); @arg is the recorder. */
int follow_note(void *arg, const struct alloc_event *event);
/* Work on what is waiting, for about 20 ms (one event at least). */
void follow_work(struct alloc_recorder *r);
/* Is something waiting? */
bool follow_is_behind(const struct alloc_recorder *r);
/* The recording ends: children that still wait are counted as lost. */
void follow_give_up(struct alloc_recorder *r);
