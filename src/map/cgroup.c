/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "map/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/proc.h"
#include "target/target_cgroup.h"

enum {
	FILE_BYTES = 1 << 20,
	STATUS_BYTES = 1 << 16,
	/* THREAD_SIZE of x86-64 and arm64 (4 pages of 4 KiB); 32 KiB only with KASAN */
	KERNEL_STACK_BYTES = 16 << 10,
	MEMCG_CHARGE_BATCH = 64, /* pages a cpu keeps (include/linux/memcontrol.h) */
};

/* v1 says "no limit" by the largest multiple of a page in a long. */
#define V1_NO_LIMIT 0x7ffffffffffff000ULL

/* The value of "KEY NUMBER"; false: no such line. */
static bool value_of(const char *text, const char *key, int64_t *ret)
{
	size_t n = strlen(key);

	for (const char *line = text; line && *line;) {
		if (!strncmp(line, key, n) && line[n] == ' ') {
			*ret = (int64_t)strtoull(line + n + 1, NULL, 10);
			return true;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return false;
}

/* 0 where there is none. */
static int64_t value(const char *text, const char *key)
{
	int64_t v = 0;

	return value_of(text, key, &v) ? v : 0;
}

static void __attribute__((format(printf, 5, 6)))
row(struct cgroup *c, const char *name, int64_t bytes, int64_t reclaimable, const char *fmt, ...)
{
	struct cgroup_row *r = &c->rows[c->n_rows];
	va_list ap;

	if (c->n_rows == CGROUP_MAX_ROWS)
		return;
	c->n_rows++;
	r->name = name;
	r->bytes = bytes;
	r->reclaimable_bytes = reclaimable;
	va_start(ap, fmt);
	vsnprintf(r->evidence, sizeof(r->evidence), fmt, ap);
	va_end(ap);
}

static int64_t sum(const struct cgroup *c, size_t from)
{
	int64_t bytes = 0;

	for (size_t i = from; i < c->n_rows; i++)
		bytes += c->rows[i].bytes;
	return bytes;
}

/* What no counter explains. Last of the rows. */
static void add_rest(struct cgroup *c, const char *what, int64_t swap_cached)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	char swap[64] = "";

	if (swap_cached)
		snprintf(swap, sizeof(swap), "; swap cache of %" PRId64 " bytes may be here",
		         swap_cached);
	row(c, "not accounted", (int64_t)c->current_bytes - sum(c, 0), 0,
	    "by difference: %scharges that cpus keep in batches (up to %ld KiB a cgroup)%s", what,
	    cpus * MEMCG_CHARGE_BATCH * (sysconf(_SC_PAGESIZE) / 1024), swap);
}

static void add_user_rows(struct cgroup *c, int64_t anon, int64_t file, int64_t shmem,
                          const char *names)
{
	int64_t cache = file - shmem;

	row(c, "anon", anon, 0, "memory.stat: %s", names);
	row(c, "file cache", cache, (int64_t)(c->active_file_bytes + c->inactive_file_bytes),
	    "memory.stat: %s less shmem", c->place.is_v2 ? "file" : "cache");
	row(c, "shmem", shmem, 0, "memory.stat: shmem (tmpfs files, memfd, shared memory)");
}

/* A part of v2's "kernel"; nothing where this kernel has no such line. */
static void add_kernel_part(struct cgroup *c, const char *stat, const char *name, const char *key)
{
	int64_t v;

	if (value_of(stat, key, &v))
		row(c, name, v, 0, "memory.stat: %s", key);
}

static void divide_v2(const char *stat, struct cgroup *c)
{
	size_t first;
	int64_t v;

	add_user_rows(c, value(stat, "anon"), value(stat, "file"), value(stat, "shmem"), "anon");
	add_kernel_part(c, stat, "sock", "sock");
	/* only where the mount option memory_hugetlb_accounting is set */
	add_kernel_part(c, stat, "hugetlb", "hugetlb");
	first = c->n_rows;
	add_kernel_part(c, stat, "kernel stacks", "kernel_stack");
	row(c, "page tables", value(stat, "pagetables") + value(stat, "sec_pagetables"), 0,
	    "memory.stat: pagetables and sec_pagetables");
	row(c, "slab", value(stat, "slab"), value(stat, "slab_reclaimable"), "memory.stat: slab");
	add_kernel_part(c, stat, "percpu", "percpu");
	add_kernel_part(c, stat, "vmalloc", "vmalloc");
	add_kernel_part(c, stat, "zswap", "zswap");
	if (value_of(stat, "kernel", &v)) { /* Linux 5.18 */
		v -= sum(c, first);
		if (v > 0)
			row(c, "other kernel", v, 0, "memory.stat: kernel less its parts");
		add_rest(c, "", value(stat, "swapcached"));
	} else {
		add_rest(c, "other kernel memory, and ", value(stat, "swapcached"));
	}
	c->swap_bytes = 0; /* memory.swap.current has it */
}

/* v1 has one counter for all kernel memory; of its parts the processes know two. */
static void divide_v1(const struct cgroup_texts *t, struct cgroup *c)
{
	const struct cgroup_processes *p = &c->processes;
	int64_t kernel = t->kernel ? (int64_t)strtoull(t->kernel, NULL, 10) : 0;
	int64_t stacks = (int64_t)p->n_threads * KERNEL_STACK_BYTES;
	int64_t tables = (int64_t)p->page_table_bytes;
	const char *prefix = t->is_flat ? "" : "total_";
	char key[64];
	int64_t v[4];
	static const char *const keys[] = { "rss", "cache", "shmem", "swap" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		snprintf(key, sizeof(key), "%s%s", prefix, keys[i]);
		v[i] = value(t->stat, key);
	}
	c->swap_bytes = (uint64_t)v[3];
	add_user_rows(c, v[0], v[1], v[2], "rss, which is anonymous memory alone");
	if (stacks + tables <= kernel) {
		row(c, "kernel stacks", stacks, 0, "threads, %" PRIu64 ", of %d KiB each",
		    p->n_threads, KERNEL_STACK_BYTES >> 10);
		row(c, "page tables", tables, 0, "VmPTE of its processes, %" PRIu64, p->n);
		kernel -= stacks + tables;
	}
	if (t->kernel)
		row(c, "other kernel", kernel, 0,
		    "memory.kmem.usage_in_bytes less these: slab, sockets, pipes; v1 tells no "
		    "parts");
	add_rest(c, t->kernel ? "" : "kernel memory, and ", 0);
}

static uint64_t stat_of(const struct cgroup_texts *t, bool is_v2, const char *key)
{
	char name[64];

	snprintf(name, sizeof(name), "%s%s", is_v2 || t->is_flat ? "" : "total_", key);
	return (uint64_t)value(t->stat, name);
}

int cgroup_divide(const struct cgroup_texts *texts, struct cgroup *ret, struct error *err)
{
	const char *first = ret->place.is_v2 ? "anon" : "rss";
	int64_t v;

	if (!texts->stat || !texts->current || !value_of(texts->stat, first, &v))
		return error_set(err, EINVAL, "memory.stat has no line '%s'", first);
	ret->n_rows = 0;
	ret->current_bytes = strtoull(texts->current, NULL, 10);
	ret->active_file_bytes = stat_of(texts, ret->place.is_v2, "active_file");
	ret->inactive_file_bytes = stat_of(texts, ret->place.is_v2, "inactive_file");
	if (ret->place.is_v2)
		divide_v2(texts->stat, ret);
	else
		divide_v1(texts, ret);
	return 0;
}

/*
 * Reading.
 */

static uint64_t status_bytes(const char *status, const char *key)
{
	const char *line = proc_status_line(status, key);

	return line ? strtoull(line, NULL, 10) * 1024 : 0;
}

static void add_process(struct cgroup_processes *to, pid_t pid)
{
	cleanup_free char *text = NULL;
	const char *threads;
	char name[48];

	snprintf(name, sizeof(name), "/proc/%d/status", pid);
	if (proc_read(AT_FDCWD, name, STATUS_BYTES, &text, NULL) < 0) {
		to->n_unreadable++; /* ended meanwhile, or /proc hides it */
		return;
	}
	threads = proc_status_line(text, "Threads");
	to->n++;
	to->n_threads += threads ? strtoull(threads, NULL, 10) : 1;
	to->anon_bytes += status_bytes(text, "RssAnon");
	to->file_bytes += status_bytes(text, "RssFile");
	to->shmem_bytes += status_bytes(text, "RssShmem");
	to->page_table_bytes += status_bytes(text, "VmPTE");
}

static int add_processes(struct cgroup *c, struct error *err)
{
	struct target_cgroup_pids pids = { 0 };
	int r = target_cgroup_list(c->place.dir, &pids, err);

	for (size_t i = 0; r == 0 && i < pids.n_items; i++)
		add_process(&c->processes, pids.items[i]);
	free(pids.items);
	return r;
}

/* File @name of cgroup @p, malloc'ed; NULL if it can't be read. */
static char *file(const struct memory_cgroup *p, const char *name)
{
	char path[sizeof(p->dir) + 64], *text = NULL;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return proc_read(AT_FDCWD, path, FILE_BYTES, &text, NULL) < 0 ? NULL : text;
}

/* A file of one number; @none where it isn't there or says "max". */
static uint64_t number(const struct memory_cgroup *p, const char *name, uint64_t none)
{
	cleanup_free char *text = file(p, name);
	uint64_t v;
	char *end;

	if (!text)
		return none;
	v = strtoull(text, &end, 10);
	return end == text || v >= V1_NO_LIMIT ? none : v;
}

/* The lowest on the way up. What lies above our cgroup namespace is seen on v1 only. */
static void find_limit(struct cgroup *c, const char *stat)
{
	cleanup_free struct memory_cgroup *up = malloc(sizeof(*up));
	const char *name = c->place.is_v2 ? "memory.max" : "memory.limit_in_bytes";
	int64_t above;

	c->limit_bytes = UINT64_MAX;
	if (!up)
		return;
	*up = c->place;
	do {
		uint64_t v = number(up, name, UINT64_MAX);

		if (v < c->limit_bytes) {
			c->limit_bytes = v;
			snprintf(c->limit_path, sizeof(c->limit_path), "%s", up->path);
		}
	} while (memory_cgroup_up(up));
	if (!c->place.is_v2 && value_of(stat, "hierarchical_memory_limit", &above) &&
	    (uint64_t)above < V1_NO_LIMIT && (uint64_t)above < c->limit_bytes) {
		c->limit_bytes = (uint64_t)above;
		c->limit_path[0] = '\0';
	}
}

static void read_events(struct cgroup *c)
{
	bool v2 = c->place.is_v2;
	cleanup_free char *events = file(&c->place, v2 ? "memory.events" : "memory.oom_control");

	c->oom_kills = (uint64_t)value(events, "oom_kill");
	c->limit_hits = v2 ? (uint64_t)value(events, "max")
	                   : number(&c->place, "memory.failcnt", 0);
	c->high_bytes = v2 ? number(&c->place, "memory.high", UINT64_MAX) : UINT64_MAX;
	c->peak_bytes = number(&c->place, v2 ? "memory.peak" : "memory.max_usage_in_bytes", 0);
}

int cgroup_read(const struct memory_cgroup *place, struct cgroup *ret, struct error *err)
{
	bool v2 = place->is_v2;
	cleanup_free struct cgroup *c = calloc(1, sizeof(*c));
	cleanup_free char *stat = file(place, "memory.stat");
	cleanup_free char *current = file(place, v2 ? "memory.current" : "memory.usage_in_bytes");
	cleanup_free char *kernel = v2 ? NULL : file(place, "memory.kmem.usage_in_bytes");
	const struct cgroup_texts texts = {
		.stat = stat,
		.current = current,
		.kernel = kernel,
		.is_flat = !v2 && number(place, "memory.use_hierarchy", 1) == 0,
	};
	int r;

	if (!c)
		return error_oom(err);
	if (!stat || !current)
		return error_set(err, ENOENT, "cgroup %s has no figures (removed?)", place->path);
	c->place = *place;
	r = add_processes(c, err);
	if (r == 0)
		r = cgroup_divide(&texts, c, err);
	if (r < 0)
		return r;
	if (v2)
		c->swap_bytes = number(place, "memory.swap.current", 0);
	find_limit(c, stat);
	read_events(c);
	*ret = *c;
	return 0;
}

/*
 * Which one.
 */

static const char *behind(const char *word, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(word, prefix, n) == 0 ? word + n : NULL;
}

/* That of all the processes; those that ended meanwhile don't count. */
static int of_pids(const pid_t *pids, size_t n, bool may_differ, struct memory_cgroup *ret,
                   struct error *err)
{
	cleanup_free struct memory_cgroup *one = malloc(sizeof(*one));
	bool any = false, same = true;

	if (!one)
		return error_oom(err);
	for (size_t i = 0; i < n; i++) {
		int r = memory_cgroup_of(pids[i], one, err);

		if (r == -ENOMEM)
			return r;
		if (r < 0)
			continue;
		if (!any)
			*ret = *one;
		else if (strcmp(ret->dir, one->dir) != 0)
			same = false;
		memory_cgroup_join(ret, one);
		any = true;
	}
	return any && (same || may_differ);
}

int cgroup_find(char *const *words, size_t n_words, const pid_t *pids, size_t n_pids,
                struct memory_cgroup *ret, struct error *err)
{
	cleanup_free struct memory_cgroup *c = malloc(sizeof(*c));
	const char *path = n_words == 1 ? behind(words[0], "cgroup:") : NULL;
	const char *id = n_words == 1 ? behind(words[0], "container:") : NULL;
	struct error ignored;
	int r;

	if (!c)
		return error_oom(err);
	/* named by another controller's hierarchy (v1) it is that of its processes */
	r = path && memory_cgroup_at(path, c, &ignored) == 0
	            ? 1
	            : of_pids(pids, n_pids, path || id, c, err);
	if (r <= 0)
		return r;
	if (id)
		memory_cgroup_to_container(c, id);
	if (!path && memory_cgroup_is_machine(c))
		return 0;
	*ret = *c;
	return 1;
}
