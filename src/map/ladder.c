/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/ladder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/search.h"
#include "map/ladder_internal.h"
#include "runtime/runtime.h"
#include "target/freeze.h"
#include "target/permission.h"
#include "target/reader.h"
#include "target/space.h"

enum {
	TRIES = 3, /* of a target that executes one program after the other */
	FREEZE_MS = 1000,
};

static const char *const kinds[] = {
	REGIONS_THREAD_STACK, REGIONS_MAIN_STACK, REGIONS_GLIBC_ARENA, REGIONS_GLIBC_MMAPPED,
	REGIONS_JEMALLOC,     REGIONS_TCMALLOC,   REGIONS_MIMALLOC,    REGIONS_MUSL,
	REGIONS_GO,           REGIONS_POSTGRES,   REGIONS_PYTHON,      REGIONS_LUA,
	REGIONS_JVM,          REGIONS_V8,         REGIONS_FILE,        REGIONS_SHARED,
	REGIONS_VDSO,         REGIONS_GUARD,      REGIONS_OTHER_HEAP,  REGIONS_MEMWHO,
	REGIONS_UNNAMED,
};

void ladder_clear(struct ladder *l)
{
	free(l->parts);
	free(l->ranges);
	free(l->findings);
	*l = (struct ladder){ 0 };
}

const struct ladder_range *ladder_find(const struct ladder *l, uint64_t addr)
{
	size_t at = partition_point(l->n_ranges, i, l->ranges[i].end <= addr);

	return at < l->n_ranges && l->ranges[at].start <= addr ? &l->ranges[at] : NULL;
}

static void work_clear(struct ladder_work *w)
{
	maps_clear(&w->maps);
	threads_clear(&w->threads);
	regions_clear(&w->regions);
	hash_map_clear(&w->by_key);
	free(w->claims);
	free(w->pages);
	free(w->pieces);
	free(w->smaps);
	free(w->mounts);
	ladder_clear(&w->l);
}

/* Maps can be seen, memory can't: ptrace(2) asks more for that (Yama). */
static bool may_read(const struct ladder_work *w)
{
	struct error why = { 0 };
	char byte;
	int r = w->maps.n_items ? reader_try(w->t, w->maps.items[0].start, &byte, 1) : 0;

	if (r != -EPERM && r != -EACCES)
		return true;
	permission_explain(w->t->pid, w->t->proc_fd, PERMISSION_ATTACH, -r, &why);
	log_note(LOG_WARN, "heaps can't be looked into: %s", why.message);
	if (why.hint[0])
		log_note(LOG_WARN, "hint: %s", why.hint);
	return false;
}

/* A runtime that fails says nothing of this target; a target that is gone, or
 * memory that ran out, ends it all. */
static int ask_runtimes(struct ladder_work *w, struct error *err)
{
	struct runtime_view view = { w->t, w->space };
	struct regions_input in = { &w->maps, &w->threads, w->options->stop };

	if (!may_read(w))
		return 0;
	for (size_t i = 0; registry_runtimes[i]; i++) {
		const struct runtime_ops *ops = registry_runtimes[i];
		struct error why = { 0 };
		uint64_t before = clock_now_ns();
		int r = ops->label_regions ? ops->label_regions(&view, &in, &w->regions, &why) : 0;

		log_note(LOG_DEBUG, "ladder: %s took %.1f ms", ops->name,
		         (double)(clock_now_ns() - before) / 1e6);
		if (r == -ENOMEM || r == -ESRCH) {
			*err = why;
			return r;
		}
		if (r < 0)
			log_note(LOG_WARN, "%s: %s", ops->title, why.message);
	}
	return 0;
}

/* Heaps become parts with the same index. */
static int claim_regions(struct ladder_work *w, struct error *err)
{
	const struct regions *g = &w->regions;
	int r = 0;

	for (size_t i = 0; r == 0 && i < g->n_heaps; i++) {
		uint32_t part;

		r = ladder_label_add(w, g->heaps[i].kind, &part, err);
		if (r == 0)
			w->l.parts[part].heap = g->heaps[i];
	}
	for (size_t i = 0; r == 0 && i < g->n_ranges; i++)
		r = ladder_divide_claim(w, g->ranges[i].start, g->ranges[i].end, g->ranges[i].heap,
		                        g->ranges[i].claim == REGIONS_PROVEN ? LADDER_RUNTIME_PROVEN
		                                                             : LADDER_RUNTIME_SHAPE,
		                        err);
	return r;
}

static size_t kind_order(const char *kind)
{
	size_t i = 0;

	while (i < ARRAY_SIZE(kinds) && strcmp(kinds[i], kind) != 0)
		i++;
	return i;
}

struct place {
	const struct ladder_part *part;
	uint32_t index;
};

static int by_place(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	size_t kx = kind_order(x->part->heap.kind), ky = kind_order(y->part->heap.kind);

	if (kx != ky)
		return kx < ky ? -1 : 1;
	if (x->part->virtual_bytes != y->part->virtual_bytes)
		return x->part->virtual_bytes > y->part->virtual_bytes ? -1 : 1;
	return (x->index > y->index) - (x->index < y->index);
}

