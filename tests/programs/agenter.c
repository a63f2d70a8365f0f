/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The sampling engine by hand, for the tests:
 *
 *	agenter [-k STEP] [-m MEAN] [-c MS] [-b] [-x] PID record MS	attach, run so long,
 *						detach; -c: change the rate every MS; -b: do not
 *						read what was there before
 *	agenter [-m MEAN] PID cycles N MS		that, N times; how long all threads stood
 *still agenter [-k STEP] PID clean			what memwho detach does agenter PID look
 *an agent's counters; 4: none is there
 *
 * -p: in copies of pages; -k: be killed before this step, -s: be stopped; -x: exact mode, -e
 *ENTRIES: with a set of about so many blocks. Prints "name value" lines; "site NAME BYTES VARIANCE"
 *for each stack with a function site_NAME.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "alloc/agent_place.h"
#include "alloc/alloc.h"
#include "alloc/recorder.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "kill_step.h"
#include "profile/interval.h"

enum { BEFORE_EVERY = 50 };

static int fail(const struct error *err)
{
	error_print(err, stderr);
	return 1;
}

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = alloc_interrupted = 1;
}

/* A sixteenth of the mean and 16 times, in steps of any size. */
static int change_rate(struct alloc_recorder *r, struct error *err)
{
	static const int lines[] = { 0, 8, -8, 4, -16, 16, -4, 1, -1, 12 };
	static size_t i;

	i = (i + 1) % (sizeof(lines) / sizeof(lines[0]));
	return engine_agent_set_rate(r->tracees[0]->agent, (unsigned)(AGENT_RATE_FIRST + lines[i]),
	                             err);
}

/* What happened while it ran. */
struct happened {
	unsigned rounds;  /* each compares the patches with what was written */
	unsigned looks;   /* at what is live, the first of them maybe as part of the attach */
	unsigned changes; /* of the rate */
	uint64_t looked_ns;
};

static void note_look(struct happened *h, const struct alloc_recorder *r)
{
	const uint64_t looked_ns = r->tracees[0]->agent->looked_ns;

	h->looks += looked_ns != h->looked_ns;
	h->looked_ns = looked_ns;
}

static int run_for(struct alloc_recorder *r, unsigned change_ms, unsigned ms,
                   enum alloc_ended *ended, struct error *err)
{
	uint64_t change_ns = clock_now_ns();
	const uint64_t until = change_ns + ms * UINT64_C(1000000);
	unsigned nap_ms = change_ms && change_ms < 20 ? change_ms : 20;
	struct happened h = { 0 };

	nap_ms = ms < nap_ms ? ms : nap_ms;
	note_look(&h, r);
	do {
		if (alloc_poll(r, (int)nap_ms, ended, err) < 0)
			return -1;
		h.rounds++;
		note_look(&h, r);
		if (!change_ms || clock_now_ns() - change_ns < change_ms * UINT64_C(1000000))
			continue;
		if (change_rate(r, err) < 0)
			return -1;
		h.changes += r->tracees[0]->agent->attached;
		change_ns = clock_now_ns();
	} while (!*ended && clock_now_ns() < until && !interrupted);
	printf("rounds %u\nlooks %u\nrate_changes %u\n", h.rounds, h.looks, h.changes);
	return 0;
}

static void print_site(const struct profile *p, const struct profile_sample *s)
{
	struct interval_types types;
	char text[256];

	if (!interval_find(p, PROFILE_INUSE_SPACE, &types))
		return;
	for (size_t i = 0; i < s->n_frames; i++) {
		const char *name = profile_frame_text(p, s->frames[i], text, sizeof(text));
		const struct interval_sum sum = interval_sum_of(p, &types, s->values);

		if (!strncmp(name, "site_", 5))
			printf("site %s %" PRId64 " %.0f\n", name + 5,
			       s->values[PROFILE_INUSE_SPACE], sum.variance);
	}
}

static void print(const struct profile *p, enum alloc_ended ended)
{
	printf("held %" PRId64 "\nended %s\n", profile_total(p, PROFILE_INUSE_SPACE),
	       alloc_ended_text(ended));
	for (size_t i = 0; i < profile_n_samples(p); i++) {
		const struct profile_sample s = profile_sample_at(p, i);

		print_site(p, &s);
	}
}

static void print_exact(const struct agent_exact_run *x)
{
	printf("objects %" PRIu64
	       "\nset_full %llu\nset_full_bytes %llu\nlate %llu\nlate_bytes %llu\n",
	       x->sums.objects, x->counters.set_full, x->counters.set_full_bytes, x->counters.late,
	       x->counters.late_bytes);
}

