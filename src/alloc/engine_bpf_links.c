/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_bpf_links.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "alloc.skel.h"
#include "alloc/engine_bpf_state.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/feature.h"
#include "base/kernel.h"
#include "bpf/bpf_permission.h"
#include "bpf/libbpf_old.h"

enum {
	TRACE_UPROBE_MULTI = 48,   /* enum bpf_attach_type since Linux 6.6 */
	TRACE_UPROBE_SESSION = 57, /* since 6.13 */
	MULTI_RETURN = 1,          /* BPF_F_UPROBE_MULTI_RETURN */
	MAX_POINTS = 256,          /* of one link */
	DETACH_THREADS = 32,       /* they only wait */
};

struct engine_bpf_link {
	struct bpf_link *link; /* NULL: fd is it */
	int fd;
};

/* BPF_LINK_CREATE of an uprobe_multi link: libbpf 1.1 has no call for it. The
 * layout is union bpf_attr's link_create.uprobe_multi since Linux 6.6. */
struct uprobe_multi_attr {
	u32 prog_fd, target_fd, attach_type, flags;
	u64 path, offsets, ref_ctr_offsets, cookies;
	u32 cnt, multi_flags, pid, pad;
};

bool engine_bpf_links_kernel_has_multi(void)
{
	struct kernel_facts facts;

	if (!feature_allowed("uprobe_multi"))
		return false;
	kernel_facts(&facts);
	return facts.features[KERNEL_UPROBE_MULTI] == KERNEL_YES;
}

/* Programs of one kind of link in @skel: to be loaded, or not. */
static void prepare_multi(struct alloc_bpf *skel, bool wanted)
{
	struct bpf_program *programs[] = { skel->progs.alloc_entry_multi,
		                           skel->progs.alloc_return_multi,
		                           skel->progs.alloc_count_multi,
		                           skel->progs.alloc_modules_multi };

	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		bpf_program__set_expected_attach_type(programs[i],
		                                      (enum bpf_attach_type)TRACE_UPROBE_MULTI);
		bpf_program__set_autoload(programs[i], wanted);
	}
}

static void prepare_perf(struct alloc_bpf *skel, bool wanted)
{
	bpf_program__set_autoload(skel->progs.alloc_entry, wanted);
	bpf_program__set_autoload(skel->progs.alloc_return, wanted);
	bpf_program__set_autoload(skel->progs.alloc_count, wanted);
	bpf_program__set_autoload(skel->progs.alloc_modules, wanted);
}

static void prepare_rest(struct alloc_bpf *skel, bool session, bool wanted)
{
	bpf_program__set_expected_attach_type(skel->progs.alloc_session,
	                                      (enum bpf_attach_type)TRACE_UPROBE_SESSION);
	bpf_program__set_autoload(skel->progs.alloc_session, session);
	bpf_program__set_autoload(skel->progs.process_fork, wanted);
	bpf_program__set_autoload(skel->progs.process_exec, wanted);
	bpf_program__set_autoload(skel->progs.process_exit, wanted);
}

void engine_bpf_links_prepare(struct engine_bpf *e)
{
	prepare_multi(e->skel, e->multi);
	prepare_perf(e->skel, !e->multi);
	prepare_rest(e->skel, e->sessions, true);
}

/* All maps of @to are those of @from. */
static int share_maps(struct alloc_bpf *to, const struct alloc_bpf *from, struct error *err)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, to->obj)
	{
		struct bpf_map *shared = bpf_object__find_map_by_name(from->obj,
		                                                      bpf_map__name(map));

		if (!shared || bpf_map__reuse_fd(map, bpf_map__fd(shared)))
			return error_set(err, EINVAL, "cannot share the BPF table %s",
			                 bpf_map__name(map));
	}
	return 0;
}

/* The verifier takes a quarter of a second for the programs of either kind of
 * link; perf's are loaded when a process needs them. */
static int load_perf(struct engine_bpf *e, struct error *err)
{
	struct alloc_bpf *perf = alloc_bpf__open();
	int r;

	if (!perf)
		return error_sys(err, errno, "cannot open the BPF programs");
	prepare_multi(perf, false);
	prepare_perf(perf, true);
	prepare_rest(perf, false, false);
	r = share_maps(perf, e->skel, err);
	if (r == 0 && alloc_bpf__load(perf))
		r = error_sys(err, errno, "cannot load the BPF programs for perf events");
	if (r == 0)
		e->perf = perf;
	else
		alloc_bpf__destroy(perf);
	return r;
}

static void *load_perf_aside(void *arg)
{
	struct error ignored; /* who needs them will try again, and say why not */

	load_perf(arg, &ignored);
	return NULL;
}

