/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * inject/ by hand, for the tests:
 *
 *	injector [OPTION...] PID getpid
 *	injector [OPTION...] PID call FUNCTION [ARG...]    a number, s:TEXT, or the
 *	                                    address of N in memory there: w:N
 *	injector [OPTION...] PID snapshot MS               keep a copy for MS
 *	injector PID clean | find | reap
 *
 *	-n N      that many times
 *	-k STEP   be killed before this step
 *	-r        running threads first
 *	-g        a function three times in one transaction, with the first five arguments
 *	-t MS     time for one call
 *	-a        registers of all threads
 *	-e N      go on where no thread could be lent in time, N times
 *
 * Prints "name value" lines.
 */

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/steps.h"
#include "inject/inject.h"
#include "inject/snapshot.h"
#include "kill_step.h"
#include "symbol/symbol.h"
#include "target/elf_file.h"
#include "target/reader.h"
#include "target/target.h"

static uint64_t address_of(struct symbol_space *space, const char *name)
{
	for (size_t i = 0; i < symbol_space_n(space); i++) {
		const struct symbol_mapping *m = symbol_space_at(space, i);
		struct elf_file *elf = m->module ? symbol_module_elf(m->module) : NULL;
		struct elf_symbol s;

		if (elf && elf_file_symbol(elf, ELF_ALL, name, &s) == 0)
			return s.value + m->bias;
	}
	return 0;
}

enum { MOST_NONE = 1000, GROUP = 3 };

static bool grouped;

