/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "alloc/engine_possible.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "cli/checks.h"
#include "target/target.h"

static const struct engine {
	enum alloc_engine engine;
	const char *name, *title;
} engines[] = {
	{ ALLOC_ENGINE_BPF, "engine bpf", "every allocation, by probes of the kernel" },
	{ ALLOC_ENGINE_AGENT, "engine agent", "samples, from inside the process" },
};

/* Of the agent: functions that it could patch; else 0. */
static int ask(const struct engine *e, pid_t pid, struct error *why)
{
	cleanup(target_closep) struct target *t = NULL;
	int r = pid ? target_open(pid, &t, why) : 0;

	if (r == 0)
		r = engine_possible(e->engine, t, why);
	if (r == 0 && pid && e->engine == ALLOC_ENGINE_AGENT)
		r = engine_possible_patches(pid, NULL, why);
	return r;
}

static int put(struct checks *to, const struct engine *e, int answer, const struct error *why,
               struct error *err)
{
	if (answer < 0)
		return checks_add(to, e->name, CHECKS_LIMITED, why->hint, err, "%s", why->message);
	if (answer > 1)
		return checks_add(to, e->name, CHECKS_OK, "", err, "%s: %d functions to patch",
		                  e->title, answer);
	return checks_add(to, e->name, CHECKS_OK, "", err, "%s", e->title);
}

int checks_engines(struct checks *to, pid_t pid, size_t n_machine, struct error *err)
{
	const size_t before = to->n;
	bool any = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(engines); i++) {
		struct error why = { 0 };
		int answer = ask(&engines[i], pid, &why);

		any |= answer >= 0;
		r = put(to, &engines[i], answer, &why, err);
	}
	if (any)
		checks_soften(to, n_machine);
	for (size_t i = before; !any && i < to->n; i++)
		to->items[i].state = CHECKS_MISSING;
	return r;
}
