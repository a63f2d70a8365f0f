/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/ladder_internal.h"
#include "target/reader.h"

/* Only what was seen: each finding has its evidence, and a threshold below which
 * it is nobody's trouble. */
enum {
	MIB = 1 << 20,
	PAGE_BYTES = 4096,
	IN_USE_LEAST = 1024,       /* an allocator that is there but idle is no second one */
	RESERVED_LEAST = 64 * MIB, /* or a quarter of virtual memory */
	STACK_LEAST = MIB,         /* of one stack, resident */
	TABLES_LEAST = MIB,        /* and a twentieth of resident memory */
	HUGE_LEAST = 8 * MIB,
	SAMPLES = 256, /* pages looked into for zeros */
	TEXT_BYTES = 24,
};

static const char *mib(uint64_t bytes, char *buf)
{
	if (bytes < MIB)
		snprintf(buf, TEXT_BYTES, "%.1f KiB", (double)bytes / 1024);
	else
		snprintf(buf, TEXT_BYTES, "%.1f MiB", (double)bytes / MIB);
	return buf;
}

static int add(struct ladder *l, const struct regions_finding *f, struct error *err)
{
	int r = array_reserve(&l->findings, &l->cap_findings, l->n_findings + 1, err);

	if (r == 0)
		l->findings[l->n_findings++] = *f;
	return r;
}

static struct regions_finding finding(const char *key, uint64_t bytes, const char *remedy)
{
	struct regions_finding f = { .bytes = (int64_t)bytes };

	snprintf(f.key, sizeof(f.key), "%s", key);
	snprintf(f.remedy, sizeof(f.remedy), "%s", remedy);
	return f;
}

static void __attribute__((format(printf, 2, 3))) append(char *to, const char *fmt, ...)
{
	size_t n = strlen(to);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(to + n, REGIONS_TEXT_BYTES - n, fmt, ap);
	va_end(ap);
}

/* Of the allocator whose kinds begin with @prefix; -1: not in use. */
static int64_t in_use(const struct ladder *l, const char *prefix)
{
	int64_t bytes = 0;

	for (size_t i = 0; i < l->n_parts; i++) {
		const struct regions_heap *h = &l->parts[i].heap;

		if (!strncmp(h->kind, prefix, strlen(prefix)) && !h->inside[0])
			bytes += h->in_use_bytes > 0 ? h->in_use_bytes : 0;
	}
	return bytes >= IN_USE_LEAST ? bytes : -1;
}

static int two_allocators(struct ladder *l, struct error *err)
{
	static const char *const names[] = { "glibc", REGIONS_JEMALLOC, REGIONS_TCMALLOC,
		                             REGIONS_MIMALLOC, REGIONS_MUSL };
	struct regions_finding f = finding("two-allocators", 0,
	                                   "each keeps its own reserves; give all code one, or "
	                                   "keep the smaller one small (glibc: "
	                                   "MALLOC_ARENA_MAX=1)");
	size_t n = 0;
	char buf[TEXT_BYTES];

	snprintf(f.evidence, sizeof(f.evidence), "both have blocks in use: ");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int64_t bytes = in_use(l, names[i]);

		if (bytes < 0)
			continue;
		append(f.text, "%s%s", n ? " and " : "", names[i]);
		append(f.evidence, "%s%s %s", n ? ", " : "", names[i], mib((uint64_t)bytes, buf));
		n++;
		f.bytes += bytes;
	}
	if (n < 2)
		return 0;
	append(f.text, ": %zu allocators in one process", n);
	return add(l, &f, err);
}

static int reserved(struct ladder *l, struct error *err)
{
	struct regions_finding f = finding("reserved", 0, "nothing to free: look at resident");
	uint64_t bytes = 0, n = 0;
	char a[TEXT_BYTES], b[TEXT_BYTES];

	for (size_t i = 0; i < l->n_parts; i++) {
		bytes += l->parts[i].reserved_bytes;
		n += l->parts[i].reserved_bytes > 0;
	}
	if (bytes < RESERVED_LEAST && (!bytes || bytes < l->virtual_bytes / 4))
		return 0;
	f.bytes = (int64_t)bytes;
	append(f.text, "%s of %s virtual is PROT_NONE: address space, not memory", mib(bytes, a),
	       mib(l->virtual_bytes, b));
	append(f.evidence, "mappings without any access in /proc/PID/maps, in %" PRIu64 " rows", n);
	return add(l, &f, err);
}

static bool is_stack(const struct ladder_part *p)
{
	return !strcmp(p->heap.kind, REGIONS_THREAD_STACK) ||
	       !strcmp(p->heap.kind, REGIONS_MAIN_STACK);
}

static int deep_stacks(struct ladder *l, struct error *err)
{
	struct regions_finding f = finding(
		"deep-stacks", 0,
		"what a deep call touched once stays; smaller buffers on the stack, or "
		"fewer threads");
	uint64_t n = 0, most = 0;
	char a[TEXT_BYTES], b[TEXT_BYTES];

	for (size_t i = 0; i < l->n_parts; i++) {
		const struct ladder_part *p = &l->parts[i];

		if (!is_stack(p) || p->resident_bytes < STACK_LEAST)
			continue;
		if (p->resident_bytes > most) {
			most = p->resident_bytes;
			snprintf(f.evidence, sizeof(f.evidence),
			         "most: %.63s (%.60s), %s in its page tables", p->heap.name,
			         p->heap.detail[0] ? p->heap.detail : "first thread", mib(most, a));
		}
		f.bytes += (int64_t)p->resident_bytes;
		n++;
	}
	if (!n)
		return 0;
	append(f.text, "%" PRIu64 " stack%s touched deep: %s resident, up to %s in one", n,
	       n == 1 ? "" : "s", mib((uint64_t)f.bytes, a), mib(most, b));
	return add(l, &f, err);
}

