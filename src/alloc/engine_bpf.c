/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_bpf.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "alloc.skel.h"
#include "alloc/engine_bpf_links.h"
#include "alloc/engine_bpf_state.h"
#include "alloc/engine_bpf_table.h"
#include "base/cleanup.h"
#include "base/feature.h"
#include "bpf/bpf_load.h"
#include "bpf/libbpf_old.h"

enum {
	MAX_RANGES = 1 << 15,        /* of all processes, in each of two halves */
	MAX_RANGES_OF_ONE = 1 << 11, /* what the program's search can step through */
};

/* ---- opening ---- */

static bool kernel_has_sessions(void)
{
	struct btf *btf;
	bool has;

	/* see WITHOUT_SESSIONS in bpf/meson.build */
	if (LIBBPF_IS_OLD || !feature_allowed("uprobe_session"))
		return false;
	btf = btf__load_vmlinux_btf();
	if (!btf)
		return false;
	has = btf__find_by_name_kind(btf, "bpf_session_is_return", BTF_KIND_FUNC) > 0;
	btf__free(btf);
	return has;
}

static int set_sizes(struct alloc_bpf *skel, const struct engine_bpf_sizes *s, struct error *err)
{
	int r = bpf_tables_set_sizes(skel->obj, &s->tables, err);

	if (r < 0)
		return r;
	skel->rodata->max_stacks = s->tables.stacks;
	skel->rodata->max_pcs = s->tables.pcs;
	skel->rodata->want_stacks = s->want_stacks;
	skel->rodata->follows = s->follow;
	if (bpf_map__set_max_entries(skel->maps.ranges, 2 * MAX_RANGES))
		return error_set(err, EINVAL, "cannot size the BPF tables");
	return 0;
}

/* What the inner tables of @outer look like. libbpf would make such a template
 * with type information, and until Linux 6.2 a table without it then counts as
 * another kind and is refused (bpf_map_meta_equal() compared timer_off). */
static int set_template(struct bpf_map *outer, unsigned value_bytes, int *ret_fd)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "template", sizeof(u64), value_bytes, 64, NULL);

	if (fd < 0)
		return fd;
	*ret_fd = fd; /* to be closed after the load */
	return bpf_map__set_inner_map_fd(outer, fd);
}

/* *btf_fd: to be closed after the load. */
static int open_skel(struct engine_bpf *e, int *btf_fd, struct error *err)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts);
	char path[32];
	int r = bpf_load_btf(btf_fd, path, err);

	if (r < 0)
		return r;
	if (path[0])
		opts.btf_custom_path = path;
	e->skel = alloc_bpf__open_opts(&opts);
	if (!e->skel)
		return bpf_load_explain(-errno, err);
	libbpf_old_types(e->skel->obj);
	return 0;
}

static int load(struct engine_bpf *e, const struct engine_bpf_sizes *sizes, struct error *err)
{
	cleanup_close int level = -1, resets = -1, btf = -1;
	int r;

	r = bpf_load_begin(err);
	if (r < 0)
		return r;
	r = open_skel(e, &btf, err);
	if (r < 0)
		return r;
	e->sessions = sizes->want_sessions && kernel_has_sessions();
	e->multi = engine_bpf_links_kernel_has_multi();
	engine_bpf_links_prepare(e);
	r = set_sizes(e->skel, sizes, err);
	if (r == 0)
		r = set_template(e->skel->maps.levels, sizeof(struct alloc_entry), &level);
	if (r == 0)
		r = set_template(e->skel->maps.resets, sizeof(u64), &resets);
	if (r == 0)
		r = alloc_bpf__load(e->skel);
	return r < 0 ? bpf_load_explain(r, err) : 0;
}

static int map_arrays(struct engine_bpf *e, struct error *err)
{
	struct stack_process *processes = e->skel->bss->processes;
	int r = bpf_tables_open(e->skel->obj, processes, &e->skel->data->used_stacks, &e->tables,
	                        err);

	if (r < 0)
		return r;
	return bpf_tables_open_lists(e->skel->maps.ranges, sizeof(struct alloc_range),
	                             &processes[0].first_range, sizeof(*processes), &e->ranges,
	                             err);
}

static int on_ring(void *ctx, void *data, size_t size)
{
	struct engine_bpf *e = ctx;

	if (size < sizeof(struct alloc_event))
		return 0;
	return e->event_fn(e->event_arg, data);
}

/* In a container process numbers are not those of the kernel's helpers. */
static int learn_numbers(struct engine_bpf *e, struct error *err)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int r = bpf_prog_test_run_opts(bpf_program__fd(e->skel->progs.numbers_learn), &opts);

	if (r < 0 || !e->skel->bss->numbers_namespace)
		return error_sys(err, r < 0 ? -r : ENOENT, "cannot learn our pid namespace");
	return 0;
}

