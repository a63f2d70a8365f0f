/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/alarms.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "serve/look.h"
#include "serve/slow_look.h"
#include "serve/store.h"
#include "serve/trigger.h"
#include "serve/trigger_stacks.h"

enum { CONFIRM_NS = 1000000000, RETRY_S = 5, LAST_RETRY_S = 20, MOST_RETRY_S = 3600 };

/* The looks at a target that has rules: at the first of its processes. */
struct watch {
	struct alarm *alarms; /* its rules; NULL: none */
	struct worker_process process;
	struct look *look; /* NULL: there is no process */
	struct trigger_sample last;
	int news; /* look_sample()'s, of this round */
};

/* One rule of one target, and the capture that it has asked for. */
struct alarm {
	struct alarm *next; /* of the same target */
	struct alarms *all;
	const struct config_trigger *conf;
	char target[CONFIG_NAME_BYTES];
	struct worker_process process; /* what the rule has seen is of this one */
	struct trigger trigger;
	struct slow_look slow;        /* of rules that need one */
	struct trigger_stacks stacks; /* of TRIGGER_HELD */
	struct jobs_waiter waiter;
	const char *name; /* of the capture that is under way: "growth", "baseline" */
	char reason[TRIGGER_REASON_BYTES], baseline[SPOOL_ID_BYTES];
	const char *due; /* of one that could not be begun yet, as another runs; NULL: none */
	char due_reason[TRIGGER_REASON_BYTES];
	uint64_t due_ns;  /* of one that could not be made: not before */
	unsigned retry_s; /* the pause before that; 0: none */
	bool is_storing;  /* its last one is made, and not kept yet */
};

struct alarms {
	struct service *s;
	struct watch *watches; /* as the configuration's targets */
	size_t n;
};

/* ---- rules ---- */

static bool is_for(const struct config_trigger *t, const char *target)
{
	for (size_t i = 0; i < t->targets.n; i++) {
		if (!strcmp(t->targets.items[i], target))
			return true;
	}
	return !t->targets.n;
}

/* What single stacks hold is known of recordings alone. */
static int check_recorded(const struct config *c, const struct config_trigger *t, struct error *err)
{
	for (size_t i = 0; i < c->n_targets; i++) {
		if (c->targets[i].record == CONFIG_ALWAYS || !is_for(t, c->targets[i].name))
			continue;
		error_set(err, EINVAL, "%s:%u: trigger \"%s\": target \"%s\" is not recorded",
		          c->path, t->line, t->name, c->targets[i].name);
		return error_hint(err, "held-growth needs record = always in its section");
	}
	return 0;
}

int alarms_check(const struct config *c, struct error *err)
{
	struct trigger_rule rule;

	for (size_t i = 0; i < c->n_triggers; i++) {
		const struct config_trigger *t = &c->triggers[i];

		if (trigger_rule_parse(t->rule, &rule, err) < 0)
			return error_context(err, "%s:%u: trigger \"%s\"", c->path, t->line,
			                     t->name);
		if (rule.kind == TRIGGER_HELD && check_recorded(c, t, err) < 0)
			return err->code;
	}
	return c->n_triggers && !c->spool
	               ? error_set(err, EINVAL, "%s:%u: triggers need a spool", c->path, c->line)
	               : 0;
}

static int add(struct alarms *a, const struct config_trigger *t, size_t index, struct error *err)
{
	const struct trigger_policy policy = {
		.warm_up_ns = t->warmup_s * 1000000000ull,
		.cooldown_ns = t->cooldown_s * 1000000000ull,
		.confirm_ns = CONFIRM_NS,
		.per_day = (unsigned)t->per_day,
	};
	struct alarm *alarm = calloc(1, sizeof(*alarm));
	struct trigger_rule rule;
	int r = alarm ? trigger_rule_parse(t->rule, &rule, err) : error_oom(err);

	if (r < 0) {
		free(alarm);
		return r;
	}
	alarm->all = a;
	alarm->conf = t;
	memcpy(alarm->target, a->s->config.targets[index].name, sizeof(alarm->target));
	trigger_init(&alarm->trigger, &rule, &policy);
	slow_look_init(&alarm->slow, &rule);
	alarm->stacks.trigger = &alarm->trigger;
	alarm->next = a->watches[index].alarms;
	a->watches[index].alarms = alarm;
	return 0;
}

