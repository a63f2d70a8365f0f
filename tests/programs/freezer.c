/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Freezes a process again and again (target/freeze.h).
 *
 *	freezer PID TIMES HOLD_US PAUSE_US
 *
 * Prints "frozen N", "mean_us N", "max_us N"; an error is printed as memwho does.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "target/freeze.h"

static void sleep_us(long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };

	if (us)
		nanosleep(&t, NULL);
}

static int run(char **args, struct error *err)
{
	const long times = strtol(args[1], NULL, 10), hold = strtol(args[2], NULL, 10),
		   between = strtol(args[3], NULL, 10);
	uint64_t sum = 0, max = 0;
	struct target *t;
	int r = target_open(strtol(args[0], NULL, 10), &t, err);

	for (long i = 0; i < times && r == 0; i++) {
		struct freeze *f;
		uint64_t ns;

		r = freeze_target(t, 5000, &f, err);
		if (r < 0)
			break;
		sleep_us(hold);
		ns = freeze_ns(f);
		freeze_release(f);
		sum += ns;
		max = ns > max ? ns : max;
		sleep_us(between);
	}
	if (r == 0)
		printf("frozen %ld\nmean_us %" PRIu64 "\nmax_us %" PRIu64 "\n", times,
		       times ? sum / times / 1000 : 0, max / 1000);
	return r;
}

int main(int argc, char **argv)
{
	struct error err = { 0 };

	if (argc != 5) {
		fputs("usage: freezer PID TIMES HOLD_US PAUSE_US\n", stderr);
		return 2;
	}
	if (run(argv + 1, &err) < 0) {
		error_print(&err, stderr);
		return 1;
	}
	return 0;
}
