/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/record.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "alloc/engine.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "render/render.h"
#include "runtime/runtime.h"

/* ---- options ---- */

/* The recorders', and Go's own profile, which none of them reads. */
static int parse_engine(const struct cli_args *args, const char **ret, struct error *err)
{
	const char *name = cli_value(args, "engine");
	char known[128] = "auto";

	if (!name || !strcmp(name, "auto"))
		return 0;
	if (!strcmp(name, RECORD_ENGINE_GO) || !strcmp(name, RECORD_ENGINE_JEMALLOC) ||
	    engine_find(name)) {
		*ret = name;
		return 0;
	}
	for (size_t i = 0; i < engine_n(); i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), ", %s",
		         engine_at(i)->name);
	error_set(err, EINVAL, "no engine '%s'", name);
	return error_hint(err, "engines: %s, " RECORD_ENGINE_JEMALLOC ", " RECORD_ENGINE_GO, known);
}

int record_parse_time(const struct cli_args *args, const char *name, double *ret, struct error *err)
{
	int r = cli_duration(args, name, ret, err);

	if (r == 0 && cli_value(args, name) && !(*ret > 0)) {
		error_set(err, EINVAL, "--%s must be longer than nothing", name);
		return error_hint(err, "leave it out to record until Ctrl-C");
	}
	return r;
}

static int parse_sizes(const struct cli_args *args, struct alloc_options *o, struct error *err)
{
	unsigned long long min = 0, max = 0;
	int r = cli_size(args, "min-size", &min, err);

	if (r == 0)
		r = cli_size(args, "max-size", &max, err);
	if (r < 0)
		return r;
	if (max && min > max)
		return error_set(err, EINVAL, "--min-size is above --max-size");
	o->min_size = min;
	o->max_size = max;
	return 0;
}

int record_parse_slowdown(const struct cli_args *args, double *ret, struct error *err)
{
	int r = cli_factor(args, "max-slowdown", ret, err);

	if (r == 0 && cli_value(args, "max-slowdown") && *ret < 1) {
		error_set(err, EINVAL, "--max-slowdown is a factor of 1 or more");
		return error_hint(err,
		                  "1.5 is half as slow again; 100 or 100x records at any price");
	}
	return r;
}

static int parse_archives(const struct cli_args *args, struct symbol_options *to, struct error *err)
{
	size_t n = 0;

	for (size_t i = 0; i < args->n_options; i++) {
		if (strcmp(args->options[i]->name, "archive") != 0)
			continue;
		if (n == SYMBOL_MAX_ARCHIVES)
			return error_set(err, EINVAL, "--archive: %d of them are enough",
			                 SYMBOL_MAX_ARCHIVES);
		to->archives[n++] = args->values[i];
	}
	return 0;
}

static int parse_held(const struct cli_args *args, struct capture_options *c, struct error *err)
{
	double older_s = 0;
	int r = record_parse_time(args, "older-than", &older_s, err);

	if (r == 0)
		r = parse_sizes(args, &c->alloc, err);
	if (r == 0)
		r = parse_archives(args, &c->alloc.symbols, err);
	if (r < 0)
		return r;
	c->filter.older_than_ns = (uint64_t)(older_s * 1e9);
	c->filter.peak = c->alloc.peak = cli_flag(args, "peak");
	c->alloc.allocators = cli_value(args, "allocator");
	c->alloc.no_stacks = cli_flag(args, "no-stacks");
	c->alloc.before = cli_flag(args, "before");
	c->alloc.no_before = cli_flag(args, "no-before");
	c->alloc.symbols.no_debuginfod = cli_flag(args, "no-debuginfod");
	return 0;
}

enum { LEAST_SAMPLE = 1024 };

static int parse_sample(const struct cli_args *args, struct alloc_options *o, struct error *err)
{
	unsigned long long mean = 0;
	int r = cli_size(args, "sample", &mean, err);

	if (r < 0 || !cli_value(args, "sample"))
		return r;
	if (!o->engine || strcmp(o->engine, "agent") != 0) {
		error_set(err, EINVAL, "--sample is the agent's; the others record everything");
		return error_hint(err, "--engine agent --sample 512K");
	}
	if (mean < LEAST_SAMPLE || mean > 1ull << 36)
		return error_set(err, EINVAL, "--sample is from 1K to 64G");
	o->sample_bytes = mean;
	return 0;
}

/* "2%", "0.5%", "2", "none". */
static int parse_percent(const char *text, double *ret, struct error *err)
{
	char *end;
	double v;

	if (!strcmp(text, "none")) {
		*ret = 0;
		return 0;
	}
	errno = 0;
	v = strtod(text, &end);
	if (end == text || errno || (*end && strcmp(end, "%") != 0) || !(v > 0 && v <= 100)) {
		error_set(err, EINVAL, "--budget %.20s: it is a percentage above 0", text);
		return error_hint(err, "--budget 2%%, --budget 0.5%%, or none");
	}
	*ret = v / 100;
	return 0;
}

