/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_agent.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "alloc/agent_block.h"
#include "alloc/agent_budget.h"
#include "alloc/agent_cpu.h"
#include "alloc/agent_image.h"
#include "alloc/agent_pages.h"
#include "alloc/agent_place.h"
#include "alloc/agent_samples.h"
#include "alloc/agent_slots.h"
#include "alloc/agent_still.h"
#include "alloc/engine_agent_exact.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "inject/filters.h"
#include "inject/lock.h"
#include "target/proc.h"

enum {
	POLL_MS = 10,
	LOOK_MS = 250,
	PEAK_LOOK_MS = 50, /* what comes and goes in less is not seen */
	CHECK_MS = 1000,
	RENEW_MS = 100,
	ALIVE_MS = 1800, /* an agent without a reader goes on for this long */
};

#define MS 1000000ull

static u64 time_stamp(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

static u64 data_at(const struct engine_agent *e, size_t offset)
{
	return e->base + AGENT_CODE_BYTES + offset;
}

#define AT(e, field) data_at(e, offsetof(struct agent_data, field))

/* ---- refusals ---- */

/* What the filters allow is asked when it begins, as they can only be read from threads
 * that stand still. */
int engine_agent_check_calls(const struct target *t, struct error *err)
{
	return filters_are_on(t, t->pid) ? filters_can_be_read(t, err) : 0;
}

/* Whatever stood in the way of this engine is nothing to the other, unless the process or
 * the right to look at it is missing, or another memwho is there. */
static int offer_other_engine(int r, struct error *err)
{
	static const char other[] = "--engine bpf makes no call in the process";
	char hint[ERROR_HINT_BYTES / 2];

	if (r == -ESRCH || r == -EPERM || r == -EACCES || strstr(err->hint, "--engine") ||
	    strstr(err->message, "another memwho"))
		return r;
	if (!err->hint[0])
		return error_hint(err, "%s", other);
	snprintf(hint, sizeof(hint), "%s", err->hint);
	return error_hint(err, "%s; %s", hint, other);
}

/* ---- attaching ---- */

static u64 deadline(const struct engine_agent *e)
{
	const u64 now = clock_now_ns(), tsc = time_stamp();
	const double rate = (double)(tsc - e->begun_tsc) / (double)(now - e->begun_ns + 1);

	return tsc + (u64)(rate * ALIVE_MS * 1e6);
}

static int first_control(const struct engine_agent *e, const struct alloc_options *o,
                         struct agent_control *ret, struct error *err)
{
	uint64_t low = 0, high = 0;
	int r;

	*ret = (struct agent_control){
		.state = AGENT_ON,
		.reader_pid = getpid(),
		.rate = e->rate.now,
		.deadline = deadline(e),
	};
	agent_budget_grant(e, o->budget, ret);
	memcpy(ret->means, e->rate.means, sizeof(ret->means));
	if (getrandom(&ret->seed, sizeof(ret->seed), GRND_NONBLOCK) < 0)
		ret->seed = clock_now_ns() ^ (u64)getpid() << 32;
	r = agent_slots_main_stack(e->tracee->target, &low, &high, err);
	ret->main_low = low;
	ret->main_high = high;
	ret->block_at = agent_block_find(e->tracee->target);
	return r;
}

/* A breakpoint that is in the way may be another memwho's. */
static int plan_image(struct tracee *t, struct agent_image *image, struct error *err)
{
	const int r = agent_image_plan(t, image, err);
	const pid_t by = r < 0 && strstr(err->message, "breakpoint") ? lock_marked_by(t->target)
	                                                             : 0;

	if (!by || by == getpid())
		return r;
	error_set(err, EBUSY,
	          "process %d is recorded by another memwho, process %d: its breakpoints are where "
	          "the agent's jumps would be",
	          (int)t->pid, (int)by);
	return error_hint(err, "--engine bpf can record beside it");
}

/* Only reads, unless an earlier agent, whose memwho was killed, stands in the way. */
static int plan(struct engine_agent *e, struct agent_image *image, struct error *err)
{
	const struct target *t = e->tracee->target;
	const int has_old = agent_place_in_use(t, err);
	int r = has_old ? has_old : plan_image(e->tracee, image, err);

	if (r >= 0)
		r = agent_place_open(t, image->in_pages, &e->inject, err);
	if (r == 0 && has_old)
		r = agent_place_empty_all(e->inject, t, err);
	/* pages may be back that were somewhere else */
	if (r >= 0 && has_old)
		r = symbol_space_refresh(e->tracee->space, t, err);
	return r >= 0 && has_old ? plan_image(e->tracee, image, err) : r;
}

static int fill(struct engine_agent *e, struct agent_image *image, struct error *err)
{
	int r = agent_image_make(image, e->base, err);

	return r < 0 ? r
	             : agent_place_fill(e->inject, e->base, image->bytes, image->n_patches, err);
}

int engine_agent_check_code(struct tracee *t, struct error *err)
{
	cleanup(agent_image_clear) struct agent_image image = { 0 };
	int r = agent_place_in_use(t->target, err);

	if (r)
		return r;
	r = agent_image_plan(t, &image, err);
	return r < 0 ? r : (int)image.n_patches;
}

/* A place that an earlier memwho has left, if it can be used, or a new one; filled. */
static int find_place(struct engine_agent *e, struct agent_image *image, struct error *err)
{
	const struct target *t = e->tracee->target;
	const struct agent_span near = agent_image_span(image);
	int r = 0;

	while (r == 0 && (e->base = agent_place_find(t, e->base, err))) {
		r = agent_place_take(e->inject, t, e->base, near, err);
		if (r == 1)
			r = fill(e, image, err);
	}
	if (r == 0)
		r = err->code;
	if (r == 0)
		r = agent_place_make(e->inject, t, near, &e->base, err);
	return r ? r : fill(e, image, err);
}

/* As many levels of exact mode's set as hold @entries. */
static unsigned levels_for(u64 entries)
{
	u64 bucket_bits = AGENT_EXACT_FIRST_BITS, n = 0;
	unsigned levels = 0;

	for (; entries && n < entries; bucket_bits += AGENT_EXACT_STEP_BITS, levels++)
		n += (u64)AGENT_EXACT_BUCKET_ENTRIES << bucket_bits;
	return levels;
}

static int take_pages(struct engine_agent *e, struct error *err)
{
	struct target *t = e->tracee->target;
	int r = agent_pages_take(e->inject, t, e->base, &e->table, &e->moved, err);

	t->moved = e->moved.n ? &e->moved : NULL;
	return r;
}

static int attach(struct engine_agent *e, const struct alloc_options *o, struct error *err)
{
	cleanup(agent_image_clear) struct agent_image image = { .in_pages = o->patch_pages };
	const struct target *t = e->tracee->target;
	struct agent_control control;
	struct error ignored;
	int r = plan(e, &image, err);

	image.exact = o->exact;
	image.cpu_at = agent_cpu_find(e->tracee);
	if (r >= 0)
		r = find_place(e, &image, err);
	if (r == 1)
		r = first_control(e, o, &control, err);
	if (r < 0)
		return r;
	e->table = *agent_image_table(&image);
	r = o->patch_pages ? take_pages(e, err) : 0;
	if (r == 0 && o->exact)
		r = engine_agent_exact_open(e, levels_for(o->table_entries), &control, err);
	if (r == 0)
		r = agent_still_patch(e->inject, t, e->base, &e->table, &control, &e->stopped_ns,
		                      err);
	if (r < 0)
		agent_place_empty(e->inject, t, e->base, &ignored);
	e->attached = r == 0;
	e->grant = control.grant;
	agent_budget_begin(e, o->budget);
	return r;
}

int engine_agent_open(struct tracee *t, const struct alloc_options *o, struct engine_agent **ret,
                      struct error *err)
{
	struct engine_agent *e = calloc(1, sizeof(*e));
	int r = 0;

	if (!e)
		return error_oom(err);
	e->tracee = t;
	e->begun_ns = clock_now_ns();
	e->look_every_ns = (o->peak ? PEAK_LOOK_MS : LOOK_MS) * MS;
	agent_rate_init(&e->rate, o->sample_bytes ? o->sample_bytes : ENGINE_AGENT_DEFAULT_MEAN,
	                e->begun_ns);
	if (!o->sample_bytes && o->budget > 0)
		e->rate.finest -= AGENT_RATE_FREE;
	e->begun_tsc = time_stamp();
#if !defined(__x86_64__)
	r = error_set(err, ENOTSUP, "the agent is for x86-64 only, so far");
#endif
	if (r == 0)
		r = engine_agent_check_calls(t->target, err);
	if (r == 0)
		r = agent_stacks_new(t, !o->exact, &e->stacks, err);
	if (r == 0)
		r = attach(e, o, err);
	if (r < 0 && target_has_execed(t->target)) {
		r = error_set(err, ESRCH, "process %d began another program while memwho attached",
		              t->pid);
		error_hint(err, "the same command records the new one");
	}
	if (r < 0) {
		engine_agent_close(e);
		return offer_other_engine(r, err);
	}
	*ret = e;
	return 0;
}

static void take_out(struct engine_agent *e)
{
	struct error err;
	int r;

	if (e->exact && engine_agent_exact_stop(e, &err) < 0)
		log_note(LOG_WARN, "what is held could not be read at the end: %s", err.message);
	r = agent_place_empty(e->inject, e->tracee->target, e->base, &err);
	e->left = r == 0;
	if (r < 0 && !target_has_ended(e->tracee->target) && !target_has_execed(e->tracee->target))
		log_note(LOG_WARN,
		         "the agent could not be taken out: %s; `memwho detach %d` tries again",
		         err.message, e->tracee->pid);
}

void engine_agent_detach(struct engine_agent *e)
{
	struct error ignored;

	if (!e->inject)
		return;
	if (e->attached && !target_has_ended(e->tracee->target))
		take_out(e);
	e->attached = false;
	e->tracee->target->moved = NULL;
	e->stopped_ns = inject_stats_of(e->inject)->longest_still_ns;
	e->inject = inject_close(e->inject);
	/* nothing more is called there: its own area goes, too */
	if (!target_has_ended(e->tracee->target))
		inject_clean(e->tracee->target, &ignored);
}

struct engine_agent *engine_agent_close(struct engine_agent *e)
{
	if (!e)
		return NULL;
	engine_agent_detach(e);
	maps_moved_clear(&e->moved);
	agent_exact_free(e->exact);
	agent_stacks_free(e->stacks);
	hash_map_clear(&e->by_seq);
	free(e->samples);
	free(e->blocks);
	free(e->peak_blocks);
	free(e);
	return NULL;
}

/* ---- keeping it alive ---- */

static int renew(struct engine_agent *e, struct error *err)
{
	const u64 v = deadline(e);

	return inject_write(e->inject, AT(e, control) + offsetof(struct agent_control, deadline),
	                    &v, sizeof(v), err);
}

/* The probe of the function that is patched at @at: the last that begins before it. */
static const char *name_of(const struct engine_agent *e, u64 at)
{
	const char *name = "";
	u64 bias, least = UINT64_MAX;

	for (size_t i = 0; i < e->tracee->probes.n_probes; i++) {
		const struct runtime_probe *p = &e->tracee->probes.probes[i];

		if (!tracee_find_bias(e->tracee, p->module, &bias) ||
		    at - (p->vaddr + bias) >= least)
			continue;
		least = at - (p->vaddr + bias);
		name = p->name;
	}
	return name;
}

/* A breakpoint that somebody has set into our jump may lead the target astray (where others
 * of the function's instructions begin in it), or will when it is taken away: leave at once. */
static int check_patches(struct engine_agent *e, enum alloc_ended *ended, struct error *err)
{
	unsigned which = 0;
	int r = agent_place_check(e->inject, e->tracee->target, &e->table, &which, err);

	if (r != 0)
		return r < 0 ? r : 0;
	snprintf(e->patch_lost, sizeof(e->patch_lost), "%s",
	         name_of(e, e->table.functions[which].patch_at));
	*ended = ALLOC_ENDED_GUARD;
	engine_agent_detach(e);
	return 0;
}

int engine_agent_keep_peak(struct engine_agent *e, struct error *err)
{
	struct engine_agent_block *blocks = malloc((e->n_blocks + 1) * sizeof(*blocks));

	if (!blocks)
		return error_oom(err);
	if (e->n_blocks)
		memcpy(blocks, e->blocks, e->n_blocks * sizeof(*blocks));
	free(e->peak_blocks);
	e->peak_blocks = blocks;
	e->n_peak_blocks = e->n_blocks;
	e->peak_looked_ns = e->looked_ns;
	return 0;
}

void engine_agent_swap_peak(struct engine_agent *e)
{
	struct engine_agent_block *const blocks = e->blocks;
	const size_t n = e->n_blocks;
	const u64 looked_ns = e->looked_ns;

	e->blocks = e->peak_blocks;
	e->n_blocks = e->n_peak_blocks;
	e->looked_ns = e->peak_looked_ns;
	e->peak_blocks = blocks;
	e->n_peak_blocks = n;
	e->peak_looked_ns = looked_ns;
}

int engine_agent_set_rate(struct engine_agent *e, unsigned line, struct error *err)
{
	const u64 now = clock_now_ns();

	return e->attached ? agent_rate_set(&e->rate, e->inject, e->base + AGENT_CODE_BYTES, line,
	                                    now, err)
	                   : 0;
}

/* Countdowns that are longer than they should be: of threads that were not to be caught
 * at the last change, or that have rested because we came late. */
static int renew_countdowns(struct engine_agent *e, u64 now, struct error *err)
{
	if (now - e->countdowns_ns < CHECK_MS * MS ||
	    (e->rate.n_history < 2 && e->counters.expired == e->expired_seen))
		return 0;
	e->countdowns_ns = now;
	e->expired_seen = e->counters.expired;
	return agent_rate_renew(&e->rate, e->inject, e->base + AGENT_CODE_BYTES, err);
}

/* New threads, stacks that have grown or are not known; and now and then in any case. */
static bool slots_want_care(const struct engine_agent *e, u64 now)
{
	const u64 since = now - e->tended_ns;

	return e->counters.claims != e->claims_seen || (e->stacks_cut && since > LOOK_MS * MS) ||
	       since > CHECK_MS * MS;
}

static int check_slots(struct engine_agent *e, struct error *err)
{
	return agent_health_check_slots(&e->health, &e->rate, e->inject, e->base + AGENT_CODE_BYTES,
	                                err);
}

/* The agent has given us up: what was allocated since then is not known. */
static bool came_too_late(struct engine_agent *e, enum alloc_ended *ended)
{
	if (!e->exact || !e->exact->counters.gave_up)
		return false;
	*ended = ALLOC_ENDED_GUARD;
	engine_agent_detach(e);
	return true;
}

static int round_of(struct engine_agent *e, enum alloc_ended *ended, struct error *err)
{
	const u64 now = clock_now_ns();
	int r = check_patches(e, ended, err);

	if (r < 0 || *ended)
		return r;
	r = agent_samples_drain(e, err);
	if (r == 0 && came_too_late(e, ended))
		return 0;
	if (r == 0 && now - e->renewed_ns > RENEW_MS * MS) {
		e->renewed_ns = now;
		r = renew(e, err);
	}
	if (r == 0 && !e->exact)
		r = agent_budget_work(e, ended, err);
	if (r < 0 || *ended)
		return r;
	if (slots_want_care(e, now)) {
		e->claims_seen = e->counters.claims;
		e->stacks_cut = false;
		e->tended_ns = now;
		r = agent_slots_tend(e->inject, e->tracee->target, e->base,
		                     e->exact ? agent_exact_slots(e->exact) : 0, err);
	}
	if (r == 0)
		r = renew_countdowns(e, now, err);
	if (r == 0 && now - e->looked_ns > e->look_every_ns)
		r = e->exact ? engine_agent_exact_pulse(e, err) : agent_samples_look(e, err);
	if (r == 0 && now - e->checked_ns > CHECK_MS * MS) {
		e->checked_ns = now;
		r = e->exact ? 0 : check_slots(e, err);
	}
	return r;
}

/* Its memory is gone: ended, or another program runs there. */
static bool is_gone(struct engine_agent *e, int r, enum alloc_ended *ended)
{
	if (r != -ESRCH && !target_has_ended(e->tracee->target))
		return false;
	for (unsigned i = 0; i < 50 && !target_has_ended(e->tracee->target) &&
	                     !target_has_execed(e->tracee->target);
	     i++)
		nanosleep(&(struct timespec){ 0, 2 * MS }, NULL);
	*ended = target_has_ended(e->tracee->target) ? ALLOC_ENDED_EXIT : ALLOC_ENDED_EXEC;
	e->attached = false;
	return true;
}

u64 engine_agent_rest_ns(const struct engine_agent *e)
{
	return e->n_drained > AGENT_RECORDS / 2   ? 0
	       : e->n_drained > AGENT_RECORDS / 8 ? MS
	                                          : POLL_MS * MS;
}

static void nap(const struct engine_agent *e, u64 most_ns)
{
	const u64 ns = engine_agent_rest_ns(e);

	if (ns)
		nanosleep(&(struct timespec){ 0, (long)(ns < most_ns ? ns : most_ns) }, NULL);
}

int engine_agent_poll(struct engine_agent *e, int timeout_ms, enum alloc_ended *ended,
                      struct error *err)
{
	const u64 until = clock_now_ns() + (u64)(timeout_ms > 0 ? timeout_ms : 0) * MS;

	while (e->attached) {
		u64 now;
		int r = round_of(e, ended, err);

		if (r < 0)
			return is_gone(e, r, ended) ? 0 : r;
		now = clock_now_ns();
		if (*ended || now >= until || alloc_interrupted)
			break;
		nap(e, until - now);
	}
	return 0;
}
