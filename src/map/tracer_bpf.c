/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/tracer_bpf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "bpf/bpf_load.h"
#include "bpf/libbpf_old.h"
#include "map.skel.h"

struct tracer_bpf {
	struct map_bpf *skel;
	struct ring_buffer *ring;
	struct bpf_tables tables;
	bool per_call;

	/* while the ring is read */
	int (*fn)(void *arg, const struct map_event *e, struct error *err);
	void *arg;
	size_t left;
	struct error *err;
	int failed;
};

/* ---- which programs ---- */

static bool is_per_call_program(const struct bpf_program *p)
{
	const char *section = bpf_program__section_name(p);

	return !strncmp(section, "fentry/", 7) || !strncmp(section, "fexit/", 6);
}

/* Kernels have not all of the calls (map_shadow_stack: Linux 6.6). */
static bool kernel_has_function(const struct btf *btf, const char *section)
{
	return btf__find_by_name_kind(btf, strchr(section, '/') + 1, BTF_KIND_FUNC) > 0;
}

static void choose_programs(struct map_bpf *skel, bool per_call, bool touches)
{
	struct btf *btf = per_call ? btf__load_vmlinux_btf() : NULL;
	struct bpf_program *p;

	bpf_object__for_each_program(p, skel->obj)
	{
		const char *name = bpf_program__name(p);
		bool on = true;

		if (is_per_call_program(p))
			on = btf && kernel_has_function(btf, bpf_program__section_name(p));
		else if (!strncmp(name, "map_all_", 8))
			on = !per_call;
		else if (!strncmp(name, "map_fault_", 10))
			on = touches;
		bpf_program__set_autoload(p, on);
	}
	btf__free(btf);
}

/* ---- opening ---- */

static size_t ring_size(size_t bytes)
{
	size_t size = 4096;

	while (size < bytes && size < (1UL << 30))
		size *= 2;
	return size;
}

static int set_sizes(struct map_bpf *skel, const struct tracer_bpf_options *o, struct error *err)
{
	int r = bpf_tables_set_sizes(skel->obj, &o->tables, err);

	if (r < 0)
		return r;
	skel->rodata->max_stacks = o->tables.stacks;
	skel->rodata->max_pcs = o->tables.pcs;
	skel->rodata->follows = o->follow;
	skel->rodata->touches = o->touches;
	if (bpf_map__set_max_entries(skel->maps.events, ring_size(o->ring_bytes)))
		return error_set(err, EINVAL, "cannot size the ring of events");
	return 0;
}

/* -errno of libbpf; *err only when it is not the load itself. */
static int load(struct tracer_bpf *b, const struct tracer_bpf_options *o, bool per_call,
                struct error *err)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	cleanup_close int btf = -1;
	char path[32];
	int r = bpf_load_btf(&btf, path, err);

	if (r < 0)
		return r;
	if (path[0])
		opts.btf_custom_path = path;
	b->skel = map_bpf__open_opts(&opts);
	if (!b->skel)
		return bpf_load_explain(-errno, err);
	libbpf_old_types(b->skel->obj);
	choose_programs(b->skel, per_call, o->touches);
	r = set_sizes(b->skel, o, err);
	if (r < 0)
		return r;
	r = map_bpf__load(b->skel);
	b->per_call = per_call;
	return r < 0 ? bpf_load_explain(r, err) : 0;
}

/* Some kernels have no way to attach to a function, or do not permit it. */
static int load_either(struct tracer_bpf *b, const struct tracer_bpf_options *o, struct error *err)
{
	struct error ignored;

	if (feature_allowed("fentry") && !LIBBPF_IS_OLD) {
		if (load(b, o, true, &ignored) == 0)
			return 0;
		map_bpf__destroy(b->skel);
		b->skel = NULL;
	}
	return load(b, o, false, err);
}

/* In a container process numbers are not those of the kernel's helpers. */
static int learn_numbers(struct tracer_bpf *b, struct error *err)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int r = bpf_prog_test_run_opts(bpf_program__fd(b->skel->progs.numbers_learn), &opts);

	if (r < 0 || !b->skel->bss->numbers_namespace)
		return error_sys(err, r < 0 ? -r : ENOENT, "cannot learn our pid namespace");
	return 0;
}

static int on_ring(void *ctx, void *data, size_t size)
{
	struct tracer_bpf *b = ctx;
	int r;

	if (size < MAP_TOUCH_BYTES)
		return 0;
	r = b->fn(b->arg, data, b->err);
	if (r < 0) {
		b->failed = r;
		return r;
	}
	return --b->left ? 0 : -EAGAIN; /* enough for now */
}

static int open_all(struct tracer_bpf *b, const struct tracer_bpf_options *o, struct error *err)
{
	int r = bpf_load_begin(err);

	if (r == 0)
		r = load_either(b, o, err);
	if (r == 0)
		r = learn_numbers(b, err);
	if (r == 0)
		r = bpf_tables_open(b->skel->obj, b->skel->bss->processes,
		                    &b->skel->data->used_stacks, &b->tables, err);
	if (r < 0)
		return r;
	b->ring = ring_buffer__new(bpf_map__fd(b->skel->maps.events), on_ring, b, NULL);
	return b->ring ? 0 : error_sys(err, errno, "cannot read BPF events");
}

