/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/module_data.h"

#include <elf.h>
#include <string.h>

enum { MOST_HEADERS = 64 };

/* The mapping of the module's beginning, where its headers are; NULL: none. */
static const struct mapping *beginning(const struct maps *maps, const struct regions_data *d)
{
	const struct mapping *found = NULL;

	for (size_t i = 0; i < maps->n_items && maps->items[i].start < d->start; i++) {
		const struct mapping *k = &maps->items[i];

		if (k->inode == d->file->inode && !k->offset && !strcmp(k->name, d->file->name))
			found = k;
	}
	return found;
}

/* Of the segments that are written to, the last one's end; 0: not known. */
static uint64_t end_of(const Elf64_Phdr *p, size_t n, uint64_t start)
{
	uint64_t end = 0, bias = 0;
	bool has_bias = false;

	for (size_t i = 0; i < n && !has_bias; i++) {
		has_bias = p[i].p_type == PT_LOAD && !p[i].p_offset;
		bias = start - p[i].p_vaddr / HEAP_MEMORY_PAGE * HEAP_MEMORY_PAGE;
	}
	for (size_t i = 0; i < n && has_bias; i++) {
		const uint64_t last = bias + p[i].p_vaddr + p[i].p_memsz;

		if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_W && last > end)
			end = last;
	}
	return end;
}

void module_data_cut(struct heap_memory *m, const struct maps *maps, struct regions_data *d)
{
	const struct mapping *first = beginning(maps, d);
	Elf64_Phdr headers[MOST_HEADERS];
	Elf64_Ehdr e;
	uint64_t end;

	if (!first || heap_memory_read(m, first->start, &e, sizeof(e)) < 0 ||
	    memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_phentsize != sizeof(*headers) ||
	    e.e_phnum > MOST_HEADERS || e.e_phoff > HEAP_MEMORY_PAGE ||
	    heap_memory_read(m, first->start + e.e_phoff, headers, e.e_phnum * sizeof(*headers)) <
	            0)
		return;
	end = end_of(headers, e.e_phnum, first->start);
	end = (end + HEAP_MEMORY_PAGE - 1) / HEAP_MEMORY_PAGE * HEAP_MEMORY_PAGE;
	if (end > d->start && end < d->end)
		d->end = end;
}
