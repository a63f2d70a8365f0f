/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "capture/capture_delta.h"
#include "cli/cli.h"
#include "cli/delta_write.h"
#include "cli/interrupt.h"

struct asked {
	pid_t pid;
	bool stop, profile;
	double until_s;       /* 0: until ENTER */
	char *const *command; /* or NULL */
};

static int parse_until(const struct cli_args *args, struct asked *a, struct error *err)
{
	const char *until = cli_value(args, "until");

	if (until && a->command)
		return error_set(err, EINVAL, "--until, or a command behind --: not both");
	if (!until || !strcasecmp(until, "enter"))
		return 0;
	if (cli_duration(args, "until", &a->until_s, err) < 0 || !(a->until_s > 0))
		return error_set(err, EINVAL, "--until %s: ENTER, or a time", until);
	return 0;
}

static int parse(const struct cli_args *args, struct asked *a, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	const char *spec;
	size_t n = 0;
	int r = cli_word(args, "TARGET", &spec, err);

	a->stop = !cli_flag(args, "no-stop");
	a->profile = !cli_flag(args, "no-profile");
	a->command = args->rest && args->rest[0] ? args->rest : NULL;
	if (r == 0)
		r = parse_until(args, a, err);
	if (r == 0)
		r = target_resolve(spec, &pids, &n, err);
	if (r == 0 && n != 1)
		r = error_set(err, EINVAL, "%s is %zu processes; delta looks at one", spec, n);
	if (r == 0)
		a->pid = pids[0];
	return r;
}

/* ---- until when ---- */

/* The end of input counts as the key. */
static int wait_for_key(const struct capture_delta *d, struct error *err)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char c = 0;

	while (!interrupt_came() && c != '\n') {
		if (target_has_ended(d->session.target))
			return 0; /* the second look says so */
		if (poll(&in, 1, 100) <= 0)
			continue;
		if (read(STDIN_FILENO, &c, 1) != 1)
			return 0;
	}
	return 0;
}

/* What it prints goes to standard error: ours is for the result. */
static _Noreturn void become(char *const *command)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };

	sigaction(SIGINT, &plain, NULL);
	sigaction(SIGTERM, &plain, NULL);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	execvp(command[0], command);
	fprintf(stderr, "memwho: %s: %s\n", command[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* @ret: its exit status as the shell has it. */
static int run_command(char *const *command, int *ret, struct error *err)
{
	pid_t child;
	int status;

	fflush(NULL);
	child = fork();
	if (child == 0)
		become(command);
	if (child < 0)
		return error_sys(err, errno, "a process for %s", command[0]);
	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR)
			return error_sys(err, errno, "%s", command[0]);
	}
	*ret = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	if (*ret == 127)
		return error_set(err, ENOENT, "%s could not be run: nothing was compared",
		                 command[0]);
	return 0;
}

static int wait_for_it(const struct asked *a, const struct capture_delta *d, int *status,
                       struct error *err)
{
	if (a->command)
		return run_command(a->command, status, err);
	if (a->until_s > 0) {
		interrupt_sleep_until(clock_now_ns() + (uint64_t)(a->until_s * 1e9));
		return 0;
	}
	cli_say("looked at process %d; release what is to be measured, then press ENTER",
	        (int)a->pid);
	return wait_for_key(d, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(capture_delta_clear) struct capture_delta d = { 0 };
	struct delta_write w = { .delta = &d, .command_status = -1 };
	struct asked a = { 0 };
	int r = parse(args, &a, err);

	if (r < 0)
		return r;
	interrupt_catch();
	r = capture_delta_begin(a.pid, a.stop, a.profile, &d, err);
	if (r == 0)
		r = wait_for_it(&a, &d, &w.command_status, err);
	if (r == 0)
		r = capture_delta_end(&d, err);
	if (r < 0)
		return r;
	if (a.command && w.command_status)
		cli_say("the command ended with %d", w.command_status);
	w.command = a.command ? a.command[0] : NULL;
	r = cli_flag(args, "json") ? delta_write_json(&w, stdout, err)
	                           : delta_write_text(&w, stdout, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, "until", "WHEN", "ENTER is pressed (or Ctrl-C), or so long: 30s" },
	{ 0, "no-stop", NULL, "do not stop the process to look: less exact" },
	{ 0, "no-profile", NULL, "not jemalloc's own profile, where that is on" },
	{ 0, "json", NULL, "for scripts" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command delta_command = {
	.name = "delta",
	.summary = "what releasing something gave back: heaps before and after",
	.usage = "[OPTION...] TARGET [-- COMMAND...]",
	.details =
		"Looks at the process, runs COMMAND (or waits for ENTER), and looks again: how\n"
		"many bytes its blocks are less, by allocator, and what of it went back to the\n"
		"kernel. Blocks that threads have only cached count as freed, so nothing needs to\n"
		"be flushed. All threads stand still for each look; nothing is called in there,\n"
		"but for jemalloc's own profile where that is on: which stacks' blocks went.\n"
		"\n"
		"  memwho delta 4711 -- curl -X POST http://localhost:8080/cache/drop\n"
		"  memwho delta 4711              then release it by hand, and press ENTER\n"
		"  memwho delta 4711 --until 1m --json\n",
	.option_tables = tables,
	.run = run,
};
