/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What triggers cost: looker N SECONDS MIB starts N processes, of which each takes or gives back
 * so much between two looks (0: none), looks at each ten times a second with three rules, and
 * prints the CPU time of that, in parts of one CPU, and the looks that it made. */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "serve/look.h"
#include "serve/trigger.h"

enum { MAX = 1000, RULES = 3 };

static const char *const rules[RULES] = { "growth 256M in 10m", "above 80% of limit",
	                                  "eta 15m to limit" };
static pid_t pids[MAX];
static struct look *looks[MAX];
static struct trigger triggers[MAX][RULES];

static void sleep_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 },
	          NULL);
}

/* @moving: MiB that come or go between two looks. */
static void live(int moving)
{
	size_t bytes = (size_t)moving << 20;
	char *p = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (!moving)
		pause();
	for (int i = 0;; i++) {
		if (i % 2)
			madvise(p, bytes, MADV_DONTNEED);
		else
			memset(p, 1, bytes);
		sleep_ns(100000000);
	}
}

static int start(int i, int moving)
{
	struct error err;

	pids[i] = fork();
	if (!pids[i])
		live(moving);
	if (look_open(pids[i], &looks[i], &err) < 0)
		return -1;
	for (int k = 0; k < RULES; k++) {
		struct trigger_rule r;

		if (trigger_rule_parse(rules[k], &r, &err) < 0)
			return -1;
		trigger_init(&triggers[i][k], &r, &(struct trigger_policy){ 0 });
		look_need(looks[i], &r);
	}
	return 0;
}

static void look_at_all(int n)
{
	char reason[TRIGGER_REASON_BYTES];
	struct trigger_sample s;
	uint64_t now = clock_now_ns();

	for (int i = 0; i < n; i++) {
		if (look_sample(looks[i], now, &s) <= 0)
			continue;
		for (int k = 0; k < RULES; k++)
			trigger_look(&triggers[i][k], now, &s, reason);
	}
}

int main(int argc, char **argv)
{
	int n = argc == 4 ? (int)strtol(argv[1], NULL, 10) : 0;
	double seconds = argc == 4 ? strtod(argv[2], NULL) : 0;
	uint64_t begin, cpu, rounds = 0;

	if (n < 1 || n > MAX)
		return 2;
	for (int i = 0; i < n; i++)
		if (start(i, (int)strtol(argv[3], NULL, 10)) < 0)
			return 1;
	for (int i = 0; i < 250; i++) { /* until it knows which are quiet */
		look_at_all(n);
		sleep_ns(20000000);
	}
	begin = clock_now_ns();
	cpu = clock_self_cpu_ns();
	for (; (double)(clock_now_ns() - begin) < seconds * 1e9; rounds++) {
		look_at_all(n);
		sleep_ns(100000000);
	}
	printf("%.6f %llu\n",
	       (double)(clock_self_cpu_ns() - cpu) / (double)(clock_now_ns() - begin),
	       (unsigned long long)rounds * (unsigned long long)n);
	for (int i = 0; i < n; i++) {
		kill(pids[i], SIGKILL);
		look_close(looks[i]);
	}
	return 0;
}
