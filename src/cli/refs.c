/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture_refs.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/record.h"
#include "cli/show.h"
#include "cli/why.h"
#include "cli/why_json.h"
#include "refs/refs.h"
#include "refs/refs_file.h"
#include "render/output.h"
#include "target/target.h"

struct asked {
	struct capture_refs_options capture;
	uint64_t why;     /* --why ADDRESS; 0: not asked */
	const char *type; /* --type RE: of objects; NULL: not asked */
	const char *save;
	struct refs_options view;
	struct show show;
	struct record_line line;
	uint64_t begun_ns;
};

static const struct {
	const char *name;
	enum refs_view view;
} views[] = {
	{ "retained", REFS_RETAINED },
	{ "first-come", REFS_FIRST_COME },
	{ "types", REFS_TYPES },
	{ "goroutines", REFS_GOROUTINES },
};

static int parse_view(const struct cli_args *args, enum refs_view *ret, struct error *err)
{
	const char *name = cli_value(args, "view");

	if (!name)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		if (!strcmp(name, views[i].name)) {
			*ret = views[i].view;
			return 0;
		}
	}
	error_set(err, EINVAL, "no view '%s'", name);
	return error_hint(err, "views: retained, first-come, types, goroutines");
}

/* --type is a value of the profile, as everywhere, or else a type's name. */
static const char *type_of_objects(const struct cli_args *args)
{
	const char *name = cli_value(args, "type");

	if (!name || !strcmp(name, "inuse_space") || !strcmp(name, "inuse_objects"))
		return NULL;
	return name;
}

static bool is_runtime(const char *name)
{
	const struct runtime_ops *ops = registry_find(name);

	return ops && ops->object_graph;
}

static bool is_json(const struct asked *a)
{
	return !strcmp(a->show.format->name, "json");
}

static int parse(const struct cli_args *args, struct asked *a, struct error *err)
{
	int r = show_parse(args, &a->show, err);

	if (r == 0)
		r = parse_view(args, &a->view.view, err);
	if (r < 0)
		return r;
	if (cli_flag(args, "stop") && cli_flag(args, "no-stop"))
		return error_set(err, EINVAL, "--stop and --no-stop: one of them");
	if (cli_flag(args, "stop"))
		a->capture.how = CAPTURE_REFS_STOPPED;
	if (cli_flag(args, "no-stop"))
		a->capture.how = CAPTURE_REFS_RUNNING;
	a->save = cli_value(args, "save");
	if (cli_value(args, "why")) {
		char *end;

		a->why = strtoull(cli_value(args, "why"), &end, 16);
		if (*end || !a->why) {
			error_set(err, EINVAL, "--why: '%s' is no address", cli_value(args, "why"));
			return error_hint(err, "addresses are hexadecimal: 0xc000123400");
		}
	}
	a->capture.runtime = cli_value(args, "runtime");
	if (a->capture.runtime && !is_runtime(a->capture.runtime)) {
		error_set(err, EINVAL, "--runtime: no '%s' whose objects are known",
		          a->capture.runtime);
		return error_hint(err, "runtimes: go, lua");
	}
	a->type = type_of_objects(args);
	if (a->type && a->why)
		return error_set(err, EINVAL, "--why and --type '%s': one of them", a->type);
	if ((a->type || a->why) && !is_json(a) && strcmp(a->show.format->name, "table") != 0)
		return error_set(err, EINVAL, "%s is text or JSON, not %s",
		                 a->why ? "--why" : "--type of objects", a->show.format->name);
	a->capture.exe = cli_value(args, "exe");
	a->capture.sysroot = cli_value(args, "sysroot");
	a->view.only_from = cli_value(args, "only-from");
	a->view.births = cli_flag(args, "births");
	if (a->view.births && (a->view.view == REFS_TYPES || a->view.view == REFS_GOROUTINES))
		return error_set(err, EINVAL, "--births is of objects: not with --view %s",
		                 cli_value(args, "view"));
	a->view.objects = cli_flag(args, "objects");
	if (a->view.objects && !is_json(a))
		return error_set(err, EINVAL, "--objects is for --json");
	return 0;
}