static int swapped(struct ladder *l, struct error *err)
{
	struct regions_finding f = finding("swap", l->swap_bytes,
	                                   "it comes back when it is touched; in no RSS until "
	                                   "then");
	char a[TEXT_BYTES];

	if (!l->swap_bytes)
		return 0;
	append(f.text, "%s is swapped out", mib(l->swap_bytes, a));
	append(f.evidence, "swap entries in the page tables (shared memory's are not in them)");
	return add(l, &f, err);
}

static int page_tables(struct ladder *l, struct error *err)
{
	struct regions_finding f = finding("page-tables", l->page_table_bytes,
	                                   "memory touched far apart needs many tables: keep it "
	                                   "together, or unmap what is not needed");
	char a[TEXT_BYTES], b[TEXT_BYTES];

	if (l->page_table_bytes < TABLES_LEAST || l->page_table_bytes < l->resident_bytes / 20)
		return 0;
	append(f.text, "page tables take %s beside %s resident, and are in no RSS",
	       mib(l->page_table_bytes, a), mib(l->resident_bytes, b));
	append(f.evidence, "VmPTE in /proc/PID/status");
	return add(l, &f, err);
}

static int file_over_heap(struct ladder_work *w, struct error *err)
{
	struct regions_finding f = finding("file-over-heap", w->file_over_heap_bytes,
	                                   "counted as the file's; nothing to free in the heap");
	const struct mapping *m = w->file_over_heap;
	char a[TEXT_BYTES];

	if (!m)
		return 0;
	append(f.text, "%s of mapped files lie where an allocator's structures name its heap",
	       mib(w->file_over_heap_bytes, a));
	append(f.evidence, "%.100s at %" PRIx64 ", claimed by %s", m->name, m->start,
	       w->file_over_heap_kind);
	return add(&w->l, &f, err);
}

/* One page in each stretch of what is huge, at a place that has nothing to do with
 * the program's own strides: how many of them hold only zeros? */
static uint64_t sample_zeros(const struct ladder_work *w, uint64_t huge_bytes, uint64_t *n)
{
	uint64_t step = huge_bytes / SAMPLES / PAGE_BYTES + 1, zeros = 0;
	static const char none[PAGE_BYTES];
	char page[PAGE_BYTES];

	*n = 0;
	for (size_t i = 0; i < w->n_pieces; i++) {
		const struct pages_range *p = &w->pages[i];
		uint64_t first = (p->start + PAGE_BYTES - 1) / PAGE_BYTES,
			 end = p->end / PAGE_BYTES;

		/* of a piece that is huge in part we don't know where */
		if (!p->count.huge_bytes || p->count.file_bytes ||
		    p->count.huge_bytes < p->count.resident_bytes / 10 * 9)
			continue;
		for (uint64_t at = first; at < end && *n < 2 * SAMPLES; at += step) {
			uint64_t page_at = at + hash_u64(at) % step;

			if (page_at >= end ||
			    reader_try(w->t, page_at * PAGE_BYTES, page, sizeof(page)) < 0)
				continue;
			(*n)++;
			zeros += !memcmp(page, none, sizeof(page));
		}
	}
	return zeros;
}

static int huge_pages(struct ladder_work *w, uint64_t huge_bytes, uint64_t zeros, uint64_t n,
                      struct error *err)
{
	struct regions_finding f = finding(
		"huge-pages", 0,
		"/sys/kernel/mm/transparent_hugepage/enabled: madvise, or "
		"prctl(PR_SET_THP_DISABLE)");
	char a[TEXT_BYTES], b[TEXT_BYTES];

	if (n < SAMPLES / 4 || zeros < n / 10)
		return 0;
	f.bytes = (int64_t)((double)huge_bytes * (double)zeros / (double)n);
	append(f.text, "huge pages hold %s, of which about %s holds only zeros", mib(huge_bytes, a),
	       mib((uint64_t)f.bytes, b));
	append(f.evidence,
	       "%" PRIu64 " of %" PRIu64 " pages of 4 KiB, taken all over the huge pages", zeros,
	       n);
	return add(&w->l, &f, err);
}

/* Reads the target, so it belongs to looking, not to the conclusions. */
int ladder_findings_look(struct ladder_work *w, struct error *err)
{
	uint64_t huge = 0, zeros, n;

	for (size_t i = 0; i < w->n_pieces; i++) {
		const struct pages_count *c = &w->pages[i].count;

		huge += c->huge_bytes > c->file_bytes ? c->huge_bytes - c->file_bytes : 0;
	}
	if (huge < HUGE_LEAST)
		return 0;
	zeros = sample_zeros(w, huge, &n);
	return huge_pages(w, huge, zeros, n, err);
}

int ladder_findings_add(struct ladder_work *w, struct error *err)
{
	static int (*const all[])(struct ladder * l, struct error * err) = {
		two_allocators, reserved, deep_stacks, swapped, page_tables,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < w->regions.n_findings; i++)
		r = add(&w->l, &w->regions.findings[i], err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(all); i++)
		r = all[i](&w->l, err);
	return r < 0 ? r : file_over_heap(w, err);
}
