/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/follow.h"

#include <errno.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"

#define WORK_NS    20000000ULL
#define CHECK_NS   1000000000ULL
#define REFRESH_NS 50000000ULL

/* ---- taking events off the ring ---- */

int follow_note(void *arg, const struct alloc_event *event)
{
	struct alloc_recorder *r = arg;
	struct error ignored;

	if (event->kind == ALLOC_EVENT_MODULES) { /* a thousand of them are one */
		struct tracee *t = recorder_tracee(r, event->slot);

		if (t)
			t->wants_refresh = true;
		return 0;
	}
	if (array_reserve(&r->events, &r->cap_events, r->n_events + 1, &ignored) < 0)
		r->lost_events++;
	else
		r->events[r->n_events++] = *event;
	return 0;
}

bool follow_is_behind(const struct alloc_recorder *r)
{
	return r->events_done < r->n_events;
}

/* ---- children and new programs ---- */

static void lose_child(struct alloc_recorder *r, pid_t pid, const struct error *why)
{
	r->lost_children++;
	log_note(LOG_DEBUG, "child %d is not recorded: %s", pid, why->message);
}

/* What @t allocated from @since_ns till now is not known; how long that was is in
 * the result. The slot is used up in any case: there may be entries with it. */
static int take_in(struct alloc_recorder *r, struct tracee *t, u64 since_ns, struct error *err)
{
	int rc;

	/* the last one is calibrate.c's */
	if (r->n_slots >= STACK_MAX_PROCESSES - 1) {
		tracee_close(t);
		return error_set(err, ENOSPC, "more than %d processes", STACK_MAX_PROCESSES - 1);
	}
	r->n_slots++;
	tracee_decide_throws(t, engine_bpf_has_sessions(r->engine));
	rc = tracee_publish(t, r->engine, &r->modules, err);
	if (rc == 0)
		rc = recorder_attach(r, t, err);
	if (rc == 0) {
		t->late_ns = clock_now_ns() - since_ns;
		return recorder_keep(r, t, err);
	}
	engine_bpf_end_process(r->engine, t->slot);
	tracee_close(t);
	return rc;
}

static int take_in_new(struct alloc_recorder *r, pid_t pid, u64 since_ns, struct error *err)
{
	struct tracee *t;
	int rc = tracee_open(pid, r->n_slots, r->pool, r->allocators, &t, err);

	return rc < 0 ? rc : take_in(r, t, since_ns, err);
}

static int take_in_child(struct alloc_recorder *r, const struct tracee *parent, pid_t pid,
                         u64 since_ns, struct error *err)
{
	struct tracee *t;
	int rc = parent ? tracee_fork(parent, pid, r->n_slots, r->pool, &t, err) : -EAGAIN;

	/* another program already, or nobody to learn the layout from */
	if (rc == -EAGAIN)
		return take_in_new(r, pid, since_ns, err);
	return rc < 0 ? rc : take_in(r, t, since_ns, err);
}

/* The last one of this pid that lives. */
static struct tracee *living(const struct alloc_recorder *r, pid_t pid)
{
	for (size_t i = r->n_tracees; i-- > 0;) {
		if (r->tracees[i]->pid == pid && !r->tracees[i]->ended)
			return r->tracees[i];
	}
	return NULL;
}

/* Whoever has this pid now: the slot of an event may be one of its earlier lives. */
static struct tracee *of_event(const struct alloc_recorder *r, u32 slot, pid_t pid)
{
	struct tracee *t = living(r, pid);

	return t || slot == STACK_SLOT_PENDING ? t : recorder_tracee(r, slot);
}

static void on_fork(struct alloc_recorder *r, const struct alloc_event *event)
{
	struct tracee *parent = of_event(r, event->slot, event->parent);
	struct error why = { 0 };

	if (parent && parent->ended)
		parent = NULL;
	/* first what cannot wait: the child allocates already */
	if (r->options.follow && take_in_child(r, parent, event->pid, event->time_ns, &why) < 0)
		lose_child(r, event->pid, &why);
	if (parent && tracee_expect_forks(parent, r->engine, &why) < 0 &&
	    !target_has_ended(parent->target))
		log_note(LOG_WARN, "children of process %d keep our breakpoints until the end: %s",
		         parent->pid, why.message);
}

