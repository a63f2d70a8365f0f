/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/map.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/targets.h"
#include "target/maps.h"
#include "target/proc.h"

enum { TIME_BOX_S = 30 };

/* ---- options ---- */

static const struct {
	const char *name;
	enum tracer_by by;
} views[] = {
	{ "mapped", TRACER_BY_MAPPED },
	{ "touched", TRACER_BY_TOUCHED },
	{ "calls", TRACER_BY_CALLS },
};

static bool find_view(const char *name, enum tracer_by *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		if (!strcmp(name, views[i].name)) {
			*ret = views[i].by;
			return true;
		}
	}
	return false;
}

/* --by is ours (mapped, touched, calls) and the renderer's (thread, kind ...):
 * it may be given once for each. */
static void parse_by(const struct cli_args *args, struct map *m)
{
	m->show.options.by = NULL;
	for (size_t i = 0; i < args->n_options; i++) {
		if (args->options[i]->name && !strcmp(args->options[i]->name, "by") &&
		    !find_view(args->values[i], &m->capture.tracer.by))
			m->show.options.by = args->values[i];
	}
}

static int parse_tracing(const struct cli_args *args, struct capture_map_options *c,
                         struct error *err)
{
	unsigned long long ring = 0;
	int r = record_parse_time(args, "duration", &c->duration_s, err);

	if (r == 0)
		r = record_parse_time(args, "every", &c->every_s, err);
	if (r == 0)
		r = record_parse_slowdown(args, &c->tracer.max_slowdown, err);
	if (r == 0)
		r = cli_size(args, "ring", &ring, err);
	c->tracer.ring_bytes = ring;
	c->tracer.follow = cli_flag(args, "follow");
	c->tracer.symbols.no_debuginfod = cli_flag(args, "no-debuginfod");
	c->ready_file = cli_value(args, "ready-file");
	return r;
}

static int check_ranges(const struct cli_args *args, const struct map *m, struct error *err)
{
	const char *name = m->show.format->name;

	if (!m->ranges || !strcmp(name, "json") || !strcmp(name, "table"))
		return 0;
	error_set(err, EINVAL, "--ranges has no format %s", name);
	return error_hint(err, "a table, or --json");
}

int map_parse(const struct cli_args *args, struct map *ret, struct error *err)
{
	struct map m = { 0 };
	int r = show_parse(args, &m.show, err);

	if (r == 0)
		r = parse_tracing(args, &m.capture, err);
	if (r < 0)
		return r;
	parse_by(args, &m);
	m.ranges = cli_flag(args, "ranges");
	r = check_ranges(args, &m, err);
	if (r == 0)
		r = record_check_places(m.show.path, m.capture.ready_file, err);
	if (r < 0)
		return r;
	m.table_too = strcmp(m.show.path, "-") != 0 && !cli_value(args, "format") &&
	              !cli_flag(args, "json") && !m.ranges;
	m.line.tells = isatty(STDERR_FILENO) && !cli_flag(args, "quiet");
	*ret = m;
	return 0;
}

/* ---- ranges ---- */

static void prot_text(const struct range_owner *o, char text[4])
{
	text[0] = o->prot & MAPS_READ ? 'r' : '-';
	text[1] = o->prot & MAPS_WRITE ? 'w' : '-';
	text[2] = o->prot & MAPS_EXEC ? 'x' : '-';
	text[3] = '\0';
}

static void json_hex(struct json *j, const char *key, uint64_t v)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%" PRIx64, v);
	json_key(j, key);
	json_string(j, text);
}

static void write_json(struct json *j, const struct profile *p, const struct tracer_range *r)
{
	const struct range_owner *o = &r->range.owner;
	char text[512];

	json_object(j);
	json_hex(j, "start", r->range.start);
	json_hex(j, "end", r->range.end);
	json_key(j, "frames");
	json_array(j);
	for (size_t i = 0; i < r->n_frames; i++)
		json_string(j, profile_frame_text(p, r->frames[i], text, sizeof(text)));
	json_array_end(j);
	json_key(j, "thread");
	json_string(j, r->thread);
	json_key(j, "tid");
	json_uint(j, o->tid);
	json_key(j, "since_attach");
	json_bool(j, !(o->flags & RANGE_BEFORE_ATTACH));
	json_key(j, "uncertain");
	json_bool(j, o->flags & RANGE_UNCERTAIN);
	json_key(j, "kind");
	json_string(j, tracer_kind_text(o->kind));
	prot_text(o, text);
	json_key(j, "prot");
	json_string(j, text);
	json_key(j, "pid");
	json_int(j, r->pid);
	json_object_end(j);
}

