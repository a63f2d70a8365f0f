/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * --follow of the agent: children of the recorded processes, theirs, and what they exec,
 * get an agent of their own. Who forks is said by the kernel (target/forks.h); where that
 * is not permitted /proc is looked at again and again, and a child that lives for less than
 * such a round is not seen, which the report says.
 *
 * A child's copy of the agent is off (agent_format.h): until it is taken in its calls pass.
 * A child that has its parent's memory (vfork) is left alone until it has its own.
 */

#include "alloc/recorder.h"

struct agent_follow;

/* Before the attach: children are known from now on. Does nothing without --follow. */
int agent_follow_begin(struct alloc_recorder *r, struct error *err);
/* See who is there; take in one at most. */
void agent_follow_work(struct alloc_recorder *r);
/* Another program runs in this process now. */
void agent_follow_exec(struct alloc_recorder *r, pid_t pid);
/* After that it is known who was there when it was called. */
void agent_follow_settle(struct alloc_recorder *r);
/* Does a child wait to be taken in? */
bool agent_follow_is_behind(const struct alloc_recorder *r);
/* The recording ends: children that still wait are counted as lost. */
void agent_follow_give_up(struct alloc_recorder *r);
int agent_follow_report(const struct alloc_recorder *r, struct report *to, struct error *err);
struct agent_follow *agent_follow_close(struct agent_follow *f);