static int record(pid_t pid, struct alloc_options o, unsigned change_ms, unsigned ms)
{
	cleanup(alloc_freep) struct alloc_recorder *r = NULL;
	cleanup(profile_freep) struct profile *p = NULL;
	const struct alloc_filter filter = { 0 };
	enum alloc_ended ended = ALLOC_RUNNING;
	struct error err;

	if (alloc_start(&pid, 1, &o, false, &r, &err) < 0)
		return fail(&err);
	printf("attached_at %ld\n", n_steps);
	if (run_for(r, change_ms, ms, &ended, &err) < 0)
		return fail(&err);
	printf("detached_at %ld\n", n_steps);
	if (alloc_result(r, ended ? ended : ALLOC_ENDED_DURATION, &filter, &p, &err) < 0)
		return fail(&err);
	print(p, ended);
	if (o.exact)
		print_exact(r->tracees[0]->agent->exact);
	else
		printf("stacks_lost %llu\n", r->tracees[0]->agent->counters.stacks_lost);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print_spread(const char *name, uint64_t *ns, size_t n)
{
	qsort(ns, n, sizeof(*ns), by_size);
	printf("%s_p50_us %" PRIu64 "\n%s_p99_us %" PRIu64 "\n%s_max_us %" PRIu64 "\n", name,
	       ns[n / 2] / 1000, name, ns[n - 1 - n / 100] / 1000, name, ns[n - 1] / 1000);
}

/* One that finds no moment is counted, and says why. */
static int cycles(pid_t pid, struct alloc_options o, size_t n, unsigned ms)
{
	cleanup_free uint64_t *attach = calloc(n + 1, sizeof(*attach));
	cleanup_free uint64_t *both = calloc(n + 1, sizeof(*both));
	size_t done = 0, refused = 0, kept = 0;
	struct error err;

	while (attach && both && done + refused < n) {
		cleanup(alloc_freep) struct alloc_recorder *r = NULL;
		enum alloc_ended ended = ALLOC_RUNNING;
		int rc;

		/* to read all of its heap from outside, at the beginning and the end, takes longer
		 * than the rest */
		o.no_before = done % BEFORE_EVERY;
		rc = alloc_start(&pid, 1, &o, false, &r, &err);
		if (rc == -EAGAIN && ++refused) {
			error_print(&err, stderr);
			continue;
		}
		if (rc == 0)
			rc = alloc_poll(r, (int)ms, &ended, &err);
		if (rc < 0)
			return fail(&err);
		attach[done] = r->tracees[0]->agent->stopped_ns;
		alloc_detach(r);
		both[done++] = r->tracees[0]->agent->stopped_ns;
		kept += r->tracees[0]->agent->left;
		if (ended)
			return 6;
	}
	if (!done)
		return 7;
	printf("cycles %zu\nrefused %zu\nnot_left %zu\n", done, refused, kept);
	print_spread("attach", attach, done);
	print_spread("longest", both, done);
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
	long long cpu_at;
	struct agent_counters c;
	struct error err;
	uint64_t base = agent_place_find(t, 0, &err), data = base + AGENT_CODE_BYTES;

	if (!base)
		return 4;
	if (agent_place_read(t, data, &control, sizeof(control)) < 0 ||
	    agent_place_read(t, data + offsetof(struct agent_data, counters), &c, sizeof(c)) < 0 ||
	    agent_place_read(t, base + AGENT_TABLE_AT + offsetof(struct agent_table, cpu_at),
	                     &cpu_at, sizeof(cpu_at)) < 0)
		return 5;
	printf("base 0x%" PRIx64 "\nstate %u\nsamples %llu\nexpired %llu\nslow_calls %llu\n"
	       "claims %llu\ncpu_at %lld\nslots 0x%zx\ncpus 0x%zx\nentries 0x%zx\n"
	       "counters 0x%zx\n",
	       base, control.state, c.samples, c.expired, c.slow_calls, c.claims, cpu_at,
	       data + offsetof(struct agent_data, slots), data + offsetof(struct agent_data, cpus),
	       data + offsetof(struct agent_data, entries),
	       data + offsetof(struct agent_data, counters));
	return 0;
}

int main(int argc, char **argv)
{
	cleanup(target_closep) struct target *t = NULL;
	struct alloc_options o = {
		.engine = "agent",
		.symbols = { .no_debuginfod = true, .no_inline = true },
	};
	struct error err;
	unsigned change_ms = 0;
	int c, r;

	steps_hook = step;
	signal(SIGINT, on_interrupt);
	while ((c = getopt(argc, argv, "+k:s:m:c:e:bxp")) > 0) {
		switch (c) {
		case 's': kill_signal = SIGSTOP; /* fallthrough */
		case 'k': kill_step = strtol(optarg, NULL, 10); break;
		case 'm': o.sample_bytes = strtoull(optarg, NULL, 10); break;
		case 'e': o.table_entries = strtoull(optarg, NULL, 10); break;
		case 'b': o.no_before = true; break;
		case 'x': o.exact = true; break;
		case 'p': o.patch_pages = true; break;
		case 'c': change_ms = (unsigned)strtoul(optarg, NULL, 10); break;
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
	else if (!strcmp(argv[optind + 1], "cycles") && argc - optind > 3)
		r = cycles(t->pid, o, strtoul(argv[optind + 2], NULL, 10),
		           (unsigned)atoi(argv[optind + 3]));
	else if (!strcmp(argv[optind + 1], "look"))
		r = look(t);
	else
		r = record(t->pid, o, change_ms,
		           argc - optind > 2 ? (unsigned)atoi(argv[optind + 2]) : 100);
	printf("steps %ld\n", n_steps);
	return r;
}
