/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_waiting.h"

#include <stddef.h>

#include "base/cleanup.h"

/* runtime2.go, waitReasonStrings: in the order of the constants, each with the first and the last
 * minor version that has it (0: the newest known). */
static const struct {
	const char *text;
	uint8_t from, to;
} reasons[] = {
	{ "waiting", 17, 0 },
	{ "GC assist marking", 17, 0 },
	{ "IO wait", 17, 0 },
	{ "chan receive (nil chan)", 17, 25 },
	{ "chan send (nil chan)", 17, 25 },
	{ "dumping heap", 17, 0 },
	{ "garbage collection", 17, 0 },
	{ "garbage collection scan", 17, 0 },
	{ "panicwait", 17, 0 },
	{ "select", 17, 25 },
	{ "select (no cases)", 17, 25 },
	{ "GC assist wait", 17, 0 },
	{ "GC sweep wait", 17, 0 },
	{ "GC scavenge wait", 17, 0 },
	{ "chan receive", 17, 25 },
	{ "chan send", 17, 25 },
	{ "finalizer wait", 17, 0 },
	{ "force gc (idle)", 17, 0 },
	{ "GOMAXPROCS updater (idle)", 25, 0 },
	{ "semacquire", 17, 0 },
	{ "sleep", 17, 0 },
	{ "chan receive (nil chan)", 26, 0 },
	{ "chan send (nil chan)", 26, 0 },
	{ "select (no cases)", 26, 0 },
	{ "select", 26, 0 },
	{ "chan receive", 26, 0 },
	{ "chan send", 26, 0 },
	{ "sync.Cond.Wait", 17, 0 },
	{ "timer goroutine (idle)", 17, 19 },
	{ "sync.Mutex.Lock", 20, 0 },
	{ "sync.RWMutex.RLock", 20, 0 },
	{ "sync.RWMutex.Lock", 20, 0 },
	{ "sync.WaitGroup.Wait", 24, 0 },
	{ "trace reader (blocked)", 17, 0 },
	{ "wait for GC cycle", 17, 0 },
	{ "GC worker (idle)", 17, 0 },
	{ "GC worker (active)", 20, 0 },
	{ "preempted", 17, 0 },
	{ "debug call", 17, 0 },
	{ "GC mark termination", 20, 0 },
	{ "stopping the world", 20, 0 },
	{ "flushing proc caches", 22, 0 },
	{ "trace goroutine status", 22, 0 },
	{ "trace proc status", 22, 0 },
	{ "page trace flush", 22, 0 },
	{ "coroutine", 22, 0 },
	{ "GC weak to strong wait", 23, 0 },
	{ "synctest.Run", 24, 0 },
	{ "synctest.Wait", 24, 0 },
	{ "chan receive (synctest)", 24, 24 },
	{ "chan send (synctest)", 24, 24 },
	{ "select (synctest)", 24, 24 },
	{ "chan receive (durable)", 25, 0 },
	{ "chan send (durable)", 25, 0 },
	{ "select (durable)", 25, 0 },
	{ "sync.WaitGroup.Wait (durable)", 25, 0 },
	{ "cleanup wait", 25, 0 },
};

static const char *reason_text(unsigned minor, unsigned reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (minor < reasons[i].from || (reasons[i].to && minor > reasons[i].to))
			continue;
		if (!reason--)
			return reasons[i].text;
	}
	return "waiting";
}

const char *go_waiting_text(unsigned minor, uint32_t status, unsigned reason)
{
	switch (status) {
	case GO_STATUS_IDLE: return "starting";
	case GO_STATUS_RUNNABLE: return "runnable";
	case GO_STATUS_RUNNING: return "running";
	case GO_STATUS_SYSCALL: return "syscall";
	case GO_STATUS_COPYSTACK: return "stack growth";
	case GO_STATUS_PREEMPTED: return "preempted";
	default: return reason_text(minor, reason);
	}
}
