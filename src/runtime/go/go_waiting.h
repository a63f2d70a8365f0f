/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What a goroutine does, in the words of the runtime's own tracebacks: "chan receive", "running".
 */

#include <stdint.h>

enum go_waiting_status { /* runtime2.go: g.atomicstatus, without _Gscan */
	                 GO_STATUS_IDLE,
	                 GO_STATUS_RUNNABLE,
	                 GO_STATUS_RUNNING,
	                 GO_STATUS_SYSCALL,
	                 GO_STATUS_WAITING,
	                 GO_STATUS_DEAD = 6,
	                 GO_STATUS_COPYSTACK = 8,
	                 GO_STATUS_PREEMPTED = 9,
	                 GO_STATUS_LAST = 11,
	                 GO_STATUS_MASK = 0xfff,
};

/* @reason: g.waitreason; @minor: 26 for Go 1.26. Never NULL. */
const char *go_waiting_text(unsigned minor, uint32_t status, unsigned reason);
