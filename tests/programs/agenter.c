/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The sampling engine by hand, for the tests:
 *
 *	agenter [-k STEP] [-m MEAN] PID record MS	attach, run so long, detach
 *	agenter [-k STEP] PID clean			what memwho detach does
 *	agenter PID look				an agent's counters; 4: none is there
 *
 * -k: be killed before this step. Prints "name value" lines.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/agent_place.h"
#include "alloc/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "kill_step.h"

static int fail(const struct error *err)
{
	error_print(err, stderr);
	return 1;
}

static int record(pid_t pid, uint64_t mean, unsigned ms)
{
	const struct alloc_options o = {
		.engine = ALLOC_ENGINE_AGENT,
		.sample_bytes = mean,
		.symbols = { .no_debuginfod = true, .no_inline = true },
	};
	const uint64_t until = clock_now_ns() + ms * UINT64_C(1000000);
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	cleanup(profile_freep) struct profile *p = NULL;
	const struct alloc_filter filter = { 0 };
	enum alloc_ended ended = ALLOC_RUNNING;
	struct error err;

	if (alloc_start(&pid, 1, &o, false, &r, &err) < 0)
		return fail(&err);
	printf("attached_at %ld\n", n_steps);
	while (!ended && clock_now_ns() < until) {
		if (alloc_poll(r, 20, &ended, &err) < 0)
			return fail(&err);
	}
	printf("detached_at %ld\n", n_steps);
	if (alloc_result(r, ended ? ended : ALLOC_ENDED_DURATION, &filter, &p, &err) < 0)
		return fail(&err);
	printf("held %" PRId64 "\nended %s\n", profile_total(p, PROFILE_INUSE_SPACE),
	       alloc_ended_text(ended));
	return 0;
}

static int clean(const struct target *t)
{
	struct error err;
	int agent = agent_place_clean(t, &err), area = agent < 0 ? agent : inject_clean(t, &err);

	if (area < 0)
		return fail(&err);
	printf("agent %d\narea %d\n", agent, area);
	return 0;
}

static int look(const struct target *t)
{
	struct agent_control control;
	struct agent_counters c;
	struct error err;
	uint64_t base = agent_place_find(t, 0, &err), data = base + AGENT_CODE_BYTES;

	if (!base)
		return 4;
	if (agent_place_read(t, data, &control, sizeof(control)) < 0 ||
	    agent_place_read(t, data + offsetof(struct agent_data, counters), &c, sizeof(c)) < 0)
		return 5;
	printf("base 0x%" PRIx64 "\nstate %u\nsamples %llu\nexpired %llu\nslow_calls %llu\n"
	       "claims %llu\n",
	       base, control.state, c.samples, c.expired, c.slow_calls, c.claims);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup(target_closep) struct target *t = NULL;
	struct error err;
	uint64_t mean = 0;
	int c, r;

	steps_hook = step;
	while ((c = getopt(argc, argv, "+k:m:")) > 0) {
		switch (c) {
		case 'k': kill_step = strtol(optarg, NULL, 10); break;
		case 'm': mean = strtoull(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (argc - optind < 2)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (target_open((pid_t)strtol(argv[optind], NULL, 10), &t, &err) < 0)
		return fail(&err);
	if (!strcmp(argv[optind + 1], "clean"))
		r = clean(t);
	else if (!strcmp(argv[optind + 1], "look"))
		r = look(t);
	else
		r = record(t->pid, mean,
		           argc - optind > 2 ? (unsigned)atoi(argv[optind + 2]) : 100);
	printf("steps %ld\n", n_steps);
	return r;
}
