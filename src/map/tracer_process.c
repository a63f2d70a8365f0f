/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/tracer_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

struct tracer_process *tracer_process_close(struct tracer_process *p)
{
	if (!p)
		return NULL;
	range_set_clear(&p->set);
	range_set_clear(&p->touched);
	range_set_clear(&p->window);
	range_set_clear(&p->fork_window);
	for (size_t i = 0; i < p->n_pending; i++)
		range_set_list_clear(&p->pending[i].removed);
	free(p->pending);
	hash_map_clear(&p->pending_index);
	thread_names_clear(&p->threads);
	code_history_clear(&p->history);
	symbol_space_free(p->space);
	target_close(p->target);
	free(p);
	return NULL;
}

struct tracer_process *tracer_process_of(const struct tracer *t, u32 slot)
{
	uint64_t *index = hash_map_get(&t->by_slot, slot);

	return index ? t->processes[*index] : NULL;
}

const struct code_history *tracer_process_code(struct tracer_process *p, u32 slot)
{
	while (p->like && !(p->owns_code && slot == p->slot)) {
		slot = p->like_slot;
		p = p->like;
	}
	p->history.space = p->space;
	return p->space ? &p->history : NULL;
}

void tracer_process_end(struct tracer_process *p, enum tracer_ended how)
{
	if (p->ended)
		return;
	p->ended = how;
	p->target = target_close(p->target);
	for (size_t i = 0; i < p->n_pending; i++)
		range_set_list_clear(&p->pending[i].removed);
	range_set_clear(&p->fork_window);
	range_set_clear(&p->touched);
	/* what those had at their end that were asked for may be the result */
	if (!p->is_first || how == TRACER_ENDED_EXEC)
		range_set_clear(&p->set);
}

/* Takes it over, also on failure. */
static int keep(struct tracer *t, struct tracer_process *p, struct error *err)
{
	int r = array_reserve(&t->processes, &t->cap_processes, t->n_processes + 1, err);

	if (r == 0)
		r = hash_map_put(&t->by_slot, p->slot, t->n_processes, err);
	if (r < 0) {
		tracer_process_close(p);
		return r;
	}
	t->processes[t->n_processes++] = p;
	return 0;
}

/* ---- code ---- */

static int publish(struct tracer *t, struct tracer_process *p, struct error *err)
{
	struct bpf_tables *tables = tracer_bpf_tables(t->bpf);
	cleanup_free struct stack_span *spans = NULL;
	size_t n = 0;
	int r = modules_add_space(&t->modules, p->space, err);

	if (r == 0)
		r = modules_load(&t->modules, tables, err);
	if (r == 0)
		r = modules_spans(&t->modules, p->space, &spans, &n, err);
	return r < 0 ? r : bpf_tables_set_spans(tables, p->slot, spans, n, err);
}

/* The maps were read between two looks at the count of changes: if it has not
 * moved, they belong to it. */
static void note_code(struct tracer *t, struct tracer_process *p, u32 changed)
{
	if (tracer_bpf_modules_changed(t->bpf, p->slot) != changed)
		return;
	p->history.space = p->space;
	code_history_note(&p->history, changed);
	tracer_bpf_set_modules_seen(t->bpf, p->slot, changed);
}

static int own_code(struct tracer *t, struct tracer_process *p, struct error *err)
{
	struct symbol_space *space = NULL;
	int r = symbol_space_new(t->pool, p->target, &space, err);

	if (r == 0)
		p->space = space;
	return r;
}

/* A child has mapped code: what its maker's tags mean, they mean in the maker's
 * history only, so new stacks come under another slot. */
static int part(struct tracer *t, struct tracer_process *p, struct error *err)
{
	u32 old = p->slot, slot;
	uint64_t *index = hash_map_get(&t->by_slot, old);
	int r = tracer_bpf_new_slot(t->bpf, p->pid, &slot, err);

	if (r == 0)
		r = own_code(t, p, err);
	if (r < 0)
		return r;
	p->slot = slot;
	r = publish(t, p, err);
	if (r == 0)
		r = hash_map_put(&t->by_slot, slot, *index, err);
	if (r == 0)
		r = tracer_bpf_watch(t->bpf, p->pid, slot, err);
	if (r < 0) {
		p->slot = old;
		p->space = symbol_space_free(p->space);
		return r;
	}
	p->owns_code = true;
	note_code(t, p, 0);
	return 0;
}

static int refresh(struct tracer *t, struct tracer_process *p, struct error *err)
{
	u32 changed = tracer_bpf_modules_changed(t->bpf, p->slot);
	int r;

	if (p->like && !p->owns_code)
		return part(t, p, err);
	r = p->space ? symbol_space_refresh(p->space, p->target, err) : own_code(t, p, err);
	if (r >= 0)
		r = publish(t, p, err);
	if (r >= 0)
		note_code(t, p, changed);
	return r;
}

int tracer_process_refresh(struct tracer *t, struct tracer_process *p, struct error *err)
{
	u64 begun = clock_now_ns(), cost;
	int r;

	p->wants_code = false;
	if (!p->target)
		return 0;
	r = refresh(t, p, err);
	cost = clock_now_ns() - begun;
	p->code_ns = begun + cost + (20 * cost > 50000000 ? 20 * cost : 50000000);
	return r < 0 ? r : 0;
}

