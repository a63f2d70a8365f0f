/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "capture/capture_trim.h"
#include "cli/cli.h"
#include "cli/trim_write.h"
#include "target/target.h"

static int parse(const struct cli_args *args, struct capture_trim_options *o, pid_t *pid,
                 struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	double timeout_s = 30;
	const char *spec;
	size_t n = 0;
	int r = cli_word(args, "TARGET", &spec, err);

	o->caches = cli_flag(args, "caches");
	o->only_predict = cli_flag(args, "predict");
	if (r == 0)
		r = cli_duration(args, "timeout", &timeout_s, err);
	if (r == 0 && !(timeout_s > 0 && timeout_s <= 3600))
		r = error_set(err, EINVAL, "--timeout %g: up to an hour", timeout_s);
	if (r == 0)
		r = target_resolve(spec, &pids, &n, err);
	if (r == 0 && n != 1)
		r = error_set(err, EINVAL, "%s is %zu processes; trim asks one", spec, n);
	if (r < 0)
		return r;
	o->timeout_ms = (unsigned)(timeout_s * 1000) + 1;
	*pid = pids[0];
	return 0;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(capture_trim_clear) struct capture_trim c = { 0 };
	struct capture_trim_options o = { 0 };
	pid_t pid = 0;
	int r = parse(args, &o, &pid, err);

	if (r == 0)
		r = capture_trim(pid, &o, &c, err);
	if (r < 0)
		return r;
	if (cli_flag(args, "json"))
		trim_write_json(&c, stdout);
	else
		trim_write_text(&c, stdout);
	return CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, "predict", NULL, "say what would come back; call nothing" },
	{ 0, "caches", NULL, "empty threads' caches first (jemalloc, tcmalloc)" },
	{ 0, "timeout", "TIME", "wait so long for a call (30s)" },
	{ 0, "json", NULL, "for scripts" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command trim_command = {
	.name = "trim",
	.summary = "have a process's allocator give free memory back",
	.usage = "[OPTION...] TARGET",
	.details =
		"One call inside the process, by a thread that is in no allocator: malloc_trim(0)\n"
		"of glibc, arena.4096.purge of jemalloc, ReleaseFreeMemory() of tcmalloc, or\n"
		"mi_collect(true) of mimalloc in each thread. First what would come back is\n"
		"counted from outside, then what did. The program's data is not touched; its\n"
		"next allocations cost the page faults again. musl has no such function.\n"
		"\n"
		"  memwho trim 4711 --predict     is it worth it?\n"
		"  memwho trim 4711\n"
		"  memwho trim 4711 --json\n",
	.option_tables = tables,
	.run = run,
};
