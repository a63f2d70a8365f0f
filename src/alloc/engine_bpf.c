/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/engine_bpf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bpf/btf.h>

#include "alloc.skel.h"
#include "alloc/engine_bpf_links.h"
#include "alloc/engine_bpf_state.h"
#include "alloc/engine_bpf_table.h"
#include "alloc/engine_permission.h"
#include "alloc/libbpf_old.h"
#include "alloc/plain_btf.h"
#include "base/cleanup.h"
#include "base/feature.h"
#include "base/kernel.h"
#include "base/log.h"

enum {
	MAX_SPANS = 1 << 16, /* of all processes, in each of two halves */
	MAX_RANGES = 1 << 15,
	MAX_SPANS_OF_ONE = 1 << 12, /* what the program's search can step through */
	MAX_RANGES_OF_ONE = 1 << 11,
};

/* What libbpf said last: the kernel's reason when a load fails. */
static char libbpf_said[512];

static int keep_libbpf_message(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level == LIBBPF_WARN)
		vsnprintf(libbpf_said, sizeof(libbpf_said), fmt, ap);
	libbpf_said[strcspn(libbpf_said, "\n")] = '\0';
	return 0;
}

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

static int explain_load(int r, struct error *err)
{
	/* EACCES is the verifier's word */
	if (r != -EACCES && engine_permission_is_refusal(r))
		return engine_permission_explain(ENGINE_PERMISSION_LOAD, -r, err);
	if (!feature_allowed("bpf") || r == -ENOSYS) {
		error_set(err, ENOTSUP, "this kernel takes no BPF programs");
		return error_hint(err, "boot a kernel with CONFIG_BPF_SYSCALL and "
		                       "CONFIG_BPF_EVENTS");
	}
	if (!feature_allowed("btf") || access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		error_set(err, ENOTSUP, "this kernel has no type information (BTF)");
		return error_hint(err, "the exact engine needs /sys/kernel/btf/vmlinux "
		                       "(CONFIG_DEBUG_INFO_BTF); distributions' kernels since "
		                       "2021 have it");
	}
	if (kernel_has(KERNEL_BPF_LOOP) == KERNEL_NO) {
		error_set(err, ENOTSUP, "this kernel's BPF has no bpf_loop");
		return error_hint(err, "the exact engine needs Linux 5.17 or later");
	}
	error_sys(err, -r, "cannot load the BPF programs");
	return error_hint(err, "libbpf says: %s; `memwho doctor` shows what this kernel has",
	                  libbpf_said);
}

static int set_sizes(struct alloc_bpf *skel, const struct engine_bpf_sizes *s)
{
	skel->rodata->max_stacks = s->stacks;
	skel->rodata->max_pcs = s->pcs;
	skel->rodata->want_stacks = s->want_stacks;
	skel->rodata->follows = s->follow;
	return bpf_map__set_max_entries(skel->maps.rows, s->rows) ||
	       bpf_map__set_max_entries(skel->maps.row_index, s->index) ||
	       bpf_map__set_max_entries(skel->maps.spans, 2 * MAX_SPANS) ||
	       bpf_map__set_max_entries(skel->maps.ranges, 2 * MAX_RANGES) ||
	       bpf_map__set_max_entries(skel->maps.stacks, s->stacks) ||
	       bpf_map__set_max_entries(skel->maps.stack_ids, s->stacks) ||
	       bpf_map__set_max_entries(skel->maps.pcs, s->pcs);
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

	if (LIBBPF_IS_OLD || !feature_allowed("btf_enum64")) {
		int r = plain_btf_open(btf_fd, err);

		if (r < 0)
			return r;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", *btf_fd);
		opts.btf_custom_path = path;
	}
	e->skel = alloc_bpf__open_opts(&opts);
	if (!e->skel)
		return explain_load(-errno, err);
	libbpf_old_types(e->skel->obj);
	return 0;
}

static int load(struct engine_bpf *e, const struct engine_bpf_sizes *sizes, struct error *err)
{
	cleanup_close int level = -1, resets = -1, btf = -1;
	int r;

	libbpf_set_print(keep_libbpf_message);
	libbpf_said[0] = '\0';
	libbpf_old_begin();
	if (!feature_allowed("bpf") || !feature_allowed("btf") || !feature_allowed("bpf_loop"))
		return explain_load(-ENOTSUP, err);
	r = open_skel(e, &btf, err);
	if (r < 0)
		return r;
	e->sessions = sizes->want_sessions && kernel_has_sessions();
	e->multi = engine_bpf_links_kernel_has_multi();
	engine_bpf_links_prepare(e);
	if (set_sizes(e->skel, sizes))
		return error_set(err, EINVAL, "cannot size the BPF tables");
	r = set_template(e->skel->maps.levels, sizeof(struct alloc_entry), &level);
	if (r == 0)
		r = set_template(e->skel->maps.resets, sizeof(u64), &resets);
	if (r == 0)
		r = alloc_bpf__load(e->skel);
	return r < 0 ? explain_load(r, err) : 0;
}