/* Of the default engine's recordings; a slowdown that is asked for is the other way to say
 * what may be spent. */
int record_parse_budget(const struct cli_args *args, struct alloc_options *o, struct error *err)
{
	const char *asked = cli_value(args, "budget"), *usual = getenv("MEMWHO_BUDGET");

	if (asked && cli_value(args, "max-slowdown"))
		return error_set(err, EINVAL, "--budget or --max-slowdown, not both");
	if (asked && o->exact)
		return error_set(err, EINVAL, "--exact has one rate: it keeps no budget");
	o->budget_asked = asked != NULL;
	if (asked)
		return parse_percent(asked, &o->budget, err);
	if (o->engine || cli_value(args, "max-slowdown"))
		return 0;
	return parse_percent(usual && usual[0] ? usual : "2%", &o->budget, err);
}

static int parse_exact(const struct cli_args *args, struct alloc_options *o, struct error *err)
{
	o->exact = cli_flag(args, "exact");
	if (!o->exact)
		return 0;
	if (!o->engine || strcmp(o->engine, "agent") != 0) {
		error_set(err, EINVAL, "--exact is the agent's; engine bpf always is exact");
		return error_hint(err, "--engine agent --exact");
	}
	if (o->sample_bytes)
		return error_set(err, EINVAL, "--exact takes no samples: leave --sample out");
	return 0;
}

/* Where the agent's jumps are; any other engine has none. */
static int parse_patch(const struct cli_args *args, struct alloc_options *o, struct error *err)
{
	const char *where = cli_value(args, "patch");

	if (!where)
		return 0;
	if (o->engine && strcmp(o->engine, "agent") != 0) {
		error_set(err, EINVAL, "--patch is the agent's; the others patch nothing");
		return error_hint(err, "--engine agent --patch page");
	}
	if (strcmp(where, "page") != 0 && strcmp(where, "code") != 0) {
		error_set(err, EINVAL, "--patch %.20s: code or page", where);
		return error_hint(err, "page: in copies of the code's pages; code is the default");
	}
	o->patch_pages = where[0] == 'p';
	return 0;
}

static int parse_recording(const struct cli_args *args, struct capture_options *c,
                           struct error *err)
{
	const char *until = cli_value(args, "until");
	int r = record_parse_time(args, "duration", &c->duration_s, err);

	if (r == 0)
		r = record_parse_time(args, "every", &c->every_s, err);
	if (r == 0 && until)
		r = capture_condition_parse(until, &c->until, err);
	if (r == 0)
		r = parse_engine(args, &c->alloc.engine, err);
	if (r == 0)
		r = parse_sample(args, &c->alloc, err);
	if (r == 0)
		r = parse_exact(args, &c->alloc, err);
	if (r == 0)
		r = parse_patch(args, &c->alloc, err);
	if (r == 0)
		r = record_parse_slowdown(args, &c->alloc.max_slowdown, err);
	c->ready_file = cli_value(args, "ready-file");
	c->alloc.follow = cli_flag(args, "follow");
	return r;
}

/* A ready file of an earlier run would say "ready" too soon. */
static int clear_ready_file(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISREG(st.st_mode) && unlink(path) < 0)
		return error_sys(err, errno, "cannot replace the ready file %s", path);
	return render_can_write(path, err) < 0 ? error_context(err, "ready file") : 0;
}

/* What is told to be written must be writable: that is no news for the end. */
int record_check_places(const char *path, const char *ready_file, struct error *err)
{
	int rc = render_can_write(path, err);

	if (rc == 0 && ready_file)
		rc = clear_ready_file(ready_file, err);
	/* not a wrong command line, whatever errno says */
	if (rc == -EINVAL)
		rc = err->code = -EIO;
	return rc < 0 ? error_hint(err, "nothing was recorded; name a file in a folder that "
	                                "you can write to")
	              : 0;
}

static bool is_recorded(const char *type, bool grows)
{
	for (size_t i = 0; i < PROFILE_HEAP_TYPES; i++) {
		if (!strcmp(type, profile_heap_types[i].name))
			return true;
	}
	return !strcmp(type, "inuse_age") || !strcmp(type, SHOW_CHURN) ||
	       (grows && !strcmp(type, "growth_space"));
}

static int check_type(const struct cli_args *args, struct error *err)
{
	const char *type = cli_value(args, "type");
	bool grows = cli_value(args, "every");

	if (!type || is_recorded(type, grows))
		return 0;
	error_set(err, EINVAL, "--type %s: no such value is recorded", type);
	return error_hint(err, "values: inuse_space, inuse_objects, alloc_space, alloc_objects, "
	                       "inuse_age, " SHOW_CHURN ", and with --every growth_space");
}