void engine_bpf_links_preload(struct engine_bpf *e)
{
	if (e->multi && !e->perf && !e->loading)
		e->loading = !pthread_create(&e->loader, NULL, load_perf_aside, e);
}

void engine_bpf_links_join(struct engine_bpf *e)
{
	if (e->loading)
		pthread_join(e->loader, NULL);
	e->loading = false;
}

int engine_bpf_links_load_perf(struct engine_bpf *e, struct error *err)
{
	engine_bpf_links_join(e);
	return e->perf || !e->multi ? 0 : load_perf(e, err);
}

static struct bpf_program *perf_program(struct engine_bpf *e, enum engine_bpf_probe kind)
{
	struct alloc_bpf *skel = e->multi ? e->perf : e->skel;

	switch (kind) {
	case ENGINE_BPF_RETURN: return skel->progs.alloc_return;
	case ENGINE_BPF_COUNT: return skel->progs.alloc_count;
	case ENGINE_BPF_MODULES: return skel->progs.alloc_modules;
	default: return skel->progs.alloc_entry;
	}
}

static struct bpf_program *multi_program(struct engine_bpf *e, enum engine_bpf_probe kind)
{
	switch (kind) {
	case ENGINE_BPF_SESSION: return e->skel->progs.alloc_session;
	case ENGINE_BPF_RETURN: return e->skel->progs.alloc_return_multi;
	case ENGINE_BPF_COUNT: return e->skel->progs.alloc_count_multi;
	case ENGINE_BPF_MODULES: return e->skel->progs.alloc_modules_multi;
	default: return e->skel->progs.alloc_entry_multi;
	}
}

static u64 cookie_of(u32 slot, u32 generation, u32 plan)
{
	return (u64)generation << 32 | (u64)slot << 16 | plan;
}

/* By descriptor: works for deleted files and in other mount namespaces. */
static void path_of(int fd, char path[64])
{
	snprintf(path, 64, "/proc/self/fd/%d", fd);
}

static int reserve(struct engine_bpf_links *to, struct error *err)
{
	return array_reserve(&to->items, &to->cap, to->n + 1, err);
}

struct attaching {
	struct engine_bpf *e;
	pid_t pid;
	u32 slot, generation;
	struct engine_bpf_links *to;
};

static int cannot_attach(pid_t pid, int errnum, enum bpf_permission what, struct error *err)
{
	if (bpf_permission_is_refusal(-errnum))
		return bpf_permission_explain(what, errnum, err);
	if (errnum == ESRCH || (kill(pid, 0) < 0 && errno == ESRCH))
		return error_set(err, ESRCH, "process %d ended while memwho attached to it", pid);
	return error_sys(err, errnum, "cannot attach uprobes to process %d", pid);
}

/* The points of one kind in one file, as one link. */
static int attach_multi(const struct attaching *a, const struct engine_bpf_point *points, size_t n,
                        enum engine_bpf_probe kind, int file, struct error *err)
{
	unsigned long offsets[MAX_POINTS];
	u64 cookies[MAX_POINTS];
	unsigned long counters[MAX_POINTS];
	bool has_counters = false;
	char path[64];
	struct uprobe_multi_attr attr = {
		.prog_fd = bpf_program__fd(multi_program(a->e, kind)),
		.attach_type = kind == ENGINE_BPF_SESSION ? TRACE_UPROBE_SESSION
		                                          : TRACE_UPROBE_MULTI,
		.path = (u64)(uintptr_t)path,
		.offsets = (u64)(uintptr_t)offsets,
		.cookies = (u64)(uintptr_t)cookies,
		.multi_flags = kind == ENGINE_BPF_RETURN ? MULTI_RETURN : 0,
		.pid = a->pid,
	};
	int fd, r = reserve(a->to, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n && attr.cnt < MAX_POINTS; i++) {
		if (points[i].kind != kind || points[i].fd != file)
			continue;
		offsets[attr.cnt] = points[i].offset;
		counters[attr.cnt] = points[i].counter;
		has_counters |= points[i].counter != 0;
		cookies[attr.cnt++] = cookie_of(a->slot, a->generation, points[i].plan);
	}
	if (has_counters)
		attr.ref_ctr_offsets = (u64)(uintptr_t)counters;
	path_of(file, path);
	fd = syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (fd < 0)
		return cannot_attach(a->pid, errno, BPF_PERMISSION_LOAD, err);
	a->to->items[a->to->n++] = (struct engine_bpf_link){ NULL, fd };
	return 0;
}

static int attach_perf(const struct attaching *a, const struct engine_bpf_point *p,
                       struct error *err)
{
	LIBBPF_OPTS(bpf_uprobe_opts, opts, .bpf_cookie = cookie_of(a->slot, a->generation, p->plan),
	            .ref_ctr_offset = p->counter, .retprobe = p->kind == ENGINE_BPF_RETURN);
	struct bpf_link *link;
	char path[64];
	int r = reserve(a->to, err);

