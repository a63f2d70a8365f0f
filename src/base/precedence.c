/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/precedence.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

enum { HIGHEST = -20 };

void precedence_take(struct precedence *ret)
{
	const struct sched_param lowest = { .sched_priority = 1 };
	struct sched_param now = { 0 };

	if (ret) {
		ret->policy = sched_getscheduler(0);
		ret->priority = sched_getparam(0, &now) == 0 ? now.sched_priority : 0;
		ret->nice = getpriority(PRIO_PROCESS, (id_t)gettid());
	}
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &lowest) < 0)
		setpriority(PRIO_PROCESS, (id_t)gettid(), HIGHEST);
}

void precedence_give_back(const struct precedence *before)
{
	const struct sched_param param = { .sched_priority = before->priority };

	if (before->policy >= 0)
		sched_setscheduler(0, before->policy, &param);
	setpriority(PRIO_PROCESS, (id_t)gettid(), before->nice);
}
