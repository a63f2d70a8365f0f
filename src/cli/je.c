/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "capture/capture_je.h"
#include "cli/cli.h"
#include "cli/je_decay.h"
#include "cli/je_stats.h"
#include "cli/je_write.h"
#include "cli/record.h"
#include "cli/show.h"
#include "target/target.h"

enum { MAX_LG = 40 };

/* NSTIME_SEC_MAX of jemalloc is more; nobody waits for a century. */
#define MAX_DECAY_MS 3155760000000ll

struct request {
	pid_t pid;
	const char *verb, *value; /* value: NULL if there is none */
	unsigned timeout_ms;
	bool json, calls;
};

static void head(const struct capture_je *c)
{
	printf("%s (%d): ", c->heaps.target->comm, (int)c->heaps.target->pid);
}

/* ---- the verbs ---- */

static int status(struct capture_je *c, const struct request *q, struct error *err)
{
	struct capture_je_state s;
	int r = capture_je_state(c, &s, err);

	if (r < 0)
		return r;
	if (q->json)
		je_write_state_json(c, &s, stdout);
	else
		je_write_state(c, &s, stdout);
	return 0;
}

static int switch_to(struct capture_je *c, const struct request *q, bool on, struct error *err)
{
	bool was = false;
	int r = capture_je_activate(c, on, &was, err);

	if (r < 0)
		return r;
	if (q->json) {
		je_write_flags_json(c, "active", on, "was_active", was, stdout);
		return 0;
	}
	head(c);
	printf("the profiler is %s%s\n", on ? "on" : "off", was == on ? ", as it was" : "");
	if (on)
		cli_say("what was allocated before is in no profile; memwho je %d dump shows what "
		        "was since",
		        (int)q->pid);
	return 0;
}

static int turn_on(struct capture_je *c, const struct request *q, struct error *err)
{
	return switch_to(c, q, true, err);
}

static int turn_off(struct capture_je *c, const struct request *q, struct error *err)
{
	return switch_to(c, q, false, err);
}

static int reset(struct capture_je *c, const struct request *q, struct error *err)
{
	int r = capture_je_reset(c, -1, err);

	if (r < 0)
		return r;
	if (q->json) {
		je_write_number_json(c, "lg_sample", -1, stdout);
		return 0;
	}
	head(c);
	printf("all samples are forgotten\n");
	return 0;
}

/* One sample in so many bytes: jemalloc has powers of two. */
static int parse_sample(const char *text, int *ret, struct error *err)
{
	char *end;
	unsigned long long v = strtoull(text, &end, 10);
	static const char units[] = "KMG";
	const char *unit = *end ? strchr(units, *end) : NULL;
	int lg = 0;

	if (end == text || (*end && (!unit || end[1])) || !v || v > 1ull << MAX_LG)
		return error_set(err, EINVAL, "sample %s: a power of two, like 512K", text);
	if (unit)
		v <<= 10 * (unit - units + 1);
	while (lg < MAX_LG && 1ull << lg < v)
		lg++;
	if (1ull << lg != v) {
		error_set(err, EINVAL, "sample %s: jemalloc takes powers of two", text);
		return error_hint(err, "%llu is the next one", 1ull << lg);
	}
	*ret = lg;
	return 0;
}

static int sample(struct capture_je *c, const struct request *q, struct error *err)
{
	int lg = 0, r = parse_sample(q->value, &lg, err);

	if (r == 0)
		r = capture_je_reset(c, lg, err);
	if (r < 0)
		return r;
	if (q->json) {
		je_write_number_json(c, "lg_sample", lg, stdout);
		return 0;
	}
	head(c);
	printf("one sample in %llu bytes from now on; all samples so far are forgotten\n",
	       1ull << lg);
	return 0;
}

static int purge(struct capture_je *c, const struct request *q, struct error *err)
{
	cleanup(capture_je_purge_clear) struct capture_je_purge p = { 0 };
	int r = capture_je_purge(c, &p, err);

	if (r < 0)
		return r;
	if (q->json)
		je_write_purge_json(c, &p, stdout);
	else
		je_write_purge(c, &p, stdout);
	return 0;
}

static int decay(struct capture_je *c, const struct request *q, struct error *err)
{
	cleanup(capture_je_decay_clear) struct capture_je_decay d = { 0 };
	long long ms = CAPTURE_JE_DECAY_AS_IS;
	char *end;
	int r;

	if (q->value && !strcmp(q->value, "never")) {
		ms = -1;
	} else if (q->value) {
		ms = strtoll(q->value, &end, 10);
		if (end == q->value || *end || ms < -1 || ms > MAX_DECAY_MS)
			return error_set(err, EINVAL, "decay %s: milliseconds, or never", q->value);
	}
	r = capture_je_decay(c, ms, &d, err);
	if (r < 0)
		return r;
	if (q->json)
		je_decay_write_json(c, &d, stdout);
	else
		je_decay_write(c, &d, stdout);
	return 0;
}

static int stats(struct capture_je *c, const struct request *q, struct error *err)
{
	cleanup(jemalloc_stats_clear) struct jemalloc_stats_list list = { 0 };
	cleanup(heaps_clear) struct heaps h = { 0 };
	cleanup(capture_je_counts_clear) struct capture_je_counts counts = { 0 };
	const struct je_stats s = { c, &h, &list, &counts };
	int r = capture_je_stats(c, &list, err);

	if (r == 0)
		r = heaps_read(&c->heaps, false, &h, err);
	if (r == 0 && q->calls)
		r = capture_je_count(c, &counts, err);
	if (r < 0)
		return r;
	if (q->json)
		je_stats_write_json(&s, stdout);
	else
		je_stats_write(&s, stdout);
	return 0;
}