/* How far it is, and whether to go on. */
static int on_progress(void *arg, double share)
{
	struct asked *a = arg;

	if (a->line.tells && clock_now_ns() - a->begun_ns > 1000000000) {
		fprintf(stderr, "\r\033[Kreading the heap, %.0f %%; Ctrl-C ends with what is read",
		        share < 1 ? 100 * share : 100);
		a->line.told = true;
	}
	return interrupt_came();
}

/* A file is a core, whatever it is called; a process name does not contain '/'. */
static bool is_file(const char *word)
{
	struct stat st;

	return word[strspn(word, "0123456789")] && stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

/* What has a '/' and neither is a file nor names a target some other way. */
static int refuse_path(const char *word, struct error *err)
{
	struct stat st;

	if (stat(word, &st) < 0)
		error_sys(err, errno, "%s", word);
	else if (S_ISDIR(st.st_mode))
		error_set(err, EISDIR, "%s is a folder", word);
	else
		error_set(err, ENOEXEC, "%s is not a core file", word);
	return error_hint(err, "refs takes a process, a core file, or a graph that --save wrote");
}

static int make_graph(const struct asked *a, const char *word, struct object_graph *g,
                      struct capture_refs_facts *facts, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r;

	if (is_file(word) && refs_file_is(word)) {
		const char *slash = strrchr(word, '/');

		snprintf(facts->name, sizeof(facts->name), "saved graph %s",
		         slash ? slash + 1 : word);
		return refs_file_load(word, g, err);
	}
	if (is_file(word))
		return capture_refs_core(word, &a->capture, g, facts, err);
	if (strchr(word, '/') && !strchr(word, ':'))
		return refuse_path(word, err);
	if (a->capture.exe || a->capture.sysroot)
		return error_set(err, EINVAL, "--exe and --sysroot are for cores");
	r = target_resolve(word, &pids, &n, err);
	if (r < 0)
		return r;
	if (n != 1)
		return error_set(err, EINVAL, "'%s' is %zu processes; refs takes one", word, n);
	return capture_refs_process(pids[0], &a->capture, g, facts, err);
}

static void facts_target(const struct capture_refs_facts *f, char *buf, size_t size)
{
	if (!f->pid)
		snprintf(buf, size, "%s", f->name);
	else
		snprintf(buf, size, "%s (%s%d)", f->name, f->is_core ? "core of " : "", f->pid);
}

static int add_facts(struct profile *p, const struct capture_refs_facts *f, struct error *err)
{
	struct report *to = profile_report(p);
	char target[128];
	int r;

	facts_target(f, target, sizeof(target));
	r = report_text(to, "target", "target", target, err);
	if (r == 0 && f->pid && !f->is_core)
		r = report_double(to, "pause_ms", "stood still", (double)f->pause_ns / 1e6, "ms",
		                  err);
	if (r == 0 && f->other[0])
		r = report_text(to, "other_runtime", "also inside", f->other, err);
	if (r == 0 && f->missing)
		r = report_int(to, "missing_bytes", "missing from the core", (int64_t)f->missing,
		               "bytes", err);
	if (r == 0)
		r = report_int(to, "read_bytes", NULL, (int64_t)f->copied, "bytes", err);
	return r < 0 ? r : capture_refs_memory_report(&f->memory, to, err);
}

static int save(const struct object_graph *g, const char *path, struct error *err)
{
	int r = refs_file_save(g, path, err);

	if (r == -ENOSPC || r == -EFBIG || r == -EDQUOT)
		error_hint(err, "%.1f MiB did not fit; an older file of that name is as it was",
		           (double)refs_file_bytes(g) / (1 << 20));
	else if (r < 0 && !err->hint[0])
		error_hint(err, "--save takes a file in a folder that is there and may be written");
	return r;
}

/* --why and --type as one JSON object. */
static int write_json(const struct asked *a, const struct object_graph *g,
                      const struct capture_refs_facts *facts, uint32_t node, FILE *to,
                      struct error *err)
{
	struct json j = json_on(to);
	char target[128];
	int r;

	facts_target(facts, target, sizeof(target));
	json_object(&j);
	json_key(&j, "result");
	json_string(&j, a->why ? "why" : "type");
	json_key(&j, "target");
	json_string(&j, target);
	json_key(&j, "runtime");
	json_string(&j, g->runtime);
	if (a->type) {
		json_key(&j, "type");
		json_string(&j, a->type);
	}
	r = a->why ? why_json(&j, g, node, err) : why_json_type(&j, g, a->type, err);
	json_object_end(&j);
	fputc('\n', to);
	return r;
}

/* --why, --type: no profile, but lines of text or JSON. */
static int show_why(const struct asked *a, const struct object_graph *g,
                    const struct capture_refs_facts *facts, struct error *err)
{
	cleanup(output_discard) struct output out = { 0 };
	uint32_t node = 0;
	int r = a->why ? why_find(g, a->why, &node, err) : 0;

	if (r == 0)
		r = output_open(a->show.path, &out, err);
	if (r < 0)
		return r;
	if (is_json(a))
		r = write_json(a, g, facts, node, out.to, err);
	else if (a->why)
		r = why_print(g, node, "", out.to, err);
	else
		r = why_type(g, a->type, out.to, err);
	return r < 0 ? r : output_commit(&out, err);
}

static int show_graph(struct asked *a, const struct object_graph *g,
                      const struct capture_refs_facts *facts, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	int r = 0;

	if (a->save)
		r = save(g, a->save, err);
	if (r == 0 && (a->why || a->type))
		return show_why(a, g, facts, err);
	if (r == 0)
		r = refs_profile(g, &a->view, &p, err);
	if (r == 0)
		r = add_facts(p, facts, err);
	return r < 0 ? r : show_profile(&a->show, p, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(capture_refs_facts_clear) struct capture_refs_facts facts = { 0 };
	struct asked a = { 0 };
	const char *word;
	int r = cli_word(args, "TARGET, CORE or GRAPH", &word, err);

	if (r == 0)
		r = parse(args, &a, err);
	a.line.tells = isatty(STDERR_FILENO) && !cli_flag(args, "quiet");
	a.begun_ns = clock_now_ns();
	a.capture.graph.progress = on_progress;
	a.capture.graph.arg = &a;
	if (r == 0) {
		interrupt_catch();
		r = make_graph(&a, word, &g, &facts, err);
	}
	record_progress_end(&a.line);
	if (r == 0)
		r = show_graph(&a, &g, &facts, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, NULL, NULL, "References" },
	{ 0, "view", "NAME", "retained (default), first-come, types, goroutines" },
	{ 0, "births", NULL, "where it was allocated, and who holds it now" },
	{ 0, "why", "ADDRESS", "shortest and widest ways from roots to this object" },
	{ 0, "save", "FILE", "keep the graph, for refs and diff (.mwg)" },
	{ 0, "only-from", "RE", "only from roots whose name matches" },
	{ 0, "objects", NULL, "with --json: every object, its address and type" },
	{ 0, "runtime", "NAME", "of a process with both: go (default) or lua" },
	{ 0, "exe", "FILE", "of a core: the program" },
	{ 0, "sysroot", "DIR", "of a core: where its files are looked for" },
	{ 0, "stop", NULL, "stop the process while it is read; no copy" },
	{ 0, "no-stop", NULL, "read it as it runs; neither copy nor stop" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_output, options_view,
	                                           options_common, NULL };

const struct cli_command refs_command = {
	.name = "refs",
	.summary = "who still refers to the live heap (Go 1.17 to 1.26, Lua 5.3, 5.4)",
	.usage = "[OPTION...] TARGET|CORE|GRAPH",
	.details =
		"A process is cloned inside itself (copy on write), goes on at once, and the copy\n"
		"is read; the pause is the clone. What one root alone keeps alive stands under\n"
		"it; what several keep, under \"shared by\". Ctrl-C ends with what was read.\n"
		"--type with an expression (no value's name) shows the ways to all objects whose\n"
		"type matches it.\n"
		"\n"
		"  memwho refs 4711\n"
		"  memwho refs 4711 -o refs.svg\n"
		"  memwho refs 4711 --type 'main.*Conn'\n"
		"  memwho refs core.4711 --exe ./server --view types\n",
	.option_tables = tables,
	.run = run,
};