static int map_array(struct bpf_map *map, struct engine_bpf_array *ret, struct error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = bpf_map__max_entries(map);
	size_t bytes = n * ((bpf_map__value_size(map) + 7) & ~7UL);
	void *data;

	bytes = (bytes + page - 1) & ~(page - 1);
	data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
	if (data == MAP_FAILED)
		return error_sys(err, errno, "cannot map the BPF table %s", bpf_map__name(map));
	*ret = (struct engine_bpf_array){ .data = data, .bytes = bytes, .n = n };
	return 0;
}

static int map_arrays(struct engine_bpf *e, struct error *err)
{
	struct {
		struct bpf_map *map;
		struct engine_bpf_array *array;
	} all[] = {
		{ e->skel->maps.rows, &e->rows },     { e->skel->maps.row_index, &e->index },
		{ e->skel->maps.spans, &e->spans },   { e->skel->maps.ranges, &e->ranges },
		{ e->skel->maps.stacks, &e->stacks }, { e->skel->maps.pcs, &e->pcs },
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		int r = map_array(all[i].map, all[i].array, err);

		if (r < 0)
			return r;
	}
	return 0;
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

static void unmap(struct engine_bpf_array *a)
{
	if (a->data)
		munmap(a->data, a->bytes);
}

struct engine_bpf *engine_bpf_close(struct engine_bpf *e)
{
	if (!e)
		return NULL;
	engine_bpf_links_join(e);
	engine_bpf_links_wait(e);
	ring_buffer__free(e->ring);
	engine_bpf_table_close(e);
	unmap(&e->rows);
	unmap(&e->index);
	unmap(&e->spans);
	unmap(&e->ranges);
	unmap(&e->stacks);
	unmap(&e->pcs);
	for (size_t i = 0; i < ALLOC_MAX_PROCESSES; i++) {
		free(e->lists[i].spans);
		free(e->lists[i].ranges);
	}
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

void engine_bpf_set_generation(struct engine_bpf *e, u32 slot, u32 generation)
{
	__atomic_store_n(&e->skel->bss->processes[slot].generation, generation, __ATOMIC_RELEASE);
}

/* ---- tables and processes ---- */

int engine_bpf_add_table(struct engine_bpf *e, const struct unwind_table *t,
                         struct engine_bpf_module *ret, struct error *err)
{
	struct unwind_row *rows = e->rows.data;
	u64 *index = e->index.data;

	if (t->n_rows > e->rows.n - e->rows.used || t->n_index > e->index.n - e->index.used)
		return error_set(err, ENOSPC, "no room for %zu more unwind rows", t->n_rows);
	memcpy(rows + e->rows.used, t->rows, t->n_rows * sizeof(*rows));
	for (size_t i = 0; i < t->n_index; i++) {
		u32 next = i + 1 < t->n_index ? t->index[i + 1] : (u32)t->n_rows - 1;

		/* low: where the search begins; high: how many rows follow in the slot */
		index[e->index.used + i] = t->index[i] |
		                           (u64)(next > t->index[i] ? next - t->index[i] : 0) << 32;
	}
	*ret = (struct engine_bpf_module){
		.first_row = e->rows.used,
		.n_rows = t->n_rows,
		.first_index = e->index.used,
		.n_index = t->n_index,
		.text_base = t->text_base,
	};
	e->rows.used += t->n_rows;
	e->index.used += t->n_index;
	return 0;
}

/* Write a list into the current half and point the slot at it in one store
 * (position and length are one aligned word). */
static void publish(struct engine_bpf_array *a, size_t half_n, unsigned half, const void *items,
                    u32 n, size_t item_bytes, u32 *position_and_length)
{
	u64 word = (half * half_n + a->used) | (u64)n << 32;

	if (n)
		memcpy((char *)a->data + (half * half_n + a->used) * item_bytes, items,
		       n * item_bytes);
	a->used += n;
	__atomic_store_n((u64 *)(void *)position_and_length, word, __ATOMIC_RELEASE);
}

static void publish_spans(struct engine_bpf *e, u32 slot)
{
	publish(&e->spans, MAX_SPANS, e->span_half, e->lists[slot].spans, e->lists[slot].n_spans,
	        sizeof(struct alloc_span), &e->skel->bss->processes[slot].first_span);
}

static void publish_ranges(struct engine_bpf *e, u32 slot)
{
	publish(&e->ranges, MAX_RANGES, e->range_half, e->lists[slot].ranges,
	        e->lists[slot].n_ranges, sizeof(struct alloc_range),
	        &e->skel->bss->processes[slot].first_range);
}

static u32 list_length(const struct engine_bpf *e, const struct engine_bpf_array *a, u32 slot)
{
	return a == &e->spans ? e->lists[slot].n_spans : e->lists[slot].n_ranges;
}

/* Turn to the other half when this one is full; lists in use stay valid while
 * they are written anew. */
static int make_room(struct engine_bpf *e, struct engine_bpf_array *a, size_t half_n,
                     unsigned *half, u32 need, void (*publish_one)(struct engine_bpf *, u32),
                     struct error *err)
{
	size_t total = need;

	if (need <= half_n - a->used)
		return 0;
	for (u32 i = 0; i < ALLOC_MAX_PROCESSES; i++)
		total += list_length(e, a, i);
	if (total > half_n)
		return error_set(err, ENOSPC, "too many mappings in the traced processes");
	*half ^= 1;
	a->used = 0;
	for (u32 i = 0; i < ALLOC_MAX_PROCESSES; i++) {
		if (list_length(e, a, i))
			publish_one(e, i);
	}
	return 0;
}

static int keep_lists(struct engine_bpf_lists *l, const struct alloc_span *spans, size_t n_spans,
                      const struct alloc_range *ranges, size_t n_ranges, struct error *err)
{
	cleanup_free struct alloc_span *s = malloc((n_spans + 1) * sizeof(*s));
	cleanup_free struct alloc_range *r = malloc((n_ranges + 1) * sizeof(*r));

	if (!s || !r)
		return error_oom(err);
	if (n_spans)
		memcpy(s, spans, n_spans * sizeof(*s));
	if (n_ranges)
		memcpy(r, ranges, n_ranges * sizeof(*r));
	free(l->spans);
	free(l->ranges);
	l->spans = take_ptr(s);
	l->ranges = take_ptr(r);
	l->n_spans = n_spans;
	l->n_ranges = n_ranges;
	return 0;
}

int engine_bpf_set_process(struct engine_bpf *e, u32 slot, pid_t tgid,
                           const struct alloc_span *spans, size_t n_spans,
                           const struct alloc_range *ranges, size_t n_ranges, struct error *err)
{
	int r;

	if (slot >= ALLOC_MAX_PROCESSES)
		return error_set(err, ENOSPC, "more than %d processes", ALLOC_MAX_PROCESSES);
	if (n_spans > MAX_SPANS_OF_ONE || n_ranges > MAX_RANGES_OF_ONE)
		return error_set(err, ENOSPC, "%zu executable mappings are too many", n_spans);
	r = make_room(e, &e->spans, MAX_SPANS, &e->span_half, n_spans, publish_spans, err);
	if (r < 0)
		return r;
	r = make_room(e, &e->ranges, MAX_RANGES, &e->range_half, n_ranges, publish_ranges, err);
	if (r < 0)
		return r;
	r = keep_lists(&e->lists[slot], spans, n_spans, ranges, n_ranges, err);
	if (r < 0)
		return r;
	publish_spans(e, slot);
	publish_ranges(e, slot);
	e->skel->bss->processes[slot].tgid = tgid;
	/* not again: it may have ended (exec) since the description was made */
	if (!e->lists[slot].begun)
		e->skel->bss->processes[slot].active = 1;
	e->lists[slot].begun = true;
	return 0;
}

bool engine_bpf_is_active(const struct engine_bpf *e, u32 slot)
{
	return slot < ALLOC_MAX_PROCESSES &&
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
	free(e->lists[slot].spans);
	free(e->lists[slot].ranges);
	e->lists[slot] = (struct engine_bpf_lists){ .begun = e->lists[slot].begun };
}

void engine_bpf_end_process(struct engine_bpf *e, u32 slot)
{
	int groups = bpf_map__fd(e->skel->maps.groups);
	u32 tgid, watched;

	if (slot >= ALLOC_MAX_PROCESSES)
		return;
	deactivate(e, slot);
	tgid = e->skel->bss->processes[slot].tgid;
	if (!bpf_map_lookup_elem(groups, &tgid, &watched) && watched == slot)
		bpf_map_delete_elem(groups, &tgid);
}

void engine_bpf_end_program(struct engine_bpf *e, u32 slot)
{
	u32 tgid, pending = ALLOC_SLOT_PENDING;

	if (slot >= ALLOC_MAX_PROCESSES)
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
