/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/tracee.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "alloc/tracee_probes.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "bpf/bpf_permission.h"

#define BOTH_HEARD_NS 30000000ull  /* of two sets of links, one of which replaces the other */
#define RETURNS_NS    200000000ull /* a call that is older than that has ended, or sleeps long */

/* ---- opening ---- */

static bool has_children(pid_t pid)
{
	cleanup_free pid_t *children = NULL;
	struct error ignored;
	size_t n = 0;

	return target_descendants(pid, &children, &n, &ignored) == 0 && n;
}

static int begin(pid_t pid, u32 slot, struct tracee **ret, struct error *err)
{
	cleanup(tracee_closep) struct tracee *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	t->pid = pid;
	t->slot = slot;
	t->mark = -1;
	t->attached_ns = t->looked_ns = clock_now_ns();
	r = target_open(pid, &t->target, err);
	if (r < 0)
		return r;
	snprintf(t->command, sizeof(t->command), "%s", t->target->comm);
	t->forks = has_children(pid);
	*ret = take_ptr(t);
	return 0;
}

/* On its way out a process has no memory any more, but is no zombie yet. */
static bool is_ending(const struct tracee *t)
{
	cleanup_free char *maps = NULL;
	struct error ignored;
	size_t len = 0;

	if (target_has_ended(t->target))
		return true;
	return target_proc_file(t->target, "maps", 1 << 28, &maps, &len, &ignored) == -ESRCH ||
	       (maps && !len);
}

int tracee_open(pid_t pid, u32 slot, struct symbol_pool *pool, const char *allocators,
                struct tracee **ret, struct error *err)
{
	cleanup(tracee_closep) struct tracee *t = NULL;
	int r = allocators ? tracee_probes_check_list(allocators, err) : 0;

	if (r < 0)
		return r;
	r = begin(pid, slot, &t, err);
	if (r < 0)
		return r;
	t->allocators = allocators;
	r = symbol_space_new(pool, t->target, &t->space, err);
	if (r == 0)
		r = tracee_probes_find(t, err);
	if (r < 0 && is_ending(t)) {
		error_set(err, ESRCH, "process %d (%s) ended while memwho looked at it", pid,
		          t->command);
		return error_hint(err, "`memwho run -- COMMAND` records a program from its "
		                       "start to its end");
	}
	if (r < 0)
		return r;
	tracee_names_learn(t);
	*ret = take_ptr(t);
	return 0;
}

int tracee_fork(const struct tracee *parent, pid_t pid, u32 slot, struct symbol_pool *pool,
                struct tracee **ret, struct error *err)
{
	cleanup(tracee_closep) struct tracee *t = NULL;
	int r = begin(pid, slot, &t, err);

	if (r < 0)
		return r;
	if (t->target->stack_start != parent->target->stack_start || !t->target->stack_start)
		return error_set(err, EAGAIN, "process %d runs another program", pid);
	r = symbol_space_new(pool, t->target, &t->space, err);
	if (r < 0)
		return r;
	r = tracee_probes_copy(t, parent, err);
	if (r < 0)
		return r;
	t->no_throwing = parent->no_throwing;
	t->throw_reason = parent->throw_reason;
	*ret = take_ptr(t);
	return 0;
}

struct tracee *tracee_close(struct tracee *t)
{
	if (!t)
		return NULL;
	tracee_detach(t);
	runtime_probes_clear(&t->probes);
	symbol_space_free(t->space);
	target_close(t->target);
	hash_map_clear(&t->context_index);
	thread_names_clear(&t->threads);
	free(t->contexts);
	code_history_clear(&t->history);
	free(t);
	return NULL;
}

void tracee_closep(struct tracee **t)
{
	*t = tracee_close(*t);
}

/* ---- functions that may throw ---- */

bool tracee_may_throw(const struct tracee *t)
{
	for (size_t i = 0; i < t->probes.n_probes; i++) {
		if (t->probes.probes[i].code.flags & PLAN_THROWS)
			return true;
	}
	return false;
}