	if (r == 0 && a->e->multi)
		r = engine_bpf_links_load_perf(a->e, err);
	if (r < 0)
		return r;
	path_of(p->fd, path);
	link = bpf_program__attach_uprobe_opts(perf_program(a->e, p->kind), a->pid, path, p->offset,
	                                       &opts);
	if (!link)
		return cannot_attach(a->pid, errno, BPF_PERMISSION_UPROBE, err);
	a->to->items[a->to->n++] = (struct engine_bpf_link){ link, -1 };
	return 0;
}

static bool is_first_of_its_file(const struct engine_bpf_point *points, size_t i)
{
	for (size_t k = 0; k < i; k++) {
		if (points[k].kind == points[i].kind && points[k].fd == points[i].fd)
			return false;
	}
	return true;
}

static int attach_kind(const struct attaching *a, enum engine_bpf_how how,
                       const struct engine_bpf_point *points, size_t n, enum engine_bpf_probe kind,
                       struct error *err)
{
	bool multi = kind == ENGINE_BPF_SESSION || (how == ENGINE_BPF_MULTI && a->e->multi);

	for (size_t i = 0; i < n; i++) {
		int r = 0;

		if (points[i].kind != kind)
			continue;
		if (!multi)
			r = attach_perf(a, &points[i], err);
		else if (is_first_of_its_file(points, i))
			r = attach_multi(a, points, n, kind, points[i].fd, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int engine_bpf_links_attach(struct engine_bpf *e, enum engine_bpf_how how, pid_t pid, u32 slot,
                            u32 generation, const struct engine_bpf_point *points, size_t n,
                            struct engine_bpf_links *to, struct error *err)
{
	struct attaching a = { e, pid, slot, generation, to };

	for (int kind = 0; kind < ENGINE_BPF_KINDS; kind++) {
		int r = attach_kind(&a, how, points, n, kind, err);

		if (r < 0)
			return r;
	}
	return 0;
}

struct detach_share {
	struct engine_bpf_link *links;
	size_t n, step;
};

static void *detach_some(void *arg)
{
	const struct detach_share *s = arg;

	for (size_t i = 0; i < s->n; i += s->step) {
		bpf_link__destroy(s->links[i].link);
		if (s->links[i].fd >= 0)
			close(s->links[i].fd);
	}
	return NULL;
}

void engine_bpf_links_detach(struct engine_bpf_links *links)
{
	struct detach_share shares[DETACH_THREADS];
	pthread_t threads[DETACH_THREADS];
	bool started[DETACH_THREADS] = { false };

	for (size_t i = 0; i < DETACH_THREADS && i < links->n; i++) {
		shares[i] = (struct detach_share){ links->items + i, links->n - i, DETACH_THREADS };
		started[i] = i && !pthread_create(&threads[i], NULL, detach_some, &shares[i]);
		if (i && !started[i])
			detach_some(&shares[i]);
	}
	if (links->n)
		detach_some(&shares[0]);
	for (size_t i = 0; i < DETACH_THREADS; i++) {
		if (started[i])
			pthread_join(threads[i], NULL);
	}
	free(links->items);
	*links = (struct engine_bpf_links){ 0 };
}

int engine_bpf_links_move(struct engine_bpf_links *to, struct engine_bpf_links *from,
                          struct error *err)
{
	int r = array_reserve(&to->items, &to->cap, to->n + from->n, err);

	if (r < 0)
		return r;
	if (from->n)
		memcpy(to->items + to->n, from->items, from->n * sizeof(*to->items));
	to->n += from->n;
	free(from->items);
	*from = (struct engine_bpf_links){ 0 };
	return 0;
}

static void *detach_list(void *arg)
{
	struct engine_bpf_links *links = arg;

	engine_bpf_links_detach(links);
	free(links);
	return NULL;
}

void engine_bpf_links_detach_later(struct engine_bpf *e, struct engine_bpf_links *links)
{
	struct engine_bpf_links *own = malloc(sizeof(*own));

	if (!links->n) {
		free(own);
		return;
	}
	if (e->n_detaching == ENGINE_BPF_MAX_DETACHING)
		engine_bpf_links_wait(e);
	if (own) {
		*own = *links;
		if (!pthread_create(&e->detaching[e->n_detaching], NULL, detach_list, own)) {
			e->n_detaching++;
			*links = (struct engine_bpf_links){ 0 };
			return;
		}
		free(own);
	}
	engine_bpf_links_detach(links);
}

void engine_bpf_links_wait(struct engine_bpf *e)
{
	while (e->n_detaching)
		pthread_join(e->detaching[--e->n_detaching], NULL);
}
