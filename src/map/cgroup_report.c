/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "map/cgroup.h"
#include "map/ladder.h"
#include "runtime/regions.h"

/* Below these a finding is nobody's trouble. */
enum { MIB = 1 << 20, LEAST = 4 * MIB, TEXT_BYTES = 24 };

static const char *mib(int64_t bytes, char *buf)
{
	snprintf(buf, TEXT_BYTES, "%.1f MiB", (double)bytes / MIB);
	return buf;
}

static int add_rows(const struct cgroup *c, struct report *to, struct error *err)
{
	static const char *const columns[] = { "name", "bytes", "reclaimable", "evidence" };
	struct report_table *table;
	int r = report_table(to, "cgroup", columns, ARRAY_SIZE(columns), &table, err);

	for (size_t i = 0; r == 0 && i < c->n_rows; i++) {
		const struct cgroup_row *row = &c->rows[i];
		const struct report_figure cells[] = { report_cell_text(row->name),
			                               report_cell_int(row->bytes),
			                               report_cell_int(row->reclaimable_bytes),
			                               report_cell_text(row->evidence) };

		r = report_row(table, cells, err);
	}
	return r;
}

/* What the kernel can't take back without swap: what an OOM kill is decided by. */
static int64_t stays(const struct cgroup *c)
{
	return (int64_t)(c->current_bytes - c->active_file_bytes - c->inactive_file_bytes);
}

static int add_figures(const struct cgroup *c, struct report *to, struct error *err)
{
	const struct {
		const char *key, *title, *unit;
		uint64_t value;
		bool is_known;
	} figures[] = {
		{ "cgroup_bytes", "cgroup", "bytes", c->current_bytes, true },
		{ "cgroup_limit_bytes", "cgroup limit", "bytes", c->limit_bytes,
		  c->limit_bytes != UINT64_MAX },
		{ "cgroup_high_bytes", "cgroup high", "bytes", c->high_bytes,
		  c->high_bytes != UINT64_MAX },
		{ "cgroup_peak_bytes", "cgroup peak", "bytes", c->peak_bytes, c->peak_bytes },
		{ "cgroup_swap_bytes", c->swap_bytes ? "cgroup swap" : NULL, "bytes", c->swap_bytes,
		  true },
		{ "cgroup_working_set_bytes", "cgroup working set", "bytes",
		  c->current_bytes - c->inactive_file_bytes, true },
		{ "cgroup_unreclaimable_bytes", "cgroup without file cache", "bytes",
		  (uint64_t)stays(c), true },
		{ "cgroup_oom_kills", c->oom_kills ? "cgroup OOM kills" : NULL, "", c->oom_kills,
		  true },
		{ "cgroup_limit_hits", c->limit_hits ? "cgroup limit hits" : NULL, "",
		  c->limit_hits, true },
		{ "cgroup_processes", NULL, "", c->processes.n, true },
		{ "cgroup_threads", NULL, "", c->processes.n_threads, true },
		{ "cgroup_process_anon_bytes", NULL, "bytes", c->processes.anon_bytes, true },
		{ "cgroup_process_file_bytes", NULL, "bytes", c->processes.file_bytes, true },
		{ "cgroup_process_shmem_bytes", NULL, "bytes", c->processes.shmem_bytes, true },
	};
	int r = report_text(to, "cgroup_path", "cgroup path", c->place.path, err);

	if (r == 0)
		r = report_int(to, "cgroup_version", NULL, c->place.is_v2 ? 2 : 1, "", err);
	if (r == 0 && c->limit_bytes != UINT64_MAX)
		r = report_text(to, "cgroup_limit_path", NULL, c->limit_path, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(figures); i++) {
		if (figures[i].is_known)
			r = report_int(to, figures[i].key, figures[i].title,
			               (int64_t)figures[i].value, figures[i].unit, err);
	}
	return r;
}

static int64_t bytes_of(const struct cgroup *c, const char *name)
{
	for (size_t i = 0; i < c->n_rows; i++) {
		if (!strcmp(c->rows[i].name, name))
			return c->rows[i].bytes;
	}
	return 0;
}

/* All that isn't the programs' own memory or files. */
static int64_t kernel_bytes(const struct cgroup *c)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < c->n_rows; i++)
		bytes += c->rows[i].bytes;
	return bytes - bytes_of(c, "anon") - bytes_of(c, "file cache") - bytes_of(c, "shmem") -
	       bytes_of(c, "not accounted") - bytes_of(c, "hugetlb");
}

static void begin(struct regions_finding *f, const char *key, int64_t bytes, const char *remedy)
{
	snprintf(f->key, sizeof(f->key), "%s", key);
	snprintf(f->remedy, sizeof(f->remedy), "%s", remedy);
	f->bytes = bytes;
}

