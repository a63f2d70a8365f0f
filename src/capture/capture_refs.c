/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_refs.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "inject/snapshot.h"
#include "target/freeze.h"
#include "target/image.h"
#include "target/space.h"
#include "target/threads.h"

enum { FREEZE_MS = 2000 };

void capture_refs_facts_clear(struct capture_refs_facts *f)
{
	capture_refs_memory_clear(&f->memory);
}

/* One that is asked for, if any is. */
static bool is_wanted(const struct runtime_ops *ops, const struct capture_refs_options *o)
{
	return ops->object_graph && (!o->runtime || !strcmp(ops->name, o->runtime));
}

/* The graph is of runtime @chosen: is there another? */
static void look_for_others(struct image *i, const struct runtime_ops *chosen,
                            struct capture_refs_facts *facts)
{
	for (size_t k = 0; registry_runtimes[k]; k++) {
		const struct runtime_ops *ops = registry_runtimes[k];

		if (ops == chosen || !ops->has_objects ||
		    !ops->has_objects(i, facts->other, sizeof(facts->other)))
			continue;
		log_note(LOG_INFO, "%s has %s inside, too: --runtime %s shows its objects",
		         image_name(i), facts->other, ops->name);
		return;
	}
}

static int none_found(const struct image *i, const struct capture_refs_options *o,
                      struct error *err)
{
	if (o->runtime)
		error_set(err, ENOTSUP, "%s has no %s inside whose objects memwho knows",
		          image_name(i), registry_find(o->runtime)->title);
	else
		error_set(err, ENOTSUP, "%s has no runtime inside whose objects memwho knows",
		          image_name(i));
	return error_hint(
		err,
		"refs is for Go 1.17 to 1.26 and Lua 5.3 and 5.4; `memwho PID` "
		"shows what the memory of any process is, `memwho alloc PID` who allocates it");
}

/* Of a core that was cut off what lies highest is missing: there Linux put the runtime's first
 * mappings, which have its lists. */
static int blame_the_core(uint64_t missing, struct error *err)
{
	return error_hint(err,
	                  "%.1f MiB that its headers name are not in the file: the core was cut "
	                  "off, and what a runtime knows of its heap lies at the end",
	                  (double)missing / (1 << 20));
}

/* The first runtime that finds itself in @i makes the graph. */
static int ask_runtimes(struct image *i, const struct capture_refs_options *o,
                        struct object_graph *ret, struct capture_refs_facts *facts,
                        struct error *err)
{
	struct object_graph_options options = o->graph;
	int r = 0;

	options.account = &facts->memory.account;
	for (size_t k = 0; r == 0 && registry_runtimes[k]; k++) {
		if (!is_wanted(registry_runtimes[k], o))
			continue;
		r = registry_runtimes[k]->object_graph(i, &options, ret, err);
		if (r > 0 && !o->runtime)
			look_for_others(i, registry_runtimes[k], facts);
	}
	facts->missing = image_missing(i);
	facts->copied = image_copied(i);
	if (r == 0)
		r = none_found(i, o, err);
	return r < 0 && facts->missing ? blame_the_core(facts->missing, err) : r < 0 ? r : 0;
}

/* ---- threads ---- */

struct stopped {
	struct image_thread *items; /* owned */
	size_t n, cap;
	struct error *err;
};

static int note_stopped(void *arg, pid_t tid, const struct user_regs_struct *regs)
{
	struct stopped *s = arg;
	int r = array_reserve(&s->items, &s->cap, s->n + 1, s->err);

	if (r == 0)
		s->items[s->n++] = image_thread_of(tid, regs);
	return r;
}

static int stopped_threads_of(const struct freeze *f, struct image_thread **ret, size_t *ret_n,
                              struct error *err)
{
	struct stopped s = { .err = err };
	int r = freeze_each_thread(f, note_stopped, &s);

	*ret = s.items;
	*ret_n = s.n;
	return r;
}

/* Stack pointers only: what /proc tells of threads that nobody traces for us. */
static int threads_of(const struct target *t, struct image_thread **ret, size_t *ret_n,
                      struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads threads = { 0 };
	struct image_thread *x;
	int r = maps_read(t, &maps, err);

	if (r == 0)
		r = threads_read(t, &maps, &threads, err);
	if (r < 0)
		return r;
	x = calloc(threads.n_items + 1, sizeof(*x));
	if (!x)
		return error_oom(err);
	for (size_t i = 0; i < threads.n_items; i++) {
		x[i].tid = threads.items[i].tid;
		x[i].sp = threads.items[i].sp;
		x[i].tls = threads.items[i].tcb;
	}
	*ret = x;
	*ret_n = threads.n_items;
	return 0;
}

/* ---- live ---- */

/* Did the process become another program? What /proc says now is not of what was copied then. (Of
 * one that has ended /proc says nothing, and the copy is as good as before.) */
static bool became_another(const struct target *t, int space)
{
	cleanup_close int now = -1;

	if (space_is_there(space) || target_alive(t) < 0)
		return false;
	/* one that is just ending has lost its memory, too, and gets no other */
	now = space_open(t);
	return now >= 0 && space_is_there(now);
}

static int refuse_another(struct error *err)
{
	error_set(err, ESRCH,
	          "it began another program (exec) while we looked: what was read of its memory "
	          "is of the one before");
	return error_hint(err, "the same command looks at the new one");
}