static bool overcommit_is_strict(void)
{
	cleanup_fclose FILE *f = fopen("/proc/sys/vm/overcommit_memory", "re");

	return f && fgetc(f) == '2';
}

static bool is_limited(pid_t pid, int resource)
{
	struct rlimit limit;

	return prlimit(pid, resource, NULL, &limit) < 0 || limit.rlim_cur != RLIM_INFINITY;
}

/*
 * A return probe on an operator new that throws ends the program. A session
 * refuses the return of a call that is sure to fail (over 1 GiB); on a target
 * where a smaller one can fail for real, nothing may be attached to it at all.
 */
void tracee_decide_throws(struct tracee *t, bool engine_has_sessions)
{
	if (!tracee_may_throw(t))
		return;
	if (!engine_has_sessions)
		t->throw_reason = "needs uprobe sessions (Linux 6.13)";
	else if (is_limited(t->pid, RLIMIT_AS) || is_limited(t->pid, RLIMIT_DATA))
		t->throw_reason = "may throw: the process has a memory limit (RLIMIT_AS or _DATA)";
	else if (overcommit_is_strict())
		t->throw_reason = "may throw: vm.overcommit_memory is 2";
	t->no_throwing = t->throw_reason != NULL;
}

static bool is_left_out(const struct tracee *t, unsigned flags)
{
	return t->no_throwing && (flags & PLAN_THROWS);
}

/* ---- telling the engine ---- */