static void write_text(FILE *to, const struct profile *p, const struct tracer_range *r)
{
	const struct range_owner *o = &r->range.owner;
	char prot[4], frame[512];

	prot_text(o, prot);
	fprintf(to, "%012" PRIx64 "-%012" PRIx64 " %s %-7s %10.1f KiB  %s%s%s", r->range.start,
	        r->range.end, prot, tracer_kind_text(o->kind),
	        (double)(r->range.end - r->range.start) / 1024, r->thread, *r->thread ? ": " : "",
	        o->flags & RANGE_UNCERTAIN ? "(uncertain) " : "");
	for (size_t i = 0; i < r->n_frames; i++)
		fprintf(to, "%s%s", i ? " < " : "",
		        profile_frame_text(p, r->frames[i], frame, sizeof(frame)));
	fputc('\n', to);
}

static bool is_json(const struct map *m)
{
	return !strcmp(m->show.format->name, "json");
}

static int on_range(void *arg, const struct profile *p, const struct tracer_range *r,
                    struct error *err)
{
	struct map *m = arg;

	if (is_json(m))
		write_json(&m->json, p, r);
	else
		write_text(m->to, p, r);
	return 0;
}

static int begin_ranges(struct map *m, struct error *err)
{
	m->to = strcmp(m->show.path, "-") != 0 ? fopen(m->show.path, "we") : stdout;
	if (!m->to)
		return error_sys(err, errno, "cannot write %s", m->show.path);
	m->json = json_on(m->to);
	if (!is_json(m))
		return 0;
	json_object(&m->json);
	json_key(&m->json, "format");
	json_string(&m->json, "memwho-ranges-1");
	json_key(&m->json, "ranges");
	json_array(&m->json);
	return 0;
}

static void write_figures(struct json *j, const struct report *r)
{
	for (size_t i = 0; i < r->n_figures; i++) {
		const struct report_figure *f = &r->figures[i];

		json_key(j, f->key);
		if (f->kind == REPORT_TEXT)
			json_string(j, f->text);
		else if (f->kind == REPORT_DOUBLE)
			json_double(j, f->real);
		else
			json_int(j, f->integer);
	}
}

static int end_ranges(struct map *m, const struct profile *p, struct error *err)
{
	bool bad;

	if (is_json(m)) {
		json_array_end(&m->json);
		if (p)
			write_figures(&m->json, profile_report_const(p));
		json_object_end(&m->json);
		fputc('\n', m->to);
	}
	bad = fflush(m->to) || ferror(m->to);
	if (m->to != stdout)
		bad |= fclose(m->to) != 0;
	return bad ? error_sys(err, errno ? errno : EIO, "cannot write %s", m->show.path) : 0;
}

/* ---- running ---- */

static void on_progress(void *arg, double seconds, unsigned long long mapped_bytes)
{
	struct map *m = arg;

	record_progress(&m->line, "tracing", seconds, mapped_bytes, "mapped");
}

static int show_table(const struct map *m, const struct profile *p, struct error *err)
{
	struct show table = m->show;

	table.format = render_find("table");
	table.path = "-";
	return show_profile(&table, p, err);
}

static int on_look(void *arg, const struct profile *p, struct error *err)
{
	struct map *m = arg;
	int r;

	record_progress_end(&m->line);
	r = show_profile(&m->show, p, err);
	if (r == 0 && m->table_too)
		r = show_table(m, p, err);
	fflush(stdout);
	return r;
}

/* A program that run --map has started is a zombie when it has ended. */
static bool has_ended(pid_t pid)
{
	cleanup_close int dir = proc_open(pid);
	struct proc_stat s;

	return dir < 0 || proc_stat_read(dir, &s) < 0 || s.state == 'Z';
}