int alarms_new(struct service *s, struct alarms **ret, struct error *err)
{
	const struct config *c = &s->config;
	struct alarms *a = calloc(1, sizeof(*a));
	int r = a ? 0 : error_oom(err);

	if (r < 0)
		return r;
	a->s = s;
	a->watches = calloc(c->n_targets + 1, sizeof(*a->watches));
	if (!a->watches) {
		free(a);
		return error_oom(err);
	}
	a->n = c->n_targets;
	for (size_t i = 0; i < a->n; i++)
		a->watches[i].last = trigger_sample_unknown();
	for (size_t i = 0; r == 0 && i < c->n_triggers; i++) {
		for (size_t k = 0; r == 0 && k < c->n_targets; k++) {
			if (is_for(&c->triggers[i], c->targets[k].name))
				r = add(a, &c->triggers[i], k, err);
		}
	}
	if (r < 0)
		alarms_free(a);
	else
		*ret = a;
	return r;
}

static void watch_clear(struct alarms *a, struct watch *w)
{
	while (w->alarms) {
		struct alarm *alarm = w->alarms;

		w->alarms = alarm->next;
		jobs_leave(a->s->jobs, &alarm->waiter);
		slow_look_clear(&alarm->slow, a->s->jobs);
		trigger_stacks_clear(&alarm->stacks);
		free(alarm);
	}
	look_close(w->look);
}

struct alarms *alarms_free(struct alarms *a)
{
	if (!a)
		return NULL;
	for (size_t i = 0; i < a->n; i++)
		watch_clear(a, &a->watches[i]);
	free(a->watches);
	free(a);
	return NULL;
}

/* ---- captures ---- */

static enum worker_kind kind_of(const char *capture)
{
	if (!strcmp(capture, "refs"))
		return WORKER_REFS;
	if (!strcmp(capture, "map"))
		return WORKER_MAP;
	return !strcmp(capture, "ladder") ? WORKER_LADDER : WORKER_HEAP;
}

/* A baseline is that of the process which is there now, and no earlier one's. */
static void on_kept(void *arg, const struct spool_capture *kept)
{
	struct alarm *alarm = arg;

	alarm->is_storing = false;
	if (kept)
		alarm->retry_s = 0;
	if (kept && !strcmp(kept->trigger, "baseline") && kept->pid == alarm->process.pid)
		memcpy(alarm->baseline, kept->id, sizeof(kept->id));
}

/* Without a baseline captures have nothing to be compared with; of anything else only what is true
 * for a while is of use. */
static void retry(struct alarm *alarm)
{
	unsigned pause = alarm->retry_s ? alarm->retry_s * 2 : RETRY_S;
	bool is_baseline = !strcmp(alarm->name, "baseline");

	if (alarm->due || (!is_baseline && pause > LAST_RETRY_S))
		return;
	alarm->retry_s = pause < MOST_RETRY_S ? pause : MOST_RETRY_S;
	alarm->due_ns = clock_now_ns() + alarm->retry_s * 1000000000ull;
	alarm->due = alarm->name;
}

static void on_done(struct jobs_waiter *w, const struct jobs_result *r)
{
	struct alarm *alarm = (struct alarm *)((char *)w - offsetof(struct alarm, waiter));
	const struct spool_about about = {
		.target = alarm->target,
		.trigger = alarm->name,
		.reason = alarm->reason[0] ? alarm->reason : NULL,
		.baseline = alarm->baseline[0] ? alarm->baseline : NULL,
		.held_bytes = r->held_bytes > 0 ? (uint64_t)r->held_bytes : 0,
		.pid = alarm->process.pid,
	};
	const char *kind = r->is_refs                                     ? "refs"
	                   : kind_of(alarm->conf->capture) == WORKER_HEAP ? "heap"
	                                                                  : alarm->conf->capture;

	alarm->is_storing = true;
	if (r->err.code && !r->cancelled)
		retry(alarm);
	store_capture(alarm->all->s->store, &about, r, alarm->conf->name, kind, on_kept, alarm);
}