/* What else the process's memory is, looked at while the graph is made of its copy. */
struct beside {
	const struct target *t;
	struct capture_refs_memory *to;
	int space;    /* as space_open() gave it */
	bool another; /* it became another program before the look was over */
	pthread_t thread;
	bool runs;
};

static void *look_beside(void *arg)
{
	struct beside *b = arg;

	capture_refs_memory_look(b->t, b->to);
	b->another = became_another(b->t, b->space);
	return NULL;
}

static void beside_begin(struct beside *b)
{
	b->runs = pthread_create(&b->thread, NULL, look_beside, b) == 0;
	if (!b->runs)
		look_beside(b);
}

static void beside_end(struct beside *b)
{
	if (b->runs)
		pthread_join(b->thread, NULL);
	b->runs = false;
}

static int of_copy(const struct snapshot *s, const struct capture_refs_options *o,
                   struct object_graph *ret, struct capture_refs_facts *facts, struct error *err)
{
	cleanup(image_closep) struct image *i = NULL;
	cleanup_free struct image_thread *threads = calloc(s->n_threads + 1, sizeof(*threads));
	int r;

	if (!threads)
		return error_oom(err);
	for (size_t k = 0; k < s->n_threads; k++)
		threads[k] = image_thread_of(s->threads[k].tid, &s->threads[k].regs);
	r = image_open_process(s->copy, threads, s->n_threads, &i, err);
	return r < 0 ? r : ask_runtimes(i, o, ret, facts, err);
}

static int by_copy(const struct target *t, const struct capture_refs_options *o,
                   struct object_graph *ret, struct capture_refs_facts *facts, struct error *err)
{
	const struct snapshot_options options = { .registers = true };
	cleanup(inject_closep) struct inject *in = NULL;
	cleanup(snapshot_closep) struct snapshot *s = NULL;
	cleanup_close int space = space_open(t);
	struct beside beside = { .t = t, .to = &facts->memory, .space = space };
	struct inject_options calls = { 0 };
	int r;

	calls.calls = snapshot_calls(&calls.n_calls);
	r = inject_open(t, NULL, &calls, &in, err);
	if (r == -ENOTSUP && !err->hint[0])
		error_hint(err, "--stop reads the process itself while it stands still");

	if (r == 0)
		r = snapshot_reap_leftovers(in, err);
	if (r >= 0)
		r = snapshot_take(in, &options, &s, err);
	if (r < 0)
		return r;
	facts->pause_ns = s->pause_ns;
	beside_begin(&beside);
	r = of_copy(s, o, ret, facts, err);
	beside_end(&beside);
	return beside.another ? refuse_another(err) : r;
}

static int look_once_more(void *arg, struct image **ret, struct error *err)
{
	return image_open_process(arg, NULL, 0, ret, err);
}

static int in_place(const struct target *t, const struct capture_refs_options *o,
                    struct object_graph *ret, struct capture_refs_facts *facts, struct error *err)
{
	cleanup(freeze_releasep) struct freeze *f = NULL;
	cleanup(image_closep) struct image *i = NULL;
	cleanup_free struct image_thread *threads = NULL;
	cleanup_close int space = space_open(t);
	size_t n = 0;
	struct capture_refs_options mine = *o;
	int r = o->how == CAPTURE_REFS_STOPPED ? freeze_target(t, FREEZE_MS, &f, err) : 0;

	if (o->how == CAPTURE_REFS_RUNNING) {
		mine.graph.fresh = look_once_more;
		mine.graph.fresh_arg = (void *)t;
	}
	if (r == 0 && f)
		r = stopped_threads_of(f, &threads, &n, err);
	if (r == 0 && !n)
		r = threads_of(t, &threads, &n, err);
	if (r == 0)
		capture_refs_memory_look(t, &facts->memory);
	if (r == 0)
		r = image_open_process(t, threads, n, &i, err);
	if (r == 0)
		r = ask_runtimes(i, &mine, ret, facts, err);
	/* what was read may be of two programs, and so any message about it */
	if (became_another(t, space))
		r = refuse_another(err);
	if (f)
		facts->pause_ns = freeze_ns(f);
	return r;
}

int capture_refs_process(pid_t pid, const struct capture_refs_options *o, struct object_graph *ret,
                         struct capture_refs_facts *facts, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	int r = target_open(pid, &t, err);

	if (r < 0)
		return r;
	*facts = (struct capture_refs_facts){ .pid = pid };
	snprintf(facts->name, sizeof(facts->name), "%s", t->comm);
	r = o->how == CAPTURE_REFS_COPY ? by_copy(t, o, ret, facts, err)
	                                : in_place(t, o, ret, facts, err);
	if (r >= 0)
		r = capture_refs_memory_divide(&facts->memory, err);
	return r < 0 ? error_context(err, "process %d", (int)pid) : 0;
}

/* ---- cores ---- */

int capture_refs_core(const char *path, const struct capture_refs_options *o,
                      struct object_graph *ret, struct capture_refs_facts *facts, struct error *err)
{
	const struct image_options options = { .exe = o->exe, .sysroot = o->sysroot };
	cleanup(image_closep) struct image *i = NULL;
	int r = image_open_core(path, &options, &i, err);

	if (r < 0)
		return r;
	*facts = (struct capture_refs_facts){ .pid = image_pid(i), .is_core = true };
	snprintf(facts->name, sizeof(facts->name), "%s", image_comm(i));
	return ask_runtimes(i, o, ret, facts, err);
}