static int fail(const struct error *err)
{
	error_print(err, stderr);
	return err->code == -EINPROGRESS ? 3 : err->code == -EAGAIN ? 5 : 1;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* "NAME_p50_us V" and p99, max; @us is sorted. */
static void percentiles(const char *name, uint32_t *us, long n)
{
	if (n < 1)
		return;
	qsort(us, (size_t)n, sizeof(*us), by_size);
	printf("%s_p50_us %u\n%s_p99_us %u\n%s_max_us %u\n", name, us[n / 2], name,
	       us[n * 99 / 100], name, us[n - 1]);
}

static void report(const struct inject *in, long done)
{
	const struct inject_stats *s = inject_stats_of(in);

	printf("done %ld\nstops %" PRIu64 "\nrefused %" PRIu64 "\nwithdrawn %" PRIu64
	       "\nlimbo %" PRIu64 "\nlongest_stop_us %" PRIu64 "\nsteps %ld\nwhy %s\n",
	       done, s->stops, s->refused, s->withdrawn, s->limbo, s->longest_stop_ns / 1000,
	       n_steps, s->why);
}

static int read_args(struct inject *in, char **words, uint64_t args[6], struct error *err)
{
	uint64_t at = inject_scratch(in);

	for (int i = 0; i < 6 && words[i]; i++) {
		size_t len = strlen(words[i]) + 1 - 2;
		int r;

		if (!strncmp(words[i], "w:", 2)) {
			uint64_t word = strtoull(words[i] + 2, NULL, 0);

			r = inject_write(in, at, &word, sizeof(word), err);
			if (r < 0)
				return r;
			args[i] = at;
			at += 256; /* room for a structure that is filled */
			continue;
		}
		if (strncmp(words[i], "s:", 2)) {
			args[i] = strtoull(words[i], NULL, 0);
			continue;
		}
		r = inject_write(in, at, words[i] + 2, len, err);
		if (r < 0)
			return r;
		args[i] = at;
		at += (len + 15) & ~15ull;
	}
	return 0;
}

struct figures {
	uint32_t *stops_us, *calls_us; /* of each call */
	long done, none;               /* no thread could be lent in time */
};

static int call_group(struct inject *in, uint64_t function, uint64_t errno_location,
                      const uint64_t args[6], uint64_t *result, struct error *err)
{
	struct inject_row rows[GROUP];
	const struct inject_table table = { function, errno_location,
		                            inject_scratch(in) + inject_scratch_bytes(in) -
		                                    sizeof(rows),
		                            rows, GROUP };
	int r;

	for (size_t i = 0; i < GROUP; i++) {
		memcpy(rows[i].args, args, sizeof(rows[i].args));
		rows[i].result = UINT64_MAX;
	}
	r = inject_functions(in, &table, err);
	for (size_t i = 0; r == 0 && i < GROUP; i++)
		*result = rows[i].result;
	return r;
}

/* @function 0: getpid. */
static int call_once(struct inject *in, uint64_t function, uint64_t errno_location,
                     const uint64_t args[6], uint64_t *result, struct figures *f, struct error *err)
{
	const struct inject_stats *s = inject_stats_of(in);
	int64_t value = 0;
	int r = !function ? inject_syscall(in, SYS_getpid, args, &value, err)
	        : grouped ? call_group(in, function, errno_location, args, result, err)
	                  : inject_function(in, function, errno_location, args, result, err);

	if (r == -EAGAIN && ++f->none <= MOST_NONE)
		return 0;
	if (r < 0)
		return r;
	if (!function)
		*result = (uint64_t)value;
	f->stops_us[f->done] = (uint32_t)(s->last_stop_ns / 1000);
	f->calls_us[f->done++] = (uint32_t)(s->last_total_ns / 1000);
	return 0;
}

static int call_all(struct inject *in, struct symbol_space *space, char **words, long n, long none)
{
	cleanup_free uint32_t *stops = calloc((size_t)n, sizeof(*stops));
	cleanup_free uint32_t *calls = calloc((size_t)n, sizeof(*calls));
	struct figures f = { stops, calls, 0, MOST_NONE - none };
	uint64_t function = 0, errno_location = 0, args[6] = { 0 }, result = 0;
	struct error err;
	int r = stops && calls ? 0 : error_oom(&err);

	if (r == 0 && !strcmp(words[0], "call")) {
		function = address_of(space, words[1]);
		errno_location = address_of(space, "__errno_location");
		if (!function)
			return 4;
		r = read_args(in, words + 2, args, &err);
	}
	while (r == 0 && f.done < n)
		r = call_once(in, function, errno_location, args, &result, &f, &err);
	report(in, f.done);
	printf("result %" PRIu64 "\nnone %ld\n", result, f.none - (MOST_NONE - none));
	percentiles("stop", stops, f.done);
	percentiles("call", calls, f.done);
	return r < 0 ? fail(&err) : 0;
}

/* Words that the target goes on counting in, and its copy must not. */
static int read_rounds(const struct target *t, uint64_t at, const char *name)
{
	uint64_t words[4];

	if (!at || reader_try(t, at, words, sizeof(words)) < 0)
		return 1;
	printf("%s %" PRIu64 "\n", name, words[0]);
	return 0;
}

static int keep_copy(struct inject *in, const struct target *t, struct symbol_space *space, long ms,
                     bool all)
{
	const struct snapshot_options o = { .registers = all };
	const struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
	cleanup(snapshot_closep) struct snapshot *s = NULL;
	uint64_t rounds = address_of(space, "victim_rounds");
	struct error err;

	if (snapshot_take(in, &o, &s, &err) < 0)
		return fail(&err);
	printf("copy %d\ntwice %d\npause_us %" PRIu64 "\nthreads %zu\n", (int)s->copy->pid,
	       s->twice, s->pause_ns / 1000, s->n_threads);
	if (read_rounds(s->copy, rounds, "first"))
		return 6;
	fflush(stdout);
	nanosleep(&time, NULL);
	if (read_rounds(s->copy, rounds, "later") || read_rounds(t, rounds, "target"))
		return 6;
	return 0;
}

static int work(pid_t pid, char **words, long n, long none, bool all,
                const struct inject_options *o)
{
	static const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	cleanup(inject_closep) struct inject *in = NULL;
	struct error err;
	struct inject_options with_calls = o ? *o : (struct inject_options){ 0 };
	uint64_t area;
	pid_t tid;
	int r;

	if (target_open(pid, &t, &err) < 0)
		return fail(&err);
	if (!strcmp(words[0], "snapshot"))
		with_calls.calls = snapshot_calls(&with_calls.n_calls);
	if (!strcmp(words[0], "clean")) {
		r = inject_clean(t, &err);
		printf("cleaned %d\nsteps %ld\n", r, n_steps);
		return r < 0 ? fail(&err) : 0;
	}
	if (!strcmp(words[0], "find")) {
		err.code = 0;
		if (!inject_find(t, &area, &tid, &err))
			return err.code ? fail(&err) : 4;
		printf("area 0x%" PRIx64 "\ntid %d\n", area, tid);
		return 0;
	}
	if (symbol_pool_new(&options, &pool, &err) < 0 ||
	    symbol_space_new(pool, t, &space, &err) < 0 ||
	    symbol_space_refresh(space, t, &err) < 0 ||
	    inject_open(t, space, &with_calls, &in, &err) < 0)
		return fail(&err);
	if (!strcmp(words[0], "snapshot"))
		return keep_copy(in, t, space, strtol(words[1], NULL, 10), all);
	if (!strcmp(words[0], "reap")) {
		r = snapshot_reap_leftovers(in, &err);
		printf("reaped %d\n", r);
		return r < 0 ? fail(&err) : 0;
	}
	return call_all(in, space, words, n, none);
}

int main(int argc, char **argv)
{
	struct inject_options o = { 0 };
	bool all = false;
	long n = 1, none = 0;
	int c;

	steps_hook = step;
	while ((c = getopt(argc, argv, "+ae:gn:k:rt:")) > 0) {
		switch (c) {
		case 'a': all = true; break;
		case 'e': none = strtol(optarg, NULL, 10); break;
		case 'g': grouped = true; break;
		case 'n': n = strtol(optarg, NULL, 10); break;
		case 'k': kill_step = strtol(optarg, NULL, 10); break;
		case 'r': o.prefer_running = true; break;
		case 't': o.timeout_ms = (unsigned)strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (argc - optind < 2)
		return 2;
	return work(strtol(argv[optind], NULL, 10), argv + optind + 1, n, none, all, &o);
}