/* False: another capture of the target is running; it is tried again. */
static bool begin_capture(struct alarm *alarm, const struct watched_item *item)
{
	struct service *s = alarm->all->s;
	struct jobs_running running;
	struct error err = { 0 };
	struct jobs_key key;
	enum jobs_verdict v;

	memset(&key, 0, sizeof(key));
	memcpy(key.target, item->name, sizeof(key.target));
	memcpy(key.format, "pprof", 6);
	key.kind = kind_of(alarm->conf->capture);
	if (key.kind == WORKER_HEAP || key.kind == WORKER_MAP)
		key.seconds = (unsigned)alarm->conf->seconds;
	key.is_held = key.kind == WORKER_HEAP; /* two that can be compared, not two deltas */
	key.or_refs = !strcmp(alarm->conf->capture, "auto");
	key.n_processes = item->n_processes;
	memcpy(key.processes, item->processes, sizeof(key.processes));
	alarm->waiter.done = on_done;
	v = jobs_ask(s->jobs, &key, &alarm->waiter, &running, &err);
	if (v == JOBS_FAILED)
		log_note(LOG_WARN, "target %s: %s", alarm->target, err.message);
	return v == JOBS_WAIT || v == JOBS_FAILED;
}

/* ---- looks ---- */

/* Another process: what the rule has seen was not its memory. */
static void begin_anew(struct alarm *alarm, const struct worker_process *process)
{
	const struct trigger_rule rule = alarm->trigger.rule;
	const struct trigger_policy policy = alarm->trigger.policy;

	alarm->process = *process;
	alarm->baseline[0] = '\0';
	alarm->due = NULL;
	alarm->due_ns = alarm->retry_s = 0;
	trigger_init(&alarm->trigger, &rule, &policy);
	slow_look_forget(&alarm->slow, alarm->all->s->jobs);
	trigger_stacks_clear(&alarm->stacks);
}

/* By the stacks of the recording: when the rule is warm, and has its baseline. */
static enum trigger_verdict ask_stacks(struct alarm *alarm, uint64_t now,
                                       char reason[TRIGGER_REASON_BYTES])
{
	const struct slow_look *l = &alarm->slow;
	struct error err = { 0 };
	size_t grown;
	int r = trigger_stacks_look(&alarm->stacks, now, l->stacks, l->n_stacks, &grown, reason,
	                            &err);

	if (r < 0)
		log_note(LOG_WARN, "target %s: %s", alarm->target, err.message);
	return r > 0 ? TRIGGER_FIRE : TRIGGER_NOTHING;
}

static enum trigger_verdict ask_rule(struct alarm *alarm, const struct watch *w,
                                     const struct watched_item *item, uint64_t now,
                                     char reason[TRIGGER_REASON_BYTES])
{
	struct trigger_sample sample = w->last;
	enum trigger_verdict v;

	if (!slow_look_is_for(&alarm->trigger.rule))
		return w->news > 0 ? trigger_look(&alarm->trigger, now, &sample, reason)
		                   : TRIGGER_NOTHING;
	if (!slow_look_run(&alarm->slow, alarm->all->s->jobs, item, now))
		return TRIGGER_NOTHING;
	sample.bytes[TRIGGER_ALLOCATED] = alarm->slow.allocated_bytes;
	v = trigger_look(&alarm->trigger, now, &sample, reason);
	if (alarm->trigger.rule.kind == TRIGGER_HELD) {
		enum trigger_verdict by_stacks = ask_stacks(alarm, now, reason);

		v = v == TRIGGER_NOTHING ? by_stacks : v;
	}
	return v;
}

