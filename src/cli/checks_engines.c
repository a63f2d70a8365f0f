/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "alloc/engine.h"
#include "base/cleanup.h"
#include "capture/capture_je.h"
#include "cli/checks.h"
#include "target/target.h"

/* How many functions it could patch, or 0. */
static int ask(const struct engine_ops *e, pid_t pid, struct error *why)
{
	cleanup(target_closep) struct target *t = NULL;
	int r = pid ? target_open(pid, &t, why) : 0;

	if (r == 0)
		r = e->possible(t, why);
	if (r == 0 && pid && e->covers)
		r = e->covers(pid, NULL, why);
	return r;
}

static int put(struct checks *to, const struct engine_ops *e, int answer, const struct error *why,
               struct error *err)
{
	if (answer < 0)
		return checks_add(to, e->check, CHECKS_LIMITED, why->hint, err, "%s", why->message);
	if (answer > 1)
		return checks_add(to, e->check, CHECKS_OK, "", err, "%s: %d functions to patch",
		                  e->title, answer);
	return checks_add(to, e->check, CHECKS_OK, "", err, "%s", e->title);
}

/* Of a process that was started with it; nothing is called there to find out. */
static int put_jemallocs_own(struct checks *to, pid_t pid, struct error *err)
{
	struct error ignored;

	if (!pid || capture_je_has_profiler(pid, &ignored) <= 0)
		return 0;
	return checks_add(to, "engine jemalloc", CHECKS_OK, "", err,
	                  "jemalloc's own profiler, when it is on: memwho je %d on", (int)pid);
}

int checks_engines(struct checks *to, pid_t pid, size_t n_machine, struct error *err)
{
	const size_t before = to->n;
	bool any = false;
	int r = 0;

	for (size_t i = 0; r == 0 && i < engine_n(); i++) {
		struct error why = { 0 };
		int answer = ask(engine_at(i), pid, &why);

		any |= answer >= 0;
		r = put(to, engine_at(i), answer, &why, err);
	}
	if (any)
		checks_soften(to, n_machine);
	for (size_t i = before; !any && i < to->n; i++)
		to->items[i].state = CHECKS_MISSING;
	return r < 0 ? r : put_jemallocs_own(to, pid, err);
}
