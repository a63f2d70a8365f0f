/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/tracer_result.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/maps.h"

/* ---- labels ---- */

static int label_text(struct tracer_filling *f, const char *key, const char *text,
                      struct error *err)
{
	struct profile_label l = { 0 };
	int r;

	if (!*text || f->n_labels == PROFILE_MAX_LABELS)
		return 0;
	r = profile_string(f->profile, key, strlen(key), &l.key, err);
	if (r == 0)
		r = profile_string(f->profile, text, strlen(text), &l.text, err);
	if (r == 0)
		f->labels[f->n_labels++] = l;
	return r;
}

static int begin_labels(struct tracer_filling *f, const struct tracer_process *p, struct error *err)
{
	struct profile_label pid = { .number = p->pid };

	f->n_labels = 1;
	f->labels[0] = pid;
	return profile_string(f->profile, "pid", 3, &f->labels[0].key, err);
}

static int label_thread(struct tracer_filling *f, const struct tracer_process *p, u32 tid,
                        struct error *err)
{
	char buf[32];

	return tid ? label_text(f, "thread", thread_names_get(&p->threads, tid, buf), err) : 0;
}

static void prot_text(const struct range_owner *o, char text[4])
{
	text[0] = o->prot & MAPS_READ ? 'r' : '-';
	text[1] = o->prot & MAPS_WRITE ? 'w' : '-';
	text[2] = o->prot & MAPS_EXEC ? 'x' : '-';
	text[3] = '\0';
}

static int range_labels(struct tracer_filling *f, const struct tracer_process *p,
                        const struct range *r, struct error *err)
{
	char prot[4];
	int rc = begin_labels(f, p, err);

	prot_text(&r->owner, prot);
	if (rc == 0)
		rc = label_thread(f, p, r->owner.tid, err);
	if (rc == 0)
		rc = label_text(f, "kind", tracer_kind_text(r->owner.kind), err);
	if (rc == 0)
		rc = label_text(f, "prot", prot, err);
	if (rc == 0 && tracer_result_is_uncertain(f->t, r))
		rc = label_text(f, "uncertain", "events were lost", err);
	return rc;
}

/* ---- frames ---- */

/* Events that were lost later may have been about it. */
bool tracer_result_is_uncertain(const struct tracer *t, const struct range *r)
{
	u64 last_lost_ns = tracer_bpf_counters(t->bpf)->last_lost_ns;

	return r->owner.flags & RANGE_UNCERTAIN ||
	       (last_lost_ns && r->owner.time_ns <= last_lost_ns);
}

static int named(struct tracer_filling *f, const char *name, u32 *ids, int n, struct error *err)
{
	int r = profile_frame_named(f->profile, name, &ids[n], err);

	return r < 0 ? r : n + 1;
}

int tracer_result_stack(struct tracer_filling *f, struct tracer_process *p, u32 stack, u32 *ids,
                        struct error *err)
{
	const struct stack_record *s = bpf_tables_stack(f->frames.tables, stack);
	struct tracer_process *of = s ? tracer_process_of(f->t, s->slot) : NULL;
	const struct code_history *code;
	u32 slot = s ? s->slot : p->slot;

	code = tracer_process_code(of ? of : p, slot); /* a copy's stacks are its maker's */
	if (!code)
		return named(f, "[ended before its code was read]", ids, 0, err);
	return stack_frames_of(&f->frames, code, slot, stack, ids, err);
}

static int frames_of(struct tracer_filling *f, struct tracer_process *p,
                     const struct tracer_pieces *ps, const struct tracer_piece *piece, u32 *ids,
                     struct error *err)
{
	const struct range *r = &piece->range;
	int n;

	if (r->owner.flags & RANGE_BEFORE_ATTACH) {
		n = tracer_pieces_frames(f, ps, piece, ids, err);
		return n < 0 ? n : named(f, "[before attach]", ids, n, err);
	}
	if (!r->owner.stack && r->owner.kind == RANGE_KERNEL)
		return named(f, "[by the kernel]", ids, 0, err);
	if (!r->owner.stack && r->owner.flags & RANGE_UNCERTAIN)
		return named(f, "[not seen being made]", ids, 0, err);
	if (!r->owner.stack && !r->owner.tid)
		return named(f, "[by exec]", ids, 0, err);
	return tracer_result_stack(f, p, r->owner.stack, ids, err);
}