/* What we ourselves have in the process is not its growth. */
static void take_off_own(const struct watched_item *item, struct trigger_sample *s)
{
	const int64_t own = item->figures_due_ns && item->own_bytes > 0
	                            ? item->own_bytes / item->n_processes
	                            : 0;
	int64_t *anon = &s->bytes[TRIGGER_ANON];

	if (*anon >= 0)
		*anon = *anon > own ? *anon - own : 0;
}

/* The looks are those of the process that is there now. */
static void look(struct watch *w, const struct watched_item *item, uint64_t now)
{
	struct error ignored;

	if (!item->n_processes || memcmp(&w->process, &item->processes[0], sizeof(w->process)) != 0)
		w->look = look_close(w->look);
	w->news = -ESRCH;
	if (!item->n_processes)
		return;
	if (!w->look) {
		w->process = item->processes[0];
		w->last = trigger_sample_unknown();
		if (look_open(w->process.pid, &w->look, &ignored) < 0)
			return;
		for (const struct alarm *alarm = w->alarms; alarm; alarm = alarm->next)
			look_need(w->look, &alarm->trigger.rule);
	}
	w->news = look_sample(w->look, now, &w->last);
	if (w->news >= 0)
		take_off_own(item, &w->last);
}

static void run(struct alarm *alarm, const struct watch *w, const struct watched_item *item,
                uint64_t now)
{
	char reason[TRIGGER_REASON_BYTES] = "";
	enum trigger_verdict v;

	if (memcmp(&alarm->process, &w->process, sizeof(w->process)) != 0)
		begin_anew(alarm, &w->process);
	v = ask_rule(alarm, w, item, now, reason);
	if (v != TRIGGER_NOTHING) {
		alarm->due_ns = alarm->retry_s = 0;
		alarm->due = v == TRIGGER_BASELINE ? "baseline"
		                                   : trigger_rule_name(&alarm->trigger.rule);
		snprintf(alarm->due_reason, sizeof(alarm->due_reason), "%s",
		         v == TRIGGER_BASELINE ? "" : reason);
	}
	if (!alarm->due || now < alarm->due_ns || alarm->waiter.job || alarm->is_storing)
		return;
	alarm->name = alarm->due;
	memcpy(alarm->reason, alarm->due_reason, sizeof(alarm->reason));
	if (begin_capture(alarm, item))
		alarm->due = NULL;
}

void alarms_run(struct alarms *a)
{
	uint64_t now = clock_now_ns();

	for (size_t i = 0; i < a->n; i++) {
		const struct watched_item *item = watched_at(a->s->watched, i);
		struct watch *w = &a->watches[i];

		if (w->alarms)
			look(w, item, now);
		for (struct alarm *alarm = w->alarms; alarm && w->news >= 0; alarm = alarm->next)
			run(alarm, w, item, now);
	}
}

uint64_t alarms_held_off(const struct alarms *a)
{
	uint64_t n = 0;

	for (size_t i = 0; i < a->n; i++) {
		for (const struct alarm *alarm = a->watches[i].alarms; alarm; alarm = alarm->next)
			n += alarm->trigger.held_off;
	}
	return n;
}

bool alarms_figures(const struct alarms *a, size_t index, struct metrics_page_target *to)
{
	const struct watch *w = &a->watches[index];
	const struct alarm *eta = index < a->n ? w->alarms : NULL;

	if (!eta || !w->look)
		return false;
	while (eta && eta->trigger.rule.kind != TRIGGER_ETA)
		eta = eta->next;
	to->cgroup_used_bytes = (double)w->last.bytes[TRIGGER_CGROUP];
	to->cgroup_limit_bytes = (double)w->last.limit_bytes;
	if (eta)
		to->limit_eta_s = trigger_eta_s(&eta->trigger, &w->last);
	return true;
}