/* ---- new ones ---- */

static int begin(pid_t pid, u32 slot, struct tracer_process **ret, struct error *err)
{
	struct tracer_process *p = calloc(1, sizeof(*p));

	if (!p)
		return error_oom(err);
	p->pid = pid;
	p->slot = slot;
	p->attached_ns = clock_now_ns();
	snprintf(p->command, sizeof(p->command), "%d", pid);
	*ret = p;
	return 0;
}

static int open_target(struct tracer_process *p, struct error *err)
{
	int r = target_open(p->pid, &p->target, err);

	if (r == 0)
		snprintf(p->command, sizeof(p->command), "%s", p->target->comm);
	return r;
}

/* Makes the object and opens what it is; the slot comes with the engine. */
int tracer_process_open(struct tracer *t, pid_t pid, struct tracer_process **ret, struct error *err)
{
	struct tracer_process *p = NULL;
	int r = begin(pid, MAP_NO_SLOT, &p, err);

	if (r < 0)
		return r;
	r = open_target(p, err);
	if (r == 0)
		r = own_code(t, p, err);
	if (r == 0)
		r = modules_add_space(&t->modules, p->space, err);
	if (r == 0)
		r = array_reserve(&t->processes, &t->cap_processes, t->n_processes + 1, err);
	if (r < 0) {
		tracer_process_close(p);
		return r;
	}
	p->is_first = true;
	p->begins_at_exec = t->options.at_exec;
	t->processes[t->n_processes++] = p;
	*ret = p;
	return 0;
}

int tracer_process_exec(struct tracer *t, pid_t pid, u32 slot, struct error *err)
{
	bool is_first = false;
	struct error why = { 0 };
	struct tracer_process *p = NULL;
	int r = begin(pid, slot, &p, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_processes; i++)
		is_first |= t->processes[i]->is_first && t->processes[i]->pid == pid;
	r = open_target(p, &why);
	if (r == 0)
		r = tracer_process_refresh(t, p, &why);
	if (r < 0) {
		t->late_code++;
		log_note(LOG_DEBUG, "process %d after its exec: %s", pid, why.message);
	}
	p->wants_sync = true;
	p->begins_at_exec = true;
	p->is_first = is_first;
	return keep(t, p, err);
}

/* Those ranges of @from that the copy may have otherwise. */
static int doubt(struct range_set *set, const struct range_set *where, struct error *err)
{
	struct range_at at;
	const struct range *r;

	for (r = range_set_from(where, 0, &at); r; r = range_set_next(where, &at)) {
		int rc = range_set_flag(set, r->start, r->end, RANGE_UNCERTAIN, 0, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int drop_unforked(struct range_set *set, struct error *err)
{
	struct range_at at;
	const struct range *r = range_set_from(set, 0, &at);

	while (r) {
		u64 start = r->start, end = r->end;

		if (r->owner.flags & RANGE_NO_FORK) {
			int rc = range_set_remove(set, start, end, NULL, err);

			if (rc < 0)
				return rc;
		}
		r = range_set_from(set, end, &at);
	}
	return 0;
}

static int copy_memory(struct tracer_process *p, struct tracer_process *parent, struct error *err)
{
	int r = range_set_copy(&parent->set, &p->set, err);

	if (r == 0)
		r = range_set_copy(&parent->touched, &p->touched, err);
	if (r == 0)
		r = doubt(&p->set, &parent->fork_window, err);
	if (r == 0)
		r = drop_unforked(&p->set, err);
	p->lost_seen = parent->lost_seen;
	return r;
}

int tracer_process_fork(struct tracer *t, struct tracer_process *parent, u32 parent_slot, pid_t pid,
                        u32 slot, struct error *err)
{
	struct bpf_tables *tables = tracer_bpf_tables(t->bpf);
	const struct bpf_tables_list *spans = &tables->spans.slots[parent_slot];
	struct error why = { 0 };
	struct tracer_process *p = NULL;
	int r = begin(pid, slot, &p, err);

	if (r < 0)
		return r;
	p->like = parent;
	p->like_slot = parent_slot;
	memcpy(p->command, parent->command, sizeof(p->command));
	r = copy_memory(p, parent, err);
	if (r == 0)
		r = bpf_tables_set_spans(tables, slot, spans->items, spans->n, err);
	if (r < 0) {
		tracer_process_close(p);
		return r;
	}
	if (open_target(p, &why) < 0)
		log_note(LOG_DEBUG, "child %d: %s", pid, why.message);
	p->wants_sync = true;
	return keep(t, p, err);
}

int tracer_process_found(struct tracer *t, u32 slot, struct error *err)
{
	pid_t pid = tracer_bpf_process_of(t->bpf, slot);
	struct tracer_process *p;
	int r;

	if (!pid)
		return 0;
	r = tracer_process_exec(t, pid, slot, err);
	p = tracer_process_of(t, slot);
	if (r == 0 && p)
		p->begins_at_exec = false; /* what it has may be anybody's */
	return r;
}
