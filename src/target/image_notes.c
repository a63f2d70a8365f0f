/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notes of a core: threads, files, the process (Linux, fs/binfmt_elf.c; glibc's
 * sys/procfs.h for the layouts). Every length comes from the file. */
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "target/image_internal.h"

enum {
	PRSTATUS_SIGNAL = 12,
	PRSTATUS_PID = 32,
	PRSTATUS_REGS = 112, /* struct user_regs_struct */
	PRPSINFO_PID = 24,
	PRPSINFO_FNAME = 40,
	PRPSINFO_FNAME_BYTES = 16,
	MAX_THREADS = 1 << 20,
};

#ifndef NT_FILE
#define NT_FILE 0x46494c45
#endif

static uint64_t word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static int add_thread(struct image *i, const uint8_t *d, uint64_t n, struct error *err)
{
	struct user_regs_struct regs;
	int32_t pid;
	uint16_t signal;
	int r;

	if (n < PRSTATUS_REGS + sizeof(regs) || i->n_threads >= MAX_THREADS)
		return 0;
	memcpy(&pid, d + PRSTATUS_PID, sizeof(pid));
	memcpy(&signal, d + PRSTATUS_SIGNAL, sizeof(signal));
	if (!i->n_threads) /* the kernel writes the thread that died first */
		i->signal = signal;
	memcpy(&regs, d + PRSTATUS_REGS, sizeof(regs));
	r = array_reserve(&i->threads, &i->cap_threads, i->n_threads + 1, err);
	if (r == 0)
		i->threads[i->n_threads++] = image_thread_of(pid, &regs);
	return r;
}

static void read_process(struct image *i, const uint8_t *d, uint64_t n)
{
	int32_t pid;

	if (n < PRPSINFO_FNAME + PRPSINFO_FNAME_BYTES)
		return;
	memcpy(&pid, d + PRPSINFO_PID, sizeof(pid));
	i->pid = pid;
	memcpy(i->comm, d + PRPSINFO_FNAME, PRPSINFO_FNAME_BYTES);
	i->comm[PRPSINFO_FNAME_BYTES] = '\0';
}

static void read_auxv(struct image *i, const uint8_t *d, uint64_t n)
{
	for (uint64_t at = 0; n - at >= 16; at += 16) {
		uint64_t value = word(d + at + 8);

		switch (word(d + at)) {
		case AT_ENTRY: i->auxv_entry = value; break;
		case AT_PHDR: i->auxv_phdr = value; break;
		case AT_PHNUM: i->auxv_phnum = value; break;
		case AT_NULL: return;
		default: break;
		}
	}
}

/* The segment that begins in or after @start; they are sorted by then. */
static void name_segments(struct image *i, size_t n, uint64_t start, uint64_t end, uint64_t offset,
                          const char *path)
{
	size_t at = partition_point(n, k, i->segments[k].end <= start);

	for (; at < n && i->segments[at].start < end; at++) {
		struct image_segment *s = &i->segments[at];

		if (s->start < start || s->end > end)
			continue;
		s->path = path;
		s->file_offset = offset + (s->start - start);
	}
}

static bool overlaps(const struct image *i, size_t n, uint64_t start, uint64_t end)
{
	size_t at = partition_point(n, k, i->segments[k].end <= start);

	return at < n && i->segments[at].start < end;
}

static int by_start(const void *a, const void *b)
{
	const struct image_segment *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* A part of a file that is not in the core at all, not even as a header: gcore
 * leaves code out. @n: of the segments, those that are in order. */
static int add_file(struct image *i, size_t n, uint64_t start, uint64_t end, uint64_t offset,
                    const char *path, struct error *err)
{
	int r;

	if (start >= end || end > INT64_MAX || overlaps(i, n, start, end))
		return 0;
	r = array_reserve(&i->segments, &i->cap_segments, i->n_segments + 1, err);
	if (r == 0)
		i->segments[i->n_segments++] = (struct image_segment){
			.start = start,
			.end = end,
			.prot = MAPS_READ,
			.path = path,
			.file_offset = offset,
		};
	return r;
}

/* count, page size; count times start, end, offset in pages; count paths. */
static int read_files(struct image *i, const uint8_t *d, uint64_t n, struct error *err)
{
	uint64_t count, page, at;
	size_t in_order = i->n_segments;

	if (n < 16 || i->paths)
		return 0;
	count = word(d);
	page = word(d + 8);
	if (count > (n - 16) / 24)
		return 0;
	at = 16 + count * 24;
	i->paths = malloc(n - at + 1);
	if (!i->paths)
		return error_oom(err);
	memcpy(i->paths, d + at, n - at);
	i->paths[n - at] = '\0';
	for (uint64_t k = 0, p = 0; k < count && p < n - at; k++) {
		const uint8_t *e = d + 16 + k * 24;

		uint64_t start = word(e), end = word(e + 8), offset = word(e + 16) * page;
		int r = add_file(i, in_order, start, end, offset, i->paths + p, err);

		if (r < 0)
			return r;
		name_segments(i, in_order, start, end, offset, i->paths + p);
		p += strlen(i->paths + p) + 1;
	}
	qsort(i->segments, i->n_segments, sizeof(*i->segments), by_start);
	return 0;
}

static int read_note(struct image *i, uint32_t type, const uint8_t *d, uint64_t n,
                     struct error *err)
{
	switch (type) {
	case NT_PRSTATUS: return add_thread(i, d, n, err);
	case NT_PRPSINFO: read_process(i, d, n); return 0;
	case NT_AUXV: read_auxv(i, d, n); return 0;
	case NT_FILE: return read_files(i, d, n, err);
	default: return 0;
	}
}

int image_notes_read(struct image *i, uint64_t offset, uint64_t bytes, struct error *err)
{
	const uint8_t *d = i->core + offset;
	uint64_t at = 0;

	while (bytes - at >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = at + sizeof(n), desc;
		int r = 0;

		memcpy(&n, d + at, sizeof(n));
		if (!n.n_namesz && !n.n_descsz && !n.n_type)
			break; /* zeros: a damaged header may lead over all of a core */
		desc = name + ((uint64_t)n.n_namesz + 3) / 4 * 4;
		if (desc > bytes || n.n_descsz > bytes - desc)
			break; /* cut short: what came is kept */
		if (n.n_namesz == 5 && memcmp(d + name, "CORE", 5) == 0)
			r = read_note(i, n.n_type, d + desc, n.n_descsz, err);
		if (r < 0)
			return r;
		at = desc + ((uint64_t)n.n_descsz + 3) / 4 * 4;
		if (at > bytes)
			break;
	}
	return 0;
}