static void on_exec(struct alloc_recorder *r, const struct alloc_event *event)
{
	struct tracee *old = of_event(r, event->slot, event->pid);
	struct error why = { 0 };

	/* the exec came before our first look: we have taken the new program in */
	if (old && event->time_ns < old->looked_ns)
		return;
	if (old)
		recorder_end(r, old, ALLOC_ENDED_EXEC);
	if (!r->options.follow)
		return;
	if (take_in_new(r, event->pid, event->time_ns, &why) == 0) {
		/* as a child it was not to be had; now it is */
		if (!old && r->lost_children)
			r->lost_children--;
	} else if (old) {
		lose_child(r, event->pid, &why);
	}
}

static void work_on(struct alloc_recorder *r, const struct alloc_event *event)
{
	struct tracee *t;

	switch (event->kind) {
	case ALLOC_EVENT_FORK: on_fork(r, event); break;
	case ALLOC_EVENT_EXEC: on_exec(r, event); break;
	case ALLOC_EVENT_EXIT:
		t = recorder_tracee(r, event->slot);
		if (t)
			recorder_end(r, t, ALLOC_ENDED_EXIT);
		break;
	}
}

/* ---- new code ---- */

/* Reading the maps holds the target's own lock on them: not more than a
 * twentieth of the time. */
static void refresh(struct alloc_recorder *r, struct tracee *t)
{
	u64 begun = clock_now_ns(), cost;
	struct error why = { 0 };

	t->wants_refresh = false;
	if (!engine_bpf_is_active(r->engine, t->slot))
		return; /* what is there now is another program's */
	if (tracee_refresh(t, r->engine, &r->modules, &why) < 0) {
		r->late_modules++;
		log_note(LOG_DEBUG, "process %d: %s", t->pid, why.message);
	}
	cost = clock_now_ns() - begun;
	t->refresh_ns = begun + cost + (20 * cost > REFRESH_NS ? 20 * cost : REFRESH_NS);
}

static void refresh_all(struct alloc_recorder *r)
{
	u64 now = clock_now_ns();

	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];

		if (t->wants_refresh && !t->ended && now >= t->refresh_ns)
			refresh(r, t);
	}
}

/* Who has ended without an event (the ring was full, or we are in another pid
 * namespace than the kernel's first). */
static void check_living(struct alloc_recorder *r)
{
	u64 now = clock_now_ns();

	if (now - r->checked_ns < CHECK_NS)
		return;
	r->checked_ns = now;
	for (size_t i = 0; i < r->n_tracees; i++) {
		struct tracee *t = r->tracees[i];

		if (!t->ended && target_has_ended(t->target))
			recorder_end(r, t, ALLOC_ENDED_EXIT);
	}
}

/* ---- all of it ---- */

void follow_work(struct alloc_recorder *r)
{
	u64 begun = clock_now_ns();

	while (follow_is_behind(r)) {
		/* a copy: the array may move */
		struct alloc_event event = r->events[r->events_done++];

		work_on(r, &event);
		if (alloc_interrupted || clock_now_ns() - begun > WORK_NS)
			break;
	}
	if (!follow_is_behind(r)) {
		r->n_events = r->events_done = 0;
		check_living(r);
	}
	refresh_all(r);
	for (size_t i = 0; i < r->n_tracees; i++)
		tracee_end_replaced(r->tracees[i], r->engine, begun);
}

void follow_give_up(struct alloc_recorder *r)
{
	struct error ignored;

	engine_bpf_poll(r->engine, 0, follow_note, r, &ignored);
	for (size_t i = r->events_done; r->options.follow && i < r->n_events; i++)
		r->lost_children += r->events[i].kind == ALLOC_EVENT_FORK;
	r->n_events = r->events_done = 0;
}
