/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "alloc/agent_place.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "inject/snapshot.h"
#include "target/target.h"

/* Copies of the process that nobody has reaped. */
static int reap(const struct target *t, struct error *err)
{
	cleanup(inject_closep) struct inject *in = NULL;
	int r = inject_open(t, NULL, NULL, &in, err);

	return r < 0 ? r : snapshot_reap_leftovers(in, err);
}

static int clean_up(pid_t pid, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	uint64_t area = 0;
	pid_t tid = 0;
	bool there;
	int zombies, cleaned, agent, r = target_open(pid, &t, err);

	if (r < 0)
		return r;
	err->code = 0;
	there = inject_find(t, &area, &tid, err);
	if (!there && err->code)
		return err->code;
	agent = agent_place_clean(t, err);
	if (agent < 0)
		return error_context(err, "process %d", (int)pid);
	if (agent)
		printf("%d (%s): the agent of a memwho that ended is taken out of the allocator's "
		       "code\n",
		       (int)pid, t->comm);
	zombies = snapshot_has_leftovers(t) ? reap(t, err) : 0;
	cleaned = zombies < 0 ? zombies : inject_clean(t, err);
	if (cleaned < 0)
		return error_context(err, "process %d", (int)pid);
	if (there)
		printf("%d (%s): memory of memwho's at 0x%" PRIx64 " given back%s\n", (int)pid,
		       t->comm, area, tid ? ", after a call that was under way" : "");
	if (zombies)
		printf("%d (%s): %d ended cop%s reaped\n", (int)pid, t->comm, zombies,
		       zombies == 1 ? "y" : "ies");
	if (!there && !zombies && cleaned)
		printf("%d (%s): memwho's first code there is taken out\n", (int)pid, t->comm);
	if (!there && !cleaned && !zombies && !agent)
		printf("%d (%s): nothing of memwho's is there\n", (int)pid, t->comm);
	return 0;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	const char *spec;
	size_t n = 0;
	int r = cli_word(args, "TARGET", &spec, err);

	if (r == 0)
		r = target_resolve(spec, &pids, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = clean_up(pids[i], err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option *const tables[] = { options_common, NULL };

const struct cli_command detach_command = {
	.name = "detach",
	.summary = "take away what memwho left in a process",
	.usage = "[OPTION...] TARGET",
	.details =
		"refs makes a copy of a process by a call inside it, and keeps 336 KiB of address\n"
		"space there for the next time. detach gives that back, and has the process reap\n"
		"copies that a killed memwho left as zombies. Where a memwho that recorded with\n"
		"alloc --engine agent was killed, the allocator's code is what it was again.\n"
		"\n"
		"  memwho detach 4711\n",
	.option_tables = tables,
	.run = run,
};