/* ---- samples ---- */

static int add(struct tracer_filling *f, const u32 *ids, int n, const int64_t *values,
               struct error *err)
{
	return profile_add(f->profile, ids, n, f->labels, f->n_labels, values, err);
}

static int add_piece(struct tracer_filling *f, struct tracer_process *p,
                     const struct tracer_pieces *ps, const struct tracer_piece *piece,
                     struct error *err)
{
	u64 bytes = piece->range.end - piece->range.start;
	int64_t values[TRACER_TYPES] = { 0 };
	u32 ids[PROFILE_MAX_FRAMES];
	int n, r = range_labels(f, p, &piece->range, err);

	if (r < 0)
		return r;
	n = frames_of(f, p, ps, piece, ids, err);
	if (n < 0)
		return n;
	values[TRACER_TYPE_MAPPED] = bytes;
	values[TRACER_TYPE_RESIDENT] = piece->resident;
	f->mapped_bytes += bytes;
	f->resident_bytes += piece->resident;
	if (tracer_result_is_uncertain(f->t, &piece->range))
		f->uncertain_bytes += bytes;
	if (piece->range.owner.flags & RANGE_UNCERTAIN && !piece->range.owner.stack)
		f->unseen_bytes += bytes;
	return add(f, ids, n, values, err);
}

static int add_touch(struct tracer_filling *f, struct tracer_process *p,
                     const struct tracer_touch *touch, struct error *err)
{
	int64_t values[TRACER_TYPES] = { [TRACER_TYPE_TOUCHED] = touch->bytes };
	u32 ids[PROFILE_MAX_FRAMES];
	int n, r = begin_labels(f, p, err);

	if (r == 0)
		r = label_thread(f, p, touch->tid, err);
	if (r == 0)
		r = label_text(f, "kind", tracer_kind_text(touch->kind), err);
	if (r < 0)
		return r;
	if (touch->how == TRACER_TOUCH_SEEN)
		n = tracer_result_stack(f, p, touch->stack, ids, err);
	else
		n = named(f,
		          touch->how == TRACER_TOUCH_BEFORE ? "[before attach]"
		                                            : "[not seen being touched]",
		          ids, 0, err);
	return n < 0 ? n : add(f, ids, n, values, err);
}

static const char *call_text(u32 kind)
{
	switch (kind) {
	case MAP_EVENT_MMAP: return "mmap";
	case MAP_EVENT_UNMAP: return "munmap";
	case MAP_EVENT_REMAP: return "mremap";
	case MAP_EVENT_BRK: return "brk";
	case MAP_EVENT_SHMAT: return "shmat";
	case MAP_EVENT_SHMDT: return "shmdt";
	case MAP_EVENT_PROTECT: return "mprotect";
	case MAP_EVENT_ADVISE: return "madvise";
	case MAP_EVENT_TOUCH: return "page fault";
	}
	return "other";
}

static int add_calls(struct tracer_filling *f, const struct tracer_calls *c, struct error *err)
{
	struct tracer_process *p = tracer_process_of(f->t, c->slot);
	int64_t values[TRACER_TYPES] = { 0 };
	u32 ids[PROFILE_MAX_FRAMES];
	int n, r;

	if (!p)
		return 0;
	r = begin_labels(f, p, err);
	if (r == 0)
		r = label_thread(f, p, c->tid, err);
	if (r == 0)
		r = label_text(f, "call", call_text(c->kind), err);
	if (r < 0)
		return r;
	n = tracer_result_stack(f, p, c->stack, ids, err);
	if (n < 0)
		return n;
	values[c->kind == MAP_EVENT_TOUCH ? TRACER_TYPE_FAULTS : TRACER_TYPE_CALLS] = c->calls;
	return add(f, ids, n, values, err);
}

bool tracer_result_counts(const struct tracer *t, const struct tracer_process *p)
{
	bool any = false;

	if (!p->ended)
		return true;
	/* when all have ended: what the last programs of those had that were asked for */
	for (size_t i = 0; i < t->n_processes; i++)
		any |= !t->processes[i]->ended;
	return !any && p->is_first && p->ended != TRACER_ENDED_EXEC;
}