static void suggest(const struct map *m)
{
	if (m->pid && !has_ended(m->pid))
		printf("\nnext: memwho map %d -d 10s -o mapped.html    memwho map %d -d 10s --by "
		       "touched    memwho alloc %d -d 13s\n",
		       m->pid, m->pid, m->pid);
}

static int write_result(struct map *m, const struct profile *p, struct error *err)
{
	int r;

	if (m->ranges)
		return 0;
	r = show_profile(&m->show, p, err);
	if (r == 0 && m->table_too)
		r = show_table(m, p, err);
	if (r < 0)
		return r;
	if (m->table_too || !strcmp(m->show.format->name, "table"))
		suggest(m);
	if (m->table_too)
		cli_say("wrote %s", m->show.path);
	return 0;
}

int map_run(struct map *m, const pid_t *pids, size_t n, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r = m->ranges ? begin_ranges(m, err) : 0;

	if (r < 0)
		return r;
	m->pid = n == 1 ? pids[0] : 0;
	m->capture.look = m->ranges ? NULL : on_look;
	m->capture.progress = on_progress;
	m->capture.range = m->ranges ? on_range : NULL;
	m->capture.arg = m;
	r = capture_map(pids, n, &m->capture, &p, err);
	record_progress_end(&m->line);
	if (m->ranges) {
		struct error late;
		int rc = end_ranges(m, p, r < 0 ? &late : err);

		r = r < 0 ? r : rc;
	}
	if (r == 0)
		r = write_result(m, p, err);
	return r < 0 ? r : CLI_DONE;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(targets_clear) struct targets targets = { 0 };
	struct map m;
	int r = map_parse(args, &m, err);

	if (r < 0)
		return r;
	if (!args->n_words) {
		error_set(err, EINVAL, "which process? memwho map needs a TARGET");
		return error_hint(err, "memwho map --help");
	}
	r = targets_add(&targets, args->words, args->n_words, m.capture.tracer.follow, err);
	if (r < 0)
		return r;
	m.capture.time_box_s = TIME_BOX_S;
	record_catch_signals();
	return map_run(&m, targets.items, targets.n, err);
}

const struct cli_option map_options[] = {
	{ 0, NULL, NULL, "Tracing" },
	{ 'd', "duration", "TIME", "stop after TIME: 13s, 500ms, 2m (else Ctrl-C)" },
	{ 0, "every", "TIME", "print the state every TIME" },
	{ 0, "ready-file", "PATH", "create PATH when tracing has begun" },
	{ 0, "follow", NULL, "trace children too" },
	{ 0, "ranges", NULL, "list the mapped ranges, each with its stack" },
	{ 0, "max-slowdown", "FACTOR", "take fewer stacks above this: 1.5, 2x" },
	{ 0, "ring", "SIZE", "the kernel's buffer for events (16M)" },
	{ 0, "no-debuginfod", NULL, "never ask a debuginfod server for symbols" },
	{ 0 },
};

static const struct cli_option *const tables[] = { map_options, options_output, options_view,
	                                           options_common, NULL };

const struct cli_command map_command = {
	.name = "map",
	.summary = "which code asked for the ranges that are mapped",
	.usage = "[OPTION...] TARGET...",
	.details = "Traces every call that changes the address space (mmap, munmap, mremap, brk,\n"
		   "shmat, mprotect, madvise) of all threads, with its stack, and shows what is\n"
		   "still mapped at the end, and who asked for it. --by chooses the value:\n"
		   "  mapped   bytes still mapped (what was given back is subtracted)\n"
		   "  touched  resident bytes, by who touched them first (page faults)\n"
		   "  calls    how often who called\n"
		   "and, given again, the grouping: --by thread, --by kind, --by prot ...\n"
		   "\n"
		   "  memwho map 4711 -d 30s                 a table\n"
		   "  memwho map 4711 -d 30s -o mapped.svg   a flame graph\n"
		   "  memwho map 4711 -d 30s --by touched    who touched what is resident\n"
		   "  memwho map 4711 -d 5s --ranges --json  the ranges themselves\n",
	.option_tables = tables,
	.run = run,
};