int record_parse(const struct cli_args *args, struct record *ret, struct error *err)
{
	struct record r = { 0 };
	int rc = show_parse(args, &r.show, err);

	if (rc == 0)
		rc = parse_recording(args, &r.capture, err);
	if (rc == 0)
		rc = parse_held(args, &r.capture, err);
	if (rc == 0)
		rc = check_type(args, err);
	r.capture.grown = cli_value(args, "type") &&
	                  !strcmp(cli_value(args, "type"), "growth_space");
	if (rc == 0)
		rc = record_check_places(r.show.path, r.capture.ready_file, err);
	if (rc < 0)
		return rc;
	r.table_too = strcmp(r.show.path, "-") != 0 && !cli_value(args, "format") &&
	              !cli_flag(args, "json");
	r.line.tells = isatty(STDERR_FILENO) && !cli_flag(args, "quiet");
	*ret = r;
	return 0;
}

static bool is_engine(const struct record *r, const char *name)
{
	return r->capture.alloc.engine && !strcmp(r->capture.alloc.engine, name);
}

bool record_is_go(const struct record *r)
{
	return is_engine(r, RECORD_ENGINE_GO);
}

bool record_is_jemalloc(const struct record *r)
{
	return is_engine(r, RECORD_ENGINE_JEMALLOC);
}

/* ---- signals ---- */

enum { PATIENCE_NS = 2000000000 };

/* The first one ends the recording; one that comes when that has taken a while
 * ends us (timeout(1) and terminals send it twice at once). */
static void on_signal(int number)
{
	static uint64_t first_ns;
	uint64_t now_ns = clock_now_ns();

	if (!alloc_interrupted)
		first_ns = now_ns;
	alloc_interrupted = 1;
	if (now_ns - first_ns > PATIENCE_NS) {
		signal(number, SIG_DFL);
		raise(number);
	}
}

void record_catch_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

/* ---- recording ---- */

void record_progress_end(struct record_line *l)
{
	if (l->told)
		fputs("\r\033[K", stderr);
	l->told = false;
}

void record_progress(struct record_line *l, const char *doing, double seconds,
                     unsigned long long bytes, const char *what)
{
	if (!l->tells)
		return;
	fprintf(stderr, "\r\033[K%s for %.0f s, %.1f MiB %s; Ctrl-C ends with the result", doing,
	        seconds, (double)bytes / (1 << 20), what);
	l->told = true;
}

static void on_progress(void *arg, double seconds, unsigned long long held_bytes)
{
	struct record *r = arg;

	record_progress(&r->line, "recording", seconds, held_bytes, "held");
}

static bool is_table(const struct show *s)
{
	return !strcmp(s->format->name, "table");
}

/* Under a table: what to type next. */
static void suggest(const struct record *r)
{
	if (!r->pid)
		return;
	if (r->is_own) {
		printf("\nnext: memwho refs %d    memwho refs %d --births    memwho alloc %d -d "
		       "30s\n",
		       r->pid, r->pid, r->pid);
		return;
	}
	printf("\nnext: memwho alloc %d -d 13s -o held.html    memwho alloc %d --every 5s    "
	       "memwho alloc %d --older-than 10s --by thread\n",
	       r->pid, r->pid, r->pid);
}

static int show_table(const struct record *r, const struct profile *p, struct error *err)
{
	struct show table = r->show;

	table.format = render_find("table");
	table.path = "-";
	return show_profile(&table, p, err);
}

static int on_look(void *arg, const struct profile *p, struct error *err)
{
	struct record *r = arg;
	int rc;

	record_progress_end(&r->line);
	rc = show_profile(&r->show, p, err);
	if (rc == 0 && r->table_too)
		rc = show_table(r, p, err);
	fflush(stdout);
	return rc;
}

int record_write(const struct record *r, const struct profile *p, struct error *err)
{
	struct error ignored;
	int rc = show_profile(&r->show, p, err);

	if (rc < 0) {
		/* the recording cannot be made again: what can be shown is shown */
		if (strcmp(r->show.path, "-") != 0)
			show_table(r, p, &ignored);
		return rc;
	}
	if (r->table_too)
		rc = show_table(r, p, err);
	if (rc == 0 && (r->table_too || is_table(&r->show)))
		suggest(r);
	if (r->table_too)
		cli_say("wrote %s", r->show.path);
	return rc;
}

int record_run(struct record *r, const pid_t *pids, size_t n, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int rc;

	if (record_is_go(r)) {
		error_set(err, EINVAL, "--engine go reads what a Go program has recorded already");
		return error_hint(err, "memwho alloc PID, while it runs");
	}
	if (record_is_jemalloc(r)) {
		error_set(err, EINVAL, "--engine jemalloc is for a process that runs already");
		return error_hint(err, "memwho alloc PID, while it runs");
	}
	r->pid = n == 1 ? pids[0] : 0;
	r->capture.look = on_look;
	r->capture.progress = on_progress;
	r->capture.arg = r;
	rc = capture_alloc(pids, n, &r->capture, &p, err);
	record_progress_end(&r->line);
	if (rc < 0)
		return rc;
	rc = record_write(r, p, err);
	return rc < 0 ? rc : CLI_DONE;
}