/* Into the order that is promised; what has neither bytes nor figures is left out. */
static int sort_parts(struct ladder *l, struct error *err)
{
	cleanup_free struct place *places = calloc(l->n_parts + 1, sizeof(*places));
	cleanup_free uint32_t *to = calloc(l->n_parts + 1, sizeof(*to));
	cleanup_free struct ladder_part *sorted = calloc(l->n_parts + 1, sizeof(*sorted));
	size_t n = 0;

	if (!places || !to || !sorted)
		return error_oom(err);
	for (size_t i = 0; i < l->n_parts; i++) {
		const struct ladder_part *p = &l->parts[i];

		if (p->virtual_bytes || p->heap.in_use_bytes >= 0 || p->heap.n_figures)
			places[n++] = (struct place){ p, (uint32_t)i };
	}
	qsort(places, n, sizeof(*places), by_place);
	for (size_t i = 0; i < n; i++) {
		sorted[i] = *places[i].part;
		to[places[i].index] = (uint32_t)i;
	}
	for (size_t i = 0; i < l->n_ranges; i++)
		l->ranges[i].part = to[l->ranges[i].part];
	free(l->parts);
	l->parts = take_ptr(sorted);
	l->cap_parts = l->n_parts + 1;
	l->n_parts = n;
	return 0;
}

static uint64_t status(const struct target *t, const char *key)
{
	int64_t v = target_status_bytes(t, key);

	return v > 0 ? (uint64_t)v : 0;
}

static void read_counters(struct ladder_work *w)
{
	struct ladder *l = &w->l;

	l->pid = w->t->pid;
	memcpy(l->comm, w->t->comm, sizeof(l->comm));
	l->ns_pid = w->t->ns_pid;
	l->vm_size_bytes = status(w->t, "VmSize");
	l->vm_rss_bytes = status(w->t, "VmRSS");
	l->page_table_bytes = status(w->t, "VmPTE") + status(w->t, "VmPMD");
	l->locked_bytes = status(w->t, "VmLck");
	l->hugetlb_bytes = status(w->t, "HugetlbPages");
}

static int read_maps(struct ladder_work *w, struct error *err)
{
	int r = maps_read(w->t, &w->maps, err);

	if (r == 0)
		read_counters(w);
	return r < 0 ? r : ladder_mounts_read(w, err);
}

static int read_threads(struct ladder_work *w, struct error *err)
{
	return threads_read(w->t, &w->maps, &w->threads, err);
}

static int sort(struct ladder_work *w, struct error *err)
{
	return sort_parts(&w->l, err);
}

struct step {
	const char *name;
	int (*work)(struct ladder_work *w, struct error *err);
};

static int take(struct ladder_work *w, const struct step *steps, size_t n, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t before = clock_now_ns();

		r = steps[i].work(w, err);
		log_note(LOG_DEBUG, "ladder: %s took %.1f ms", steps[i].name,
		         (double)(clock_now_ns() - before) / 1e6);
	}
	return r;
}

/* All that looks at the target, and what comes of it. */
static int look(struct ladder_work *w, struct error *err)
{
	static const struct step steps[] = {
		{ "maps", read_maps },
		{ "threads", read_threads },
		{ "asking runtimes", ask_runtimes },
		{ "regions", claim_regions },
		{ "stacks", ladder_stacks_claim },
		{ "files", ladder_files_claim },
		{ "loader", ladder_loader_claim },
		{ "what is ours", ladder_own_claim },
		{ "dividing", ladder_divide },
		{ "counting pages", ladder_count },
		{ "looking into huge pages", ladder_findings_look },
	};
	cleanup(freeze_releasep) struct freeze *freeze = NULL;
	int r = 0;

	if (w->options->stop)
		r = freeze_target(w->t, FREEZE_MS, &freeze, err);
	if (r == 0)
		r = take(w, steps, ARRAY_SIZE(steps), err);
	if (freeze)
		w->l.stopped_ns = freeze_ns(freeze);
	return r;
}

static int conclude(struct ladder_work *w, struct error *err)
{
	static const struct step steps[] = {
		{ "sorting", sort },
		{ "findings", ladder_findings_add },
	};

	return take(w, steps, ARRAY_SIZE(steps), err);
}

/* 1: the target runs another program now, try again. */
static int try_once(const struct target *t, struct symbol_space *space,
                    const struct ladder_options *o, struct ladder *ret, struct error *err)
{
	cleanup(work_clear) struct ladder_work w = { .t = t, .space = space, .options = o };
	cleanup_close int fd = space_open(t);
	int r = look(&w, err);

	if (!space_is_there(fd)) {
		if (target_alive(t) < 0)
			return error_set(err, ESRCH, "process %d (%s) has ended", t->pid, t->comm);
		return 1;
	}
	if (r == 0)
		r = conclude(&w, err);
	if (r < 0)
		return r;
	*ret = w.l;
	w.l = (struct ladder){ 0 };
	return 0;
}

int ladder_read(const struct target *t, struct symbol_space *space, const struct ladder_options *o,
                struct ladder *ret, struct error *err)
{
	int r = 1;

	for (int i = 0; r > 0 && i < TRIES; i++) {
		if (i && (r = symbol_space_refresh(space, t, err)) < 0)
			return r;
		r = try_once(t, space, o, ret, err);
	}
	if (r > 0)
		return error_set(err, EAGAIN,
		                 "process %d keeps starting other programs (exec) while we look",
		                 t->pid);
	return r;
}