static const struct verb {
	const char *name;
	enum { NO_VALUE, MAY_HAVE_VALUE, HAS_VALUE } value;
	int (*run)(struct capture_je *c, const struct request *q, struct error *err);
	bool only_looks;
} verbs[] = {
	{ "status", NO_VALUE, status },     { "on", NO_VALUE, turn_on },
	{ "off", NO_VALUE, turn_off },      { "dump", NO_VALUE, NULL },
	{ "stats", NO_VALUE, stats, true }, { "reset", NO_VALUE, reset },
	{ "purge", NO_VALUE, purge },       { "decay", MAY_HAVE_VALUE, decay },
	{ "sample", HAS_VALUE, sample },
};

/* ---- the command ---- */

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	}
	return NULL;
}

static int parse_words(const struct cli_args *args, const struct verb **ret, struct request *q,
                       struct error *err)
{
	const struct verb *v;

	if (args->n_words < 1)
		return error_set(err, EINVAL, "missing TARGET");
	q->verb = args->n_words > 1 ? args->words[1] : "status";
	q->value = args->n_words > 2 ? args->words[2] : NULL;
	v = find_verb(q->verb);
	if (!v) {
		error_set(err, EINVAL, "je does not know '%s'", q->verb);
		return error_hint(err, "status, on, off, dump, stats, reset, purge, decay [MS], "
		                       "sample N");
	}
	if (v->value == HAS_VALUE && !q->value)
		return error_set(err, EINVAL, "%s needs a number", v->name);
	if ((v->value == NO_VALUE && q->value) || args->n_words > 3)
		return error_set(err, EINVAL, "unexpected argument '%s'",
		                 args->words[args->n_words > 3 ? 3 : 2]);
	*ret = v;
	return 0;
}

static int parse(const struct cli_args *args, const struct verb **verb, struct request *q,
                 struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	double timeout_s = 30;
	size_t n = 0;
	int r = parse_words(args, verb, q, err);

	if (r == 0)
		r = cli_duration(args, "timeout", &timeout_s, err);
	if (r == 0 && !(timeout_s > 0 && timeout_s <= 3600))
		r = error_set(err, EINVAL, "--timeout %g: up to an hour", timeout_s);
	if (r == 0)
		r = target_resolve(args->words[0], &pids, &n, err);
	if (r == 0 && n != 1)
		r = error_set(err, EINVAL, "%s is %zu processes; je asks one", args->words[0], n);
	if (r < 0)
		return r;
	q->timeout_ms = (unsigned)(timeout_s * 1000) + 1;
	q->json = cli_flag(args, "json");
	q->calls = cli_flag(args, "calls");
	q->pid = pids[0];
	return 0;
}

static int show_dump(struct capture_je *c, const struct show *show, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r = capture_je_profile(c, &p, err);

	return r < 0 ? r : show_profile(show, p, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	const struct verb *verb = NULL;
	struct request q = { 0 };
	struct show show = { 0 };
	int r = parse(args, &verb, &q, err);

	if (r == 0)
		r = show_parse(args, &show, err);
	if (r == 0 && verb->run && strcmp(show.path, "-") != 0)
		r = error_set(err, EINVAL, "-o is for dump");
	if (r == 0 && q.calls && !verb->only_looks)
		r = error_set(err, EINVAL, "--calls is for stats");
	if (r == 0)
		r = verb->only_looks && !q.calls ? capture_je_look(q.pid, &c, err)
		                                 : capture_je_open(q.pid, q.timeout_ms, &c, err);
	if (r == 0)
		r = verb->run ? verb->run(c, &q, err) : show_dump(c, &show, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, "calls", NULL, "stats: by calls, too: requests, fills, locks, purges" },
	{ 0, "timeout", "TIME", "wait so long for a call (30s)" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_output, options_view,
	                                           options_common, NULL };

const struct cli_command je_command = {
	.name = "je",
	.summary = "drive the jemalloc of a running process",
	.usage = "[OPTION...] TARGET [WORD [NUMBER]]",
	.details =
		"Calls the process's own mallctl(), by a thread that is in no allocator; nothing\n"
		"in the service changes. Its profiler can be switched only in a process that was\n"
		"started with MALLOC_CONF=prof:true,prof_active:false (Rust: _RJEM_MALLOC_CONF);\n"
		"the rest works in any. WORD: status (what it is without a word), on, off, dump,\n"
		"stats, reset, purge, decay [MS], sample N.\n"
		"\n"
		"  memwho je 4711                  what can be switched, and how it is\n"
		"  memwho je 4711 on               record; then, after some load:\n"
		"  memwho je 4711 dump -o je.svg   who holds what, also .html, .pb.gz, .json\n"
		"  memwho je 4711 sample 64K       finer (forgets what was recorded)\n"
		"  memwho je 4711 stats --json     read from outside: nothing is called for it\n"
		"  memwho je 4711 purge            free pages back to the kernel, now\n"
		"  memwho je 4711 decay 1000       ... and from now on after a second\n",
	.option_tables = tables,
	.run = run,
};
