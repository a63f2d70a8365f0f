/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/slice.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLICE_NS = 200000, RESET_ON_FORK = 1 };

/* The kernel's struct sched_attr (include/uapi/linux/sched/types.h, its first version), which
 * some C libraries have and others have not. */
struct attributes {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime_ns, deadline_ns, period_ns;
};

void slice_make_short(void)
{
	struct attributes a = { .size = sizeof(a) };

	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) < 0 || a.policy != SCHED_OTHER)
		return;
	a.flags |= RESET_ON_FORK;
	a.runtime_ns = SLICE_NS;
	(void)!syscall(SYS_sched_setattr, 0, &a, 0);
}
