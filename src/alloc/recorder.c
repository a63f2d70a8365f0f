/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/recorder.h"

#include "base/array.h"
#include "base/clock.h"

struct tracee *recorder_tracee(const struct alloc_recorder *r, u32 slot)
{
	uint64_t *index = hash_map_get(&r->by_slot, slot);

	return index ? r->tracees[*index] : NULL;
}

int recorder_keep(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	int rc = array_reserve(&r->tracees, &r->cap_tracees, r->n_tracees + 1, err);

	if (rc == 0)
		rc = hash_map_put(&r->by_slot, t->slot, r->n_tracees, err);
	if (rc < 0) {
		tracee_close(t);
		return rc;
	}
	r->tracees[r->n_tracees++] = t;
	return 0;
}

void recorder_end(struct alloc_recorder *r, struct tracee *t, enum alloc_ended how)
{
	if (t->ended)
		return;
	t->ended = how;
	t->ended_ns = clock_now_ns();
	if (how == ALLOC_ENDED_EXEC && r->options.follow)
		engine_bpf_end_program(r->engine, t->slot);
	else
		engine_bpf_end_process(r->engine, t->slot);
	tracee_detach_later(t, r->engine);
}

/* What the contexts' own account says now, to compare with at the end. */
static void note_used(struct tracee *t)
{
	struct runtime_view view = { t->target, t->space };
	struct error ignored;

	for (size_t i = 0; i < t->n_runtimes && !t->has_used_before; i++) {
		if (t->runtimes[i]->used_bytes)
			t->has_used_before = t->runtimes[i]->used_bytes(&view, &t->used_before,
			                                                &ignored) == 0;
	}
}

int recorder_attach(struct alloc_recorder *r, struct tracee *t, struct error *err)
{
	int rc = engine_bpf_watch(r->engine, t->slot, t->pid, err);

	if (rc < 0)
		return rc;
	note_used(t);
	t->attached_ns = clock_now_ns();
	return tracee_attach(t, r->engine, err);
}