static bool find_cache(const struct cgroup *c, struct regions_finding *f)
{
	int64_t cache = bytes_of(c, "file cache"), mapped = (int64_t)c->processes.file_bytes;
	char a[TEXT_BYTES], b[TEXT_BYTES];

	begin(f, "cgroup-page-cache", cache - mapped,
	      "the kernel takes it back when the limit is near; no process holds it");
	snprintf(f->text, sizeof(f->text),
	         "%s of page cache is charged to the cgroup, at least %s of it in no process's RSS",
	         mib(cache, a), mib(f->bytes, b));
	snprintf(f->evidence, sizeof(f->evidence),
	         "file cache less RssFile of its processes, %" PRIu64 " (%s)", c->processes.n,
	         mib(mapped, a));
	return f->bytes >= LEAST && f->bytes >= (int64_t)(c->current_bytes / 20);
}

static bool find_shmem(const struct cgroup *c, struct regions_finding *f)
{
	int64_t shmem = bytes_of(c, "shmem"), mapped = (int64_t)c->processes.shmem_bytes;
	char a[TEXT_BYTES], b[TEXT_BYTES];

	begin(f, "cgroup-shmem", shmem - mapped,
	      "look for files in /dev/shm and other tmpfs mounts, and for memfds");
	snprintf(
		f->text, sizeof(f->text),
		"%s of shared memory is in no process's RSS: files in tmpfs, or memfds not mapped; "
		"it can't be taken back without swap",
		mib(f->bytes, a));
	snprintf(f->evidence, sizeof(f->evidence),
	         "shmem of the cgroup (%s) less RssShmem of its processes, %" PRIu64 " (%s)",
	         mib(shmem, a), c->processes.n, mib(mapped, b));
	return f->bytes >= LEAST;
}

static bool find_kernel(const struct cgroup *c, struct regions_finding *f)
{
	char a[TEXT_BYTES];

	begin(f, "cgroup-kernel", kernel_bytes(c),
	      "page tables, thread stacks, sockets, pipes, dentries: see the rows");
	snprintf(f->text, sizeof(f->text),
	         "%s of kernel memory is charged to the cgroup and is in no process's RSS",
	         mib(f->bytes, a));
	snprintf(f->evidence, sizeof(f->evidence), "the kernel's rows of the cgroup");
	return f->bytes >= LEAST && f->bytes >= (int64_t)(c->current_bytes / 20);
}

/* Anonymous memory that no process here has: not reaped yet, or moved elsewhere. */
static bool find_anon(const struct cgroup *c, struct regions_finding *f)
{
	int64_t anon = bytes_of(c, "anon"), mapped = (int64_t)c->processes.anon_bytes;
	char a[TEXT_BYTES], b[TEXT_BYTES];

	begin(f, "cgroup-anon", anon - mapped,
	      "a process that left this cgroup leaves what it had touched charged to it");
	snprintf(f->text, sizeof(f->text),
	         "%s of anonymous memory is charged to the cgroup, and in no process of it",
	         mib(f->bytes, a));
	snprintf(f->evidence, sizeof(f->evidence),
	         "anon of the cgroup (%s) less RssAnon of its processes, %" PRIu64 " (%s)",
	         mib(anon, a), c->processes.n, mib(mapped, b));
	return f->bytes >= LEAST && f->bytes >= (int64_t)(c->current_bytes / 20);
}

static bool find_limit(const struct cgroup *c, struct regions_finding *f)
{
	char a[TEXT_BYTES], b[TEXT_BYTES];

	if (c->limit_bytes == UINT64_MAX)
		return false;
	begin(f, "cgroup-limit", (int64_t)c->limit_bytes - stays(c),
	      "what can be taken back is not counted; the kernel kills when nothing is left");
	snprintf(f->text, sizeof(f->text),
	         "%s that can't be taken back of a limit of %s (%" PRIu64
	         " OOM kills so far): an OOM kill is near",
	         mib(stays(c), a), mib((int64_t)c->limit_bytes, b), c->oom_kills);
	snprintf(f->evidence, sizeof(f->evidence),
	         "usage less active and inactive file; limit of "
	         "cgroup %.100s",
	         c->limit_path[0] ? c->limit_path : "above");
	return stays(c) >= (int64_t)(c->limit_bytes / 10 * 9);
}

int cgroup_report(const struct cgroup *c, struct report *to, struct error *err)
{
	static bool (*const look[])(const struct cgroup *c, struct regions_finding *f) = {
		find_limit, find_cache, find_shmem, find_kernel, find_anon,
	};
	int r = add_figures(c, to, err);

	if (r == 0)
		r = add_rows(c, to, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(look); i++) {
		struct regions_finding f = { 0 };

		if (look[i](c, &f))
			r = ladder_profile_finding(to, &f, err);
	}
	return r;
}

int cgroup_report_target(char *const *words, size_t n_words, const pid_t *pids, size_t n_pids,
                         struct report *to, struct error *err)
{
	cleanup_free struct memory_cgroup *place = malloc(sizeof(*place));
	cleanup_free struct cgroup *c = malloc(sizeof(*c));
	struct error why = { 0 };
	int r;

	if (!place || !c)
		return error_oom(err);
	r = cgroup_find(words, n_words, pids, n_pids, place, err);
	if (r <= 0)
		return r;
	r = cgroup_read(place, c, &why);
	if (r == -ENOENT) { /* removed meanwhile */
		log_note(LOG_DEBUG, "%s", why.message);
		return 0;
	}
	if (r < 0) {
		*err = why;
		return r;
	}
	return cgroup_report(c, to, err);
}