static int add_process(struct tracer_filling *f, struct tracer_process *p, struct error *err)
{
	cleanup(tracer_pieces_clear) struct tracer_pieces ps = { 0 };
	int r;

	if (!tracer_result_counts(f->t, p))
		return 0;
	f->any_alive |= !p->ended;
	r = tracer_pieces_make(f->t, p, &ps, err);
	if (r == 0)
		r = tracer_resident(f->t, p, &ps, err);
	for (size_t i = 0; r == 0 && i < ps.n_items; i++)
		r = add_piece(f, p, &ps, &ps.items[i], err);
	for (size_t i = 0; r == 0 && i < ps.n_touches; i++)
		r = add_touch(f, p, &ps.touches[i], err);
	return r;
}

static int fill(struct tracer_filling *f, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < f->t->n_processes; i++)
		r = add_process(f, f->t->processes[i], err);
	for (size_t i = 0; r == 0 && i < f->t->n_calls; i++)
		r = add_calls(f, &f->t->calls[i], err);
	return r;
}

/* ---- report ---- */

struct row {
	const char *key, *title;
	int64_t value;
	const char *unit;
};

static int put(struct report *to, const struct row *rows, size_t n, struct error *err)
{
	for (size_t i = 0; i < n; i++) {
		int r = report_int(to, rows[i].key, rows[i].title, rows[i].value, rows[i].unit,
		                   err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int put_losses(struct tracer_filling *f, struct report *to, struct error *err)
{
	const volatile struct map_counters *c = tracer_bpf_counters(f->t->bpf);
	u64 grown = 0, gone = 0;

	for (size_t i = 0; i < f->t->n_processes; i++) {
		grown += f->t->processes[i]->grown_bytes;
		gone += f->t->processes[i]->gone_bytes;
	}
	const struct row rows[] = {
		{ "lost_events", c->event_lost ? "events lost" : NULL, c->event_lost, "" },
		{ "uncertain_bytes", f->uncertain_bytes ? "owner uncertain" : NULL,
		  f->uncertain_bytes, "bytes" },
		{ "stacks_dropped", c->stacks_dropped ? "stacks dropped" : NULL, c->stacks_dropped,
		  "" },
		{ "stacks_full", c->stack_full ? "stacks not stored" : NULL,
		  c->stack_full + c->busy, "" },
		{ "lost_children", f->t->lost_children ? "children not followed" : NULL,
		  f->t->lost_children + c->no_slot, "" },
		{ "grown_bytes", NULL, grown, "bytes" },
		{ "unseen_bytes", f->unseen_bytes ? "found in the maps" : NULL, f->unseen_bytes,
		  "bytes" },
		{ "corrected_bytes", NULL, gone, "bytes" },
	};

	return put(to, rows, ARRAY_SIZE(rows), err);
}

static int put_target(struct tracer_filling *f, struct report *to, struct error *err)
{
	const struct tracer_process *p = f->t->processes[0];
	char text[128];

	if (f->t->n_processes == 1)
		snprintf(text, sizeof(text), "%s %d", p->command, p->pid);
	else
		snprintf(text, sizeof(text), "%s %d and %zu more", p->command, p->pid,
		         f->t->n_processes - 1);
	return report_text(to, "target", "target", text, err);
}

static int put_report(struct tracer_filling *f, enum tracer_ended ended, struct error *err)
{
	const volatile struct map_counters *c = tracer_bpf_counters(f->t->bpf);
	struct report *to = profile_report(f->profile);
	const struct row sizes[] = {
		{ "mapped_bytes", "mapped", f->mapped_bytes, "bytes" },
		{ "resident_bytes", f->any_alive ? "resident" : NULL,
		  f->any_alive ? (int64_t)f->resident_bytes : -1, "bytes" },
		{ "calls", "mapping calls", c->calls, "" },
		{ "faults", c->faults ? "page faults" : NULL, c->faults, "" },
		{ "kernel_faults", NULL, c->kernel_faults, "" },
		{ "processes", f->t->n_processes > 1 ? "processes" : NULL, f->t->n_processes, "" },
	};
	int r = put_target(f, to, err);

	if (r == 0)
		r = report_text(to, "engine", "engine",
		                tracer_bpf_is_per_call(f->t->bpf) ? "bpf, per call"
		                                                  : "bpf, all system calls",
		                err);
	if (r == 0)
		r = report_text(to, "ended_by", "ended by", tracer_ended_text(ended), err);
	if (r == 0)
		r = report_double(to, "duration_seconds", "recorded for",
		                  (double)(f->t->ended_ns - f->t->begun_ns) / 1e9, "s", err);
	if (r == 0)
		r = report_double(to, "estimated_slowdown", "slowdown, about", f->t->slowdown, "x",
		                  err);
	if (r == 0)
		r = put(to, sizes, ARRAY_SIZE(sizes), err);
	return r < 0 ? r : put_losses(f, to, err);
}

/* ---- the whole ---- */

static int new_profile(const struct tracer *t, struct profile **ret, struct error *err)
{
	static const struct profile_type types[TRACER_TYPES] = {
		[TRACER_TYPE_MAPPED] = { "mapped_bytes", "bytes" },
		[TRACER_TYPE_RESIDENT] = { "resident_bytes", "bytes" },
		[TRACER_TYPE_CALLS] = { "calls", "count" },
		[TRACER_TYPE_TOUCHED] = { "touched_bytes", "bytes" },
		[TRACER_TYPE_FAULTS] = { "faults", "count" },
	};
	bool touched = t->options.by == TRACER_BY_TOUCHED;

	return profile_new(ret, types, touched ? TRACER_TYPES : TRACER_TYPE_TOUCHED,
	                   touched                            ? TRACER_TYPE_TOUCHED
	                   : t->options.by == TRACER_BY_CALLS ? TRACER_TYPE_CALLS
	                                                      : TRACER_TYPE_MAPPED,
	                   err);
}

static void begin(struct tracer_filling *f, struct tracer *t, struct profile *p)
{
	*f = (struct tracer_filling){ .t = t, .profile = p };
	f->frames.tables = tracer_bpf_tables(t->bpf);
	f->frames.profile = p;
	f->frames.no_stack = "[stack not stored]";
}

static void end(struct tracer_filling *f)
{
	stack_frames_clear(&f->frames);
}

int tracer_result_make(struct tracer *t, enum tracer_ended ended, struct profile **ret,
                       struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct tracer_filling f;
	int r = new_profile(t, &p, err);

	if (r < 0)
		return r;
	begin(&f, t, p);
	r = fill(&f, err);
	if (r == 0)
		r = put_report(&f, ended, err);
	end(&f);
	if (r < 0)
		return r;
	profile_set_time(p, t->begun_unix_ns, (int64_t)(t->ended_ns - t->begun_ns));
	*ret = take_ptr(p);
	return 0;
}

static int give_piece(struct tracer_filling *f, struct tracer_process *p,
                      const struct tracer_pieces *ps, const struct tracer_piece *piece,
                      int (*fn)(void *arg, const struct tracer_range *r, struct error *err),
                      void *arg, struct error *err)
{
	struct tracer_range out = { .pid = p->pid, .range = piece->range, .thread = "" };
	u32 ids[PROFILE_MAX_FRAMES];
	int n = frames_of(f, p, ps, piece, ids, err);
	char buf[32];

	if (n < 0)
		return n;
	out.frames = ids;
	out.n_frames = n;
	if (piece->range.owner.tid)
		out.thread = thread_names_get(&p->threads, piece->range.owner.tid, buf);
	if (tracer_result_is_uncertain(f->t, &piece->range))
		out.range.owner.flags |= RANGE_UNCERTAIN;
	return fn(arg, &out, err);
}

static int each_range(struct tracer_filling *f, struct tracer_process *p,
                      int (*fn)(void *arg, const struct tracer_range *r, struct error *err),
                      void *arg, struct error *err)
{
	cleanup(tracer_pieces_clear) struct tracer_pieces ps = { 0 };
	int r = tracer_pieces_make(f->t, p, &ps, err);

	for (size_t i = 0; r == 0 && i < ps.n_items; i++)
		r = give_piece(f, p, &ps, &ps.items[i], fn, arg, err);
	return r;
}

int tracer_result_ranges(struct tracer *t, struct profile *p,
                         int (*fn)(void *arg, const struct tracer_range *r, struct error *err),
                         void *arg, struct error *err)
{
	struct tracer_filling f;
	int r = 0;

	begin(&f, t, p);
	for (size_t i = 0; r == 0 && i < t->n_processes; i++) {
		if (tracer_result_counts(t, t->processes[i]))
			r = each_range(&f, t->processes[i], fn, arg, err);
	}
	end(&f);
	return r;
}