static int open_all(struct engine_bpf *e, const struct engine_bpf_sizes *sizes, struct error *err)
{
	int r = load(e, sizes, err);

	if (r < 0)
		return r;
	r = learn_numbers(e, err);
	if (r < 0)
		return r;
	r = map_arrays(e, err);
	if (r < 0)
		return r;
	r = engine_bpf_table_open(e, sizes->first_level, sizes->reset_contexts, err);
	if (r < 0)
		return r;
	/* who follows will need them, and the first child will not wait */
	if (sizes->follow)
		r = engine_bpf_links_load_perf(e, err);
	if (r < 0)
		return r;
	e->ring = ring_buffer__new(bpf_map__fd(e->skel->maps.events), on_ring, e, NULL);
	return e->ring ? 0 : error_sys(err, errno, "cannot read BPF events");
}

int engine_bpf_open(const struct engine_bpf_sizes *sizes, struct engine_bpf **ret,
                    struct error *err)
{
	cleanup(engine_bpf_closep) struct engine_bpf *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return error_oom(err);
	e->reset_fds[0] = e->reset_fds[1] = -1;
	r = open_all(e, sizes, err);
	if (r < 0)
		return r;
	*ret = take_ptr(e);
	return 0;
}

struct engine_bpf *engine_bpf_close(struct engine_bpf *e)
{
	if (!e)
		return NULL;
	engine_bpf_links_join(e);
	engine_bpf_links_wait(e);
	ring_buffer__free(e->ring);
	engine_bpf_table_close(e);
	bpf_tables_close(&e->tables);
	bpf_tables_close_lists(&e->ranges);
	alloc_bpf__destroy(e->perf);
	alloc_bpf__destroy(e->skel);
	free(e);
	return NULL;
}

void engine_bpf_closep(struct engine_bpf **e)
{
	*e = engine_bpf_close(*e);
}

bool engine_bpf_has_sessions(const struct engine_bpf *e)
{
	return e->sessions;
}

bool engine_bpf_has_multi(const struct engine_bpf *e)
{
	return e->multi;
}

void engine_bpf_set_generation(struct engine_bpf *e, u32 slot, u32 generation, u32 next)
{
	struct stack_process *p = &e->skel->bss->processes[slot];

	__atomic_store_n(&p->next_generation, next, __ATOMIC_RELEASE);
	__atomic_store_n(&p->generation, generation, __ATOMIC_RELEASE);
}

/* ---- processes ---- */

struct bpf_tables *engine_bpf_tables(struct engine_bpf *e)
{
	return &e->tables;
}

int engine_bpf_set_process(struct engine_bpf *e, u32 slot, pid_t tgid,
                           const struct stack_span *spans, size_t n_spans,
                           const struct alloc_range *ranges, size_t n_ranges, struct error *err)
{
	int r;

	if (n_ranges > MAX_RANGES_OF_ONE)
		return error_set(err, ENOSPC, "%zu functions of allocators are too many", n_ranges);
	r = bpf_tables_set_spans(&e->tables, slot, spans, n_spans, err);
	if (r == 0)
		r = bpf_tables_set_list(&e->ranges, slot, ranges, n_ranges, err);
	if (r < 0)
		return r;
	e->skel->bss->processes[slot].tgid = tgid;
	/* not again: it may have ended (exec) since the description was made */
	if (!e->begun[slot])
		e->skel->bss->processes[slot].active = 1;
	e->begun[slot] = true;
	return 0;
}

bool engine_bpf_is_active(const struct engine_bpf *e, u32 slot)
{
	return slot < STACK_MAX_PROCESSES &&
	       __atomic_load_n(&e->skel->bss->processes[slot].active, __ATOMIC_ACQUIRE);
}

u32 engine_bpf_modules_changed(const struct engine_bpf *e, u32 slot)
{
	return __atomic_load_n(&e->skel->bss->processes[slot].modules_changed, __ATOMIC_ACQUIRE);
}

void engine_bpf_set_modules_seen(struct engine_bpf *e, u32 slot, u32 changed)
{
	__atomic_store_n(&e->skel->bss->processes[slot].modules_seen, changed, __ATOMIC_RELEASE);
}

static void deactivate(struct engine_bpf *e, u32 slot)
{
	e->skel->bss->processes[slot].active = 0;
	/* its place is free for others; what is written there is not read any more */
	bpf_tables_drop_list(&e->tables.spans, slot);
	bpf_tables_drop_list(&e->ranges, slot);
}

void engine_bpf_end_process(struct engine_bpf *e, u32 slot)
{
	int groups = bpf_map__fd(e->skel->maps.groups);
	u32 tgid, watched;

	if (slot >= STACK_MAX_PROCESSES)
		return;
	deactivate(e, slot);
	tgid = e->skel->bss->processes[slot].tgid;
	if (!bpf_map_lookup_elem(groups, &tgid, &watched) && watched == slot)
		bpf_map_delete_elem(groups, &tgid);
}

