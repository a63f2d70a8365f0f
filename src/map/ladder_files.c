/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <unistd.h>

#include "map/ladder_internal.h"
#include "target/elf_file.h"

/* The anonymous memory that the loader puts behind a module's file pages (.bss).
 * Only the module's program headers prove where it ends: what lies directly
 * behind may be anything. */

static int claim_anonymous(struct ladder_work *w, uint64_t start, uint64_t end, uint32_t part,
                           struct error *err)
{
	int r = 0;

	while (r == 0 && start < end) {
		const struct mapping *m = maps_find(&w->maps, start);
		uint64_t to;

		if (!m)
			return 0;
		to = m->end < end ? m->end : end;
		if (!m->inode && !(m->prot & MAPS_SHARED))
			r = ladder_divide_claim(w, start, to, part, LADDER_PROVEN, err);
		start = to;
	}
	return r;
}

static int claim_bss(struct ladder_work *w, const struct symbol_mapping *sm,
                     const struct elf_segment *s, uint32_t part, struct error *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t start = sm->bias + s->vaddr + s->filesz, end = sm->bias + s->vaddr + s->memsz;

	if (s->type != PT_LOAD || s->memsz <= s->filesz || end < start || end > INT64_MAX)
		return 0;
	return claim_anonymous(w, (start + page - 1) / page * page, (end + page - 1) / page * page,
	                       part, err);
}

static int claim_module(struct ladder_work *w, const struct symbol_mapping *sm, struct error *err)
{
	const struct mapping *m = maps_find(&w->maps, sm->start);
	struct elf_file *elf = sm->module ? symbol_module_elf(sm->module) : NULL;
	uint32_t part;
	int r;

	if (!elf || sm->gone || !m || !m->inode)
		return 0;
	r = ladder_label_mapping(w, m, &part, err);
	for (size_t i = 0; r == 0 && i < elf_file_n_segments(elf); i++) {
		struct elf_segment s = elf_file_segment(elf, i);

		r = claim_bss(w, sm, &s, part, err);
	}
	return r;
}

int ladder_files_claim(struct ladder_work *w, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < symbol_space_n(w->space); i++)
		r = claim_module(w, symbol_space_at(w->space, i), err);
	return r;
}
