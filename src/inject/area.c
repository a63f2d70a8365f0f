/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/area.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "inject/journal.h"
#include "target/elf_file.h"

enum { PAGE = 4096, CAVE_ALIGN = 64 };

#define LOWEST    0x10000ull
#define HIGHEST   0x7fff00000000ull
#define LEAST_GAP (256ull << 20)

static bool is_anonymous(const struct mapping *m, uint64_t start, uint64_t end, unsigned prot)
{
	return m && m->start == start && m->end == end && m->prot == prot && !m->inode &&
	       !m->name[0];
}

bool area_is_at(const struct maps *m, uint64_t area)
{
	const uint64_t data = area + JOURNAL_CODE_BYTES, end = area + JOURNAL_AREA_BYTES;

	return is_anonymous(maps_find(m, area), area, data, MAPS_READ | MAPS_EXEC) &&
	       is_anonymous(maps_find(m, data), data, end, MAPS_READ | MAPS_WRITE);
}

bool area_is_half(const struct maps *m, uint64_t area)
{
	return is_anonymous(maps_find(m, area), area, area + JOURNAL_CODE_BYTES,
	                    MAPS_READ | MAPS_EXEC);
}

uint64_t area_find(const struct maps *m)
{
	for (size_t i = 0; i < m->n_items; i++) {
		if (area_is_at(m, m->items[i].start))
			return m->items[i].start;
	}
	return 0;
}

uint64_t area_choose(const struct maps *m, uint64_t random)
{
	uint64_t bytes, at = maps_gap(m, LOWEST, HIGHEST, &bytes);

	if (bytes < LEAST_GAP)
		return 0;
	/* within the middle eighth of the gap */
	at += bytes / 2 + random % (bytes / 8 / JOURNAL_AREA_BYTES) * JOURNAL_AREA_BYTES;
	return at / PAGE * PAGE;
}

/* What is left of the page behind the code of the segment that @m maps. */
static struct area_cave tail_of(const struct elf_file *f, const struct mapping *m)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		struct elf_segment s = elf_file_segment(f, i);
		uint64_t end;

		if (s.type != PT_LOAD || !(s.flags & PF_X) || s.offset / PAGE * PAGE != m->offset)
			continue;
		end = m->start + s.offset % PAGE + s.memsz;
		end = (end + CAVE_ALIGN - 1) / CAVE_ALIGN * CAVE_ALIGN;
		if (end > m->start && end < m->end && m->end - end < PAGE)
			return (struct area_cave){ end, m->end - end };
	}
	return (struct area_cave){ 0 };
}

static void take(bool *taken, uint64_t start, uint64_t bytes)
{
	for (uint64_t i = start; i < PAGE && i - start < bytes; i++)
		taken[i] = true;
}

/* The longest run of zeros in the page of the ELF header that is nothing's, where one segment maps
 * headers and code alike: so lay out Go's linker, and ld without separate code. */
static struct area_cave head_of(const struct elf_file *f, const struct mapping *m)
{
	struct area_cave best = { 0 };
	bool taken[PAGE] = { false };
	uint8_t page[PAGE];
	struct error unused;
	Elf64_Ehdr header;

	if (m->offset || elf_file_size(f) < PAGE || elf_file_read(f, 0, page, PAGE, &unused) < 0)
		return best;
	memcpy(&header, page, sizeof(header));
	take(taken, 0, sizeof(header));
	take(taken, header.e_phoff, header.e_phnum * sizeof(Elf64_Phdr));
	take(taken, header.e_shoff, header.e_shnum * sizeof(Elf64_Shdr));
	for (size_t i = 0; i < elf_file_n_sections(f); i++) {
		struct elf_section s = elf_file_section_at(f, i);

		take(taken, s.offset, s.size);
	}
	for (uint64_t start = 0, end; start < PAGE; start = end + CAVE_ALIGN) {
		for (end = start; end < PAGE && !taken[end] && !page[end];)
			end++;
		if (end - start > best.bytes)
			best = (struct area_cave){ m->start + start, end - start };
		end = end / CAVE_ALIGN * CAVE_ALIGN;
	}
	return best;
}

/* What is behind the kernel's own piece of code, which most processes have: zeros, whatever a
 * memwho that was killed has left there. It has no file; the ELF image in it ends with section
 * headers. */
static struct area_cave vdso_of(const struct target *t, const struct maps *m)
{
	for (size_t i = 0; i < m->n_items; i++) {
		const struct mapping *k = &m->items[i];
		cleanup_close int fd = -1;
		Elf64_Ehdr h;
		uint64_t end;

		if (strcmp(k->name, "[vdso]") || !(k->prot & MAPS_EXEC))
			continue;
		fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
		if (fd < 0 || pread(fd, &h, sizeof(h), (off_t)k->start) != sizeof(h) ||
		    memcmp(h.e_ident, ELFMAG, SELFMAG) || !h.e_shoff ||
		    h.e_shoff >= k->end - k->start)
			continue;
		end = k->start + h.e_shoff + h.e_shnum * sizeof(Elf64_Shdr);
		end = (end + CAVE_ALIGN - 1) / CAVE_ALIGN * CAVE_ALIGN;
		if (end < k->end && k->end - end < PAGE)
			return (struct area_cave){ end, k->end - end };
	}
	return (struct area_cave){ 0 };
}

int area_find_cave(const struct target *t, const struct maps *m, uint64_t need,
                   struct area_cave *ret, struct error *err)
{
	const bool tails = feature_allowed("code_tail");
	struct area_cave best = { 0 };

	for (size_t i = 0; i < m->n_items; i++) {
		const struct mapping *k = &m->items[i];
		cleanup(elf_file_closep) struct elf_file *f = NULL;
		struct area_cave c, head;
		struct error unused;
		int fd;

		if (!(k->prot & MAPS_EXEC) || (k->prot & MAPS_SHARED) || !k->inode ||
		    maps_open_file(t, k, &fd, &unused) < 0 ||
		    elf_file_open(fd, k->name, &f, &unused) < 0)
			continue;
		c = tails ? tail_of(f, k) : (struct area_cave){ 0 };
		head = head_of(f, k);
		if (head.bytes > c.bytes)
			c = head;
		if (c.bytes > best.bytes)
			best = c;
	}
	if (best.bytes < need && feature_allowed("vdso_tail"))
		best = vdso_of(t, m);
	if (best.bytes < need)
		return error_set(err, ENOSPC,
		                 "no code page of process %d has room for a first stub",
		                 (int)t->pid);
	*ret = best;
	return 0;
}