bool tracee_find_bias(const struct tracee *t, const struct symbol_module *module, u64 *ret)
{
	for (size_t i = 0; i < symbol_space_n(t->space); i++) {
		const struct symbol_mapping *m = symbol_space_at(t->space, i);

		if (m->module == module && !m->gone) {
			*ret = m->bias;
			return true;
		}
	}
	return false;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct alloc_range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static size_t merge_ranges(struct alloc_range *ranges, size_t n)
{
	size_t kept = 0;

	qsort(ranges, n, sizeof(*ranges), compare_ranges);
	for (size_t i = 0; i < n; i++) {
		if (kept && ranges[i].start <= ranges[kept - 1].end) {
			if (ranges[i].end > ranges[kept - 1].end)
				ranges[kept - 1].end = ranges[i].end;
		} else {
			ranges[kept++] = ranges[i];
		}
	}
	return kept;
}

static void put_range(const struct tracee *t, const struct symbol_module *module, u64 vaddr,
                      u64 size, struct alloc_range *ranges, size_t *n)
{
	u64 bias;

	if (size && tracee_find_bias(t, module, &bias))
		ranges[(*n)++] = (struct alloc_range){ vaddr + bias, vaddr + bias + size };
}

int tracee_internal_ranges(const struct tracee *t, struct alloc_range **ret, size_t *ret_n,
                           struct error *err)
{
	size_t max = t->probes.n_probes + t->probes.n_ranges, n = 0;
	struct alloc_range *ranges = malloc((max + 1) * sizeof(*ranges));

	if (!ranges)
		return error_oom(err);
	for (size_t i = 0; i < t->probes.n_probes; i++) {
		const struct runtime_probe *p = &t->probes.probes[i];

		if (!p->left_out && !is_left_out(t, p->code.flags))
			put_range(t, p->module, p->vaddr, p->size, ranges, &n);
	}
	for (size_t i = 0; i < t->probes.n_ranges; i++) {
		const struct runtime_range *r = &t->probes.ranges[i];

		if (!is_left_out(t, r->flags))
			put_range(t, r->module, r->vaddr, r->size, ranges, &n);
	}
	*ret_n = merge_ranges(ranges, n);
	*ret = ranges;
	return 0;
}

int tracee_publish(struct tracee *t, struct engine_bpf *e, struct modules *m, struct error *err)
{
	cleanup_free struct stack_span *spans = NULL;
	cleanup_free struct alloc_range *ranges = NULL;
	size_t n_spans = 0, n_ranges = 0;
	int r = modules_add_space(m, t->space, err);

	if (r < 0)
		return r;
	r = modules_load(m, engine_bpf_tables(e), err);
	if (r < 0)
		return r;
	r = modules_spans(m, t->space, &spans, &n_spans, err);
	if (r < 0)
		return r;
	r = tracee_internal_ranges(t, &ranges, &n_ranges, err);
	if (r < 0)
		return r;
	return engine_bpf_set_process(e, t->slot, t->pid, spans, n_spans, ranges, n_ranges, err);
}

/* ---- probes ---- */

struct points {
	struct engine_bpf_point *items;
	size_t n, cap;
};

static void points_clear(struct points *p)
{
	free(p->items);
}

static int add_point(struct points *to, enum engine_bpf_probe kind, struct elf_file *elf, u64 vaddr,
                     u64 counter, u32 plan, struct error *err)
{
	u64 offset;
	int r;

	if (!elf || !elf_file_offset(elf, vaddr, &offset))
		return error_set(err, ENOEXEC, "address 0x%lx is in no segment of its file", vaddr);
	r = array_reserve(&to->items, &to->cap, to->n + 1, err);
	if (r < 0)
		return r;
	to->items[to->n++] = (struct engine_bpf_point){ kind, elf_file_fd(elf), offset, counter,
		                                        plan };
	return 0;
}

static bool wants_return(const struct runtime_probe *p)
{
	return p->code.role == PLAN_ALLOC || p->code.role == PLAN_REALLOC;
}

static int add_probe(const struct tracee *t, struct engine_bpf *e, const struct runtime_probe *p,
                     struct points *plain, struct points *sessions, struct error *err)
{
	struct elf_file *elf = symbol_module_elf(p->module);
	u32 plan;
	int r;

	if (is_left_out(t, p->code.flags))
		return 0;
	r = engine_bpf_add_plan(e, &p->code, &plan, err);
	if (r < 0)
		return r;
	if (p->code.flags & PLAN_THROWS)
		return add_point(sessions, ENGINE_BPF_SESSION, elf, p->at, p->counter_offset, plan,
		                 err);
	if (wants_return(p))
		r = add_point(plain, ENGINE_BPF_RETURN, elf, p->at, p->counter_offset, plan, err);
	if (r == 0)
		r = add_point(plain, ENGINE_BPF_ENTRY, elf, p->at, p->counter_offset, plan, err);
	return r < 0 ? error_context(err, "%s", p->name) : 0;
}

/* glibc's and musl's ld.so call an empty function whenever their list of
 * modules changes, for debuggers (glibc elf/dl-debug.c). */
static int add_linker(const struct tracee *t, struct points *to, struct error *err)
{
	for (size_t i = 0; i < symbol_space_n(t->space); i++) {
		struct symbol_module *m = symbol_space_at(t->space, i)->module;
		struct elf_file *elf = m ? symbol_module_elf(m) : NULL;
		struct elf_symbol s;

		if (elf && elf_file_symbol(elf, ELF_DYNSYM, "_dl_debug_state", &s) == 0)
			return add_point(to, ENGINE_BPF_MODULES, elf, s.value, 0, 0, err);
	}
	return 0;
}

static int points_from(struct tracee *t, struct engine_bpf *e, size_t first, struct points *plain,
                       struct points *sessions, struct error *err)
{
	int r = first ? 0 : add_linker(t, plain, err);

	for (size_t i = first; r == 0 && i < t->probes.n_probes; i++)
		r = add_probe(t, e, &t->probes.probes[i], plain, sessions, err);
	return r;
}

static enum engine_bpf_how how_to_attach(const struct tracee *t)
{
	return t->forks ? ENGINE_BPF_PERF : ENGINE_BPF_MULTI;
}

/* perf's uprobes may need more privileges than uprobe_multi's; without them a
 * forked child pays for our breakpoints, which is better than no recording. */
static int attach_plain(struct tracee *t, struct engine_bpf *e, const struct points *points,
                        struct error *err)
{
	cleanup(engine_bpf_links_detach) struct engine_bpf_links fresh = { 0 };
	enum engine_bpf_how how = how_to_attach(t);
	int r = engine_bpf_links_attach(e, how, t->pid, t->slot, t->generation, points->items,
	                                points->n, &fresh, err);

	if (how == ENGINE_BPF_PERF && bpf_permission_is_refusal(r) && engine_bpf_has_multi(e)) {
		log_note(LOG_WARN,
		         "children that process %d forks are slowed down, too, until the end: %s",
		         t->pid, err->message);
		engine_bpf_links_detach(&fresh);
		r = engine_bpf_links_attach(e, ENGINE_BPF_MULTI, t->pid, t->slot, t->generation,
		                            points->items, points->n, &fresh, err);
	}
	return r < 0 ? r : engine_bpf_links_move(&t->links, &fresh, err);
}

int tracee_attach(struct tracee *t, struct engine_bpf *e, struct error *err)
{
	cleanup(points_clear) struct points plain = { 0 }, sessions = { 0 };
	int r = points_from(t, e, t->n_attached, &plain, &sessions, err);

	if (r == 0)
		r = engine_bpf_links_attach(e, ENGINE_BPF_MULTI, t->pid, t->slot, t->generation,
		                            sessions.items, sessions.n, &t->sessions, err);
	if (r == 0)
		r = attach_plain(t, e, &plain, err);
	if (r == 0)
		t->n_session_probes += sessions.n;
	if (r == 0)
		t->n_attached = t->probes.n_probes;
	return r;
}

int tracee_expect_forks(struct tracee *t, struct engine_bpf *e, struct error *err)
{
	cleanup(points_clear) struct points plain = { 0 }, sessions = { 0 };
	cleanup(engine_bpf_links_detach) struct engine_bpf_links fresh = { 0 };
	int r;

	if (t->forks)
		return 0;
	t->forks = true;
	if (!engine_bpf_has_multi(e) || !t->n_attached)
		return 0;
	r = points_from(t, e, 0, &plain, &sessions, err);
	if (r == 0)
		r = engine_bpf_links_attach(e, ENGINE_BPF_PERF, t->pid, t->slot, t->generation + 1,
		                            plain.items, plain.n, &fresh, err);
	if (r < 0)
		return r;
	engine_bpf_set_generation(e, t->slot, t->generation, t->generation + 1);
	t->generation++;
	t->replaced = t->links;
	t->replaced_ns = clock_now_ns();
	t->links = fresh;
	fresh = (struct engine_bpf_links){ 0 };
	return 0;
}

/* The kernel asks the new links first. A call that they heard before they counted must
 * find the old ones still counting; one that began before they were there has its return
 * told to the old ones alone. Then those go with their breakpoints, in children, too. */
void tracee_end_replaced(struct tracee *t, struct engine_bpf *e, u64 now_ns)
{
	if (!t->replaced.n)
		return;
	if (now_ns - t->replaced_ns > BOTH_HEARD_NS)
		engine_bpf_set_generation(e, t->slot, t->generation, t->generation);
	if (now_ns - t->replaced_ns > RETURNS_NS)
		engine_bpf_links_detach_later(e, &t->replaced);
}

int tracee_attach_counting(struct tracee *t, struct engine_bpf *e, struct error *err)
{
	cleanup(points_clear) struct points points = { 0 };

	for (size_t i = 0; i < t->probes.n_probes; i++) {
		const struct runtime_probe *p = &t->probes.probes[i];
		u32 plan;
		int r;

		if (is_left_out(t, p->code.flags))
			continue;
		r = engine_bpf_add_plan(e, &p->code, &plan, err);
		if (r == 0)
			r = add_point(&points, ENGINE_BPF_COUNT, symbol_module_elf(p->module),
			              p->at, p->counter_offset, plan, err);
		if (r < 0)
			return error_context(err, "%s", p->name);
	}
	/* for a fifth of a second: a child of that time pays no longer */
	return engine_bpf_links_attach(e, ENGINE_BPF_MULTI, t->pid, t->slot, t->generation,
	                               points.items, points.n, &t->links, err);
}

/* The breakpoints are gone, or go without us. */
static void drop_mark(struct tracee *t)
{
	if (t->mark >= 0)
		close(t->mark);
	t->mark = -1;
}

void tracee_detach(struct tracee *t)
{
	engine_bpf_links_detach(&t->links);
	engine_bpf_links_detach(&t->sessions);
	engine_bpf_links_detach(&t->replaced);
	drop_mark(t);
	t->n_attached = 0;
}

void tracee_detach_later(struct tracee *t, struct engine_bpf *e)
{
	engine_bpf_links_detach_later(e, &t->links);
	engine_bpf_links_detach_later(e, &t->sessions);
	engine_bpf_links_detach_later(e, &t->replaced);
	drop_mark(t);
	t->n_attached = 0;
}

int tracee_give_links(struct tracee *t, struct engine_bpf_links *to, struct error *err)
{
	int r = engine_bpf_links_move(to, &t->links, err);

	if (r == 0)
		r = engine_bpf_links_move(to, &t->sessions, err);
	if (r == 0)
		r = engine_bpf_links_move(to, &t->replaced, err);
	if (r == 0)
		t->n_attached = 0;
	return r;
}

/* ---- change ---- */

/* The maps were read between two looks at the count of changes: if it has not
 * moved, they belong to it. */
static bool note_snapshot(struct tracee *t, const struct engine_bpf *e, u32 changed)
{
	if (engine_bpf_modules_changed(e, t->slot) != changed)
		return false;
	t->history.space = t->space;
	code_history_note(&t->history, changed);
	return true;
}

/* The first functions that may throw have come: the engine loads what they need
 * at its start only. */
static void decide_late_throws(struct tracee *t, const struct engine_bpf *e)
{
	bool has_sessions = engine_bpf_has_sessions(e);

	if (t->no_throwing || t->n_session_probes)
		return;
	tracee_decide_throws(t, has_sessions);
	if (t->no_throwing && !has_sessions)
		t->throw_reason = "came after the recording began";
}

static int look_for_new(struct tracee *t, struct engine_bpf *e, struct modules *m,
                        struct error *err)
{
	struct error ignored;
	int r;

	/* contexts' tables do not come by dlopen; a torn look must not end it all */
	if (tracee_probes_find_new(t, &ignored) < 0)
		log_note(LOG_DEBUG, "process %d: %s", t->pid, ignored.message);
	decide_late_throws(t, e);
	r = tracee_publish(t, e, m, err);
	return r < 0 ? r : tracee_attach(t, e, err);
}

int tracee_refresh(struct tracee *t, struct engine_bpf *e, struct modules *m, struct error *err)
{
	u32 changed = engine_bpf_modules_changed(e, t->slot);
	int r = symbol_space_refresh(t->space, t->target, err);
	bool settled;

	if (r < 0)
		return r;
	settled = note_snapshot(t, e, changed);
	r = r ? look_for_new(t, e, m, err) : 0;
	if (r == 0 && settled)
		engine_bpf_set_modules_seen(e, t->slot, changed);
	return r;
}

void tracee_look_again(struct tracee *t, const struct engine_bpf *e)
{
	u32 changed = engine_bpf_modules_changed(e, t->slot);
	struct error ignored;

	if (symbol_space_refresh(t->space, t->target, &ignored) >= 0)
		note_snapshot(t, e, changed);
}

const struct code_history *tracee_history(struct tracee *t)
{
	t->history.space = t->space;
	return &t->history;
}