void engine_bpf_end_program(struct engine_bpf *e, u32 slot)
{
	u32 tgid, pending = STACK_SLOT_PENDING;

	if (slot >= STACK_MAX_PROCESSES)
		return;
	deactivate(e, slot);
	tgid = e->skel->bss->processes[slot].tgid;
	/* the kernel's side takes it out when the process ends */
	bpf_map_update_elem(bpf_map__fd(e->skel->maps.groups), &tgid, &pending, BPF_EXIST);
}

int engine_bpf_watch(struct engine_bpf *e, u32 slot, pid_t tgid, struct error *err)
{
	struct bpf_program *programs[] = { e->skel->progs.process_fork, e->skel->progs.process_exec,
		                           e->skel->progs.process_exit };
	struct bpf_link **links[] = { &e->skel->links.process_fork, &e->skel->links.process_exec,
		                      &e->skel->links.process_exit };
	u32 key = tgid;

	if (bpf_map_update_elem(bpf_map__fd(e->skel->maps.groups), &key, &slot, BPF_ANY))
		return error_sys(err, errno, "cannot watch process %d", tgid);
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++) {
		if (*links[i])
			continue;
		*links[i] = bpf_program__attach(programs[i]);
		if (!*links[i])
			return error_sys(err, errno, "cannot watch for %s",
			                 bpf_program__name(programs[i]));
	}
	return 0;
}

int engine_bpf_add_plan(struct engine_bpf *e, const struct plan_code *code, u32 *ret,
                        struct error *err)
{
	struct plan_code *plans = e->skel->bss->plans;

	for (u32 i = 0; i < e->n_plans; i++) {
		if (!memcmp(&plans[i], code, sizeof(*code))) {
			*ret = i;
			return 0;
		}
	}
	if (e->n_plans == ALLOC_MAX_PLANS)
		return error_set(err, ENOSPC, "more than %d different probe plans",
		                 ALLOC_MAX_PLANS);
	plans[e->n_plans] = *code;
	*ret = e->n_plans++;
	return 0;
}

/* ---- counters and events ---- */

const volatile struct alloc_counters *engine_bpf_counters(const struct engine_bpf *e)
{
	return &e->skel->bss->counters;
}

void engine_bpf_reset_counters(struct engine_bpf *e)
{
	struct engine_bpf_thread ignored;

	memset(&e->skel->bss->counters, 0, sizeof(e->skel->bss->counters));
	engine_bpf_threads(e, &ignored, 1);
}

static void keep_busiest(struct engine_bpf_thread *ret, size_t *n, size_t max,
                         struct engine_bpf_thread t)
{
	size_t i;

	if (*n == max && (!max || ret[max - 1].hits >= t.hits))
		return;
	i = *n < max ? (*n)++ : max - 1;
	for (; i && ret[i - 1].hits < t.hits; i--)
		ret[i] = ret[i - 1];
	ret[i] = t;
}

/* The keys first, all of them: an update moves an element to the head of its
 * bucket, and a walk that updates would meet the others of it for ever. */
static size_t thread_keys(int fd, u32 *tids, size_t max)
{
	u32 *prev = NULL;
	size_t n = 0;

	while (n < max && !bpf_map_get_next_key(fd, prev, &tids[n])) {
		prev = &tids[n];
		n++;
	}
	return n;
}

size_t engine_bpf_threads(struct engine_bpf *e, struct engine_bpf_thread *ret, size_t max)
{
	int fd = bpf_map__fd(e->skel->maps.thread_hits);
	size_t room = bpf_map__max_entries(e->skel->maps.thread_hits), n_tids, n = 0;
	cleanup_free u32 *tids = calloc(room, sizeof(*tids));
	u64 hits;

	if (!tids)
		return 0;
	n_tids = thread_keys(fd, tids, room);
	for (size_t i = 0; i < n_tids; i++) {
		if (!bpf_map_lookup_elem(fd, &tids[i], &hits))
			keep_busiest(ret, &n, max, (struct engine_bpf_thread){ tids[i], hits });
		/* taken: the next call counts anew */
		bpf_map_delete_elem(fd, &tids[i]);
	}
	return n;
}

int engine_bpf_poll(struct engine_bpf *e, int timeout_ms,
                    int (*fn)(void *arg, const struct alloc_event *event), void *arg,
                    struct error *err)
{
	int r;

	e->event_fn = fn;
	e->event_arg = arg;
	r = ring_buffer__poll(e->ring, timeout_ms);
	if (r < 0 && r != -EINTR)
		return error_sys(err, -r, "cannot read BPF events");
	return 0;
}
