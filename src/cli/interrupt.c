/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

#include "base/clock.h"

enum { SLICE_NS = 200000000 };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
	/* who presses it twice does not want to wait for us */
	if (interrupted) {
		signal(number, SIG_DFL);
		raise(number);
	}
	interrupted = 1;
}

void interrupt_catch(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

bool interrupt_came(void)
{
	return interrupted;
}

/* In slices, as a signal may come just before we sleep. */
bool interrupt_sleep_until(uint64_t at_ns)
{
	for (uint64_t now = clock_now_ns(); !interrupted && now < at_ns; now = clock_now_ns()) {
		uint64_t left = at_ns - now < SLICE_NS ? at_ns - now : SLICE_NS;
		struct timespec ts = { .tv_nsec = (long)left };

		nanosleep(&ts, NULL);
	}
	return !interrupted;
}