int tracer_bpf_open(const struct tracer_bpf_options *o, struct tracer_bpf **ret, struct error *err)
{
	cleanup(tracer_bpf_closep) struct tracer_bpf *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return error_oom(err);
	r = open_all(b, o, err);
	if (r < 0)
		return r;
	*ret = take_ptr(b);
	return 0;
}

struct tracer_bpf *tracer_bpf_close(struct tracer_bpf *b)
{
	if (!b)
		return NULL;
	ring_buffer__free(b->ring);
	bpf_tables_close(&b->tables);
	map_bpf__destroy(b->skel);
	free(b);
	return NULL;
}

void tracer_bpf_closep(struct tracer_bpf **b)
{
	*b = tracer_bpf_close(*b);
}

bool tracer_bpf_is_per_call(const struct tracer_bpf *b)
{
	return b->per_call;
}

struct bpf_tables *tracer_bpf_tables(struct tracer_bpf *b)
{
	return &b->tables;
}

const volatile struct map_counters *tracer_bpf_counters(const struct tracer_bpf *b)
{
	return &b->skel->bss->counters;
}

/* ---- processes ---- */

int tracer_bpf_new_slot(struct tracer_bpf *b, pid_t tgid, u32 *ret_slot, struct error *err)
{
	u32 slot = __atomic_fetch_add(&b->skel->bss->used_slots, 1, __ATOMIC_RELAXED);

	if (slot >= STACK_MAX_PROCESSES)
		return error_set(err, ENOSPC, "more than %d processes", STACK_MAX_PROCESSES);
	b->skel->bss->processes[slot].tgid = tgid;
	b->skel->bss->processes[slot].active = 1;
	*ret_slot = slot;
	return 0;
}

int tracer_bpf_watch(struct tracer_bpf *b, pid_t tgid, u32 slot, struct error *err)
{
	u32 key = tgid;

	if (bpf_map_update_elem(bpf_map__fd(b->skel->maps.groups), &key, &slot, BPF_ANY))
		return error_sys(err, errno, "cannot watch process %d", tgid);
	return 0;
}

pid_t tracer_bpf_process_of(const struct tracer_bpf *b, u32 slot)
{
	return slot < STACK_MAX_PROCESSES ? (pid_t)b->skel->bss->processes[slot].tgid : 0;
}

static bool is_numbers(const struct bpf_program *p)
{
	return !strcmp(bpf_program__name(p), "numbers_learn");
}

int tracer_bpf_attach(struct tracer_bpf *b, struct error *err)
{
	struct bpf_object_skeleton *s = b->skel->skeleton;

	for (int i = 0; i < s->prog_cnt; i++) {
		struct bpf_program *p = *s->progs[i].prog;

		if (bpf_program__fd(p) < 0 || is_numbers(p))
			continue;
		*s->progs[i].link = bpf_program__attach(p);
		if (!*s->progs[i].link)
			return bpf_load_explain(-errno, err);
	}
	return 0;
}

void tracer_bpf_detach(struct tracer_bpf *b)
{
	struct bpf_object_skeleton *s = b->skel->skeleton;

	for (int i = 0; i < s->prog_cnt; i++) {
		bpf_link__destroy(*s->progs[i].link);
		*s->progs[i].link = NULL;
	}
}

/* ---- events ---- */

int tracer_bpf_consume(struct tracer_bpf *b, size_t max,
                       int (*fn)(void *arg, const struct map_event *e, struct error *err),
                       void *arg, struct error *err)
{
	int r;

	b->fn = fn;
	b->arg = arg;
	b->left = max;
	b->err = err;
	b->failed = 0;
	r = ring_buffer__consume(b->ring);
	if (b->failed)
		return b->failed;
	if (r < 0 && r != -EAGAIN)
		return error_sys(err, -r, "cannot read BPF events");
	return (int)(max - b->left);
}

size_t tracer_bpf_in_flight(struct tracer_bpf *b, struct map_in_flight *ret, size_t max)
{
	int fd = bpf_map__fd(b->skel->maps.in_flight);
	u32 key, at, *previous = NULL;
	size_t n = 0;

	while (n < max && !bpf_map_get_next_key(fd, previous, &key)) {
		if (!bpf_map_lookup_elem(fd, &key, &ret[n]))
			n++;
		at = key;
		previous = &at;
	}
	return n;
}

u32 tracer_bpf_modules_changed(const struct tracer_bpf *b, u32 slot)
{
	return __atomic_load_n(&b->skel->bss->processes[slot].modules_changed, __ATOMIC_ACQUIRE);
}

void tracer_bpf_set_modules_seen(struct tracer_bpf *b, u32 slot, u32 changed)
{
	__atomic_store_n(&b->skel->bss->processes[slot].modules_seen, changed, __ATOMIC_RELEASE);
}

void tracer_bpf_set_stride(struct tracer_bpf *b, u32 stride)
{
	__atomic_store_n(&b->skel->data->stack_stride, stride, __ATOMIC_RELAXED);
}
