/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/keeper.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/oom.h"
#include "serve/store.h"

enum { RETRY_S = 30, MOST_RETRY_S = 3600, FIGURES_COST = 50 };

static const uint64_t FIGURES_NS = 5000000000; /* a fiftieth of the time, at most */

static void begin(struct service *s, struct watched_item *item)
{
	struct jobs_key key;
	struct error err;

	memset(&key, 0, sizeof(key));
	memcpy(key.target, item->name, sizeof(key.target));
	key.kind = WORKER_RECORD;
	key.n_processes = item->n_processes;
	memcpy(key.processes, item->processes, sizeof(key.processes));
	if (jobs_record(s->jobs, &key, &err) < 0)
		log_note(LOG_WARN, "target %s: %s", item->name, err.message);
}

/* Twice as long each time, so that a target that cannot be recorded is not stopped again and
 * again for trying. */
static void retry_later(struct watched_item *item, uint64_t now, const char *why)
{
	if (!item->retry_ns) {
		item->retry_s = item->retry_s ? item->retry_s * 2 : RETRY_S;
		if (item->retry_s > MOST_RETRY_S)
			item->retry_s = MOST_RETRY_S;
		item->retry_ns = now + item->retry_s * 1000000000ull;
		log_note(LOG_WARN, "target %s is not recorded: %s; next try in %u s", item->name,
		         why, item->retry_s);
	}
}

/* ---- what was held at the end ---- */

struct last {
	struct jobs_waiter waiter;
	struct service *s;
	char target[CONFIG_NAME_BYTES];
	int32_t pid;
};

static void on_last(struct jobs_waiter *w, const struct jobs_result *r)
{
	struct last *l = (struct last *)w;
	bool killed = oom_has_killed(l->s->oom, l->pid);
	const struct spool_about about = {
		.target = l->target,
		.trigger = killed ? "oom" : "exit",
		.reason = killed ? "what it held when it was killed for want of memory"
		                 : "what it held when it ended",
		.held_bytes = r->held_bytes > 0 ? (uint64_t)r->held_bytes : 0,
		.pid = l->pid,
	};

	if (!r->cancelled)
		store_capture(l->s->store, &about, r, "its end", "heap", NULL, NULL);
	jobs_unrecord(l->s->jobs, l->target);
	free(l);
}

/* The recording of what is not there any more ends, with a last look if there is a spool. */
static void let_go(struct service *s, struct watched_item *item)
{
	struct jobs_running running;
	struct error ignored;
	struct jobs_key key;
	struct last *l;

	if (!s->spool || !jobs_recorded_key(s->jobs, item->name, &key)) {
		jobs_unrecord(s->jobs, item->name);
		return;
	}
	if (item->last_pid == key.processes[0].pid)
		return; /* the look is under way */
	l = calloc(1, sizeof(*l));
	if (!l)
		return;
	item->last_pid = l->pid = key.processes[0].pid;
	l->s = s;
	l->waiter.done = on_last;
	memcpy(l->target, item->name, sizeof(l->target));
	key.kind = WORKER_HEAP;
	memcpy(key.format, "pprof", 6);
	if (jobs_ask(s->jobs, &key, &l->waiter, &running, &ignored) != JOBS_WAIT) {
		free(l);
		jobs_unrecord(s->jobs, item->name);
	}
}

/* ---- what it says of itself ---- */

static void forget_figures(struct watched_item *item)
{
	item->figures_due_ns = 0;
	item->held_bytes = item->lost_events = item->own_bytes = -1;
	item->recording_cpu_s = -1;
}

struct figures {
	struct jobs_waiter waiter;
	struct service *s;
	char target[CONFIG_NAME_BYTES];
	uint64_t begun_ns;
};

static void on_figures(struct jobs_waiter *w, const struct jobs_result *r)
{
	struct figures *f = (struct figures *)w;
	uint64_t now = clock_now_ns(), cost = FIGURES_COST * (now - f->begun_ns);

	for (size_t i = 0; !r->err.code && i < watched_n(f->s->watched); i++) {
		struct watched_item *item = watched_at(f->s->watched, i);

		if (strcmp(item->name, f->target) != 0)
			continue;
		if (r->gave_up) {
			jobs_give_up(
				f->s->jobs, f->target,
				"it allocates too much for the budget, or was changed by others");
			forget_figures(item);
			break;
		}
		item->held_bytes = r->held_bytes;
		item->lost_events = r->lost_events;
		item->own_bytes = r->own_bytes;
		item->recording_cpu_s = r->cost_s;
		item->figures_due_ns = now + (cost > FIGURES_NS ? cost : FIGURES_NS);
	}
	free(f);
}

static void ask_figures(struct service *s, struct watched_item *item, uint64_t now)
{
	struct figures *f = calloc(1, sizeof(*f));
	struct jobs_running running;
	struct error ignored;
	struct jobs_key key;

	if (!f)
		return;
	memset(&key, 0, sizeof(key));
	memcpy(key.target, item->name, sizeof(key.target));
	memcpy(f->target, item->name, sizeof(f->target));
	key.kind = WORKER_FIGURES;
	key.n_processes = item->n_processes;
	memcpy(key.processes, item->processes, sizeof(key.processes));
	f->s = s;
	f->waiter.done = on_figures;
	f->begun_ns = now;
	if (jobs_ask(s->jobs, &key, &f->waiter, &running, &ignored) != JOBS_WAIT)
		free(f);
	else /* until the answer */
		item->figures_due_ns = now + 10 * FIGURES_NS;
}

static void keep(struct service *s, struct watched_item *item, uint64_t now)
{
	char why[ERROR_MESSAGE_BYTES];
	struct jobs_key other;

	if (!item->n_processes) {
		let_go(s, item);
		return;
	}
	switch (jobs_recording_of(s->jobs, item->name, item->processes, item->n_processes, why)) {
	case JOBS_NOT_RECORDED:
		if (jobs_recorded_key(s->jobs, item->name, &other)) {
			let_go(s, item); /* of other processes */
			break;
		}
		jobs_unrecord(s->jobs, item->name);
		item->last_pid = 0;
		forget_figures(item);
		item->recorded_ns = 0;
		begin(s, item);
		break;
	case JOBS_RECORDING_FAILED:
		retry_later(item, now, why);
		if (now < item->retry_ns)
			break;
		item->retry_ns = item->recorded_ns = 0;
		jobs_unrecord(s->jobs, item->name);
		begin(s, item);
		break;
	case JOBS_RECORDED:
		item->recorded_ns = item->recorded_ns ? item->recorded_ns : now;
		/* one that gives up each time is tried more and more seldom */
		if (now - item->recorded_ns > item->retry_s * 1000000000ull)
			item->retry_s = 0;
		if (now >= item->figures_due_ns)
			ask_figures(s, item, now);
		break;
	default: break;
	}
}

void keeper_run(struct service *s)
{
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < watched_n(s->watched); i++) {
		struct watched_item *item = watched_at(s->watched, i);

		if (item->target && item->target->record == CONFIG_ALWAYS)
			keep(s, item, now);
		else if (item->target)
			jobs_unrecord(s->jobs, item->name); /* it was, before a reload */
	}
}
