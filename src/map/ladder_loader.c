/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <stdio.h>
#include <string.h>

#include "map/ladder_internal.h"
#include "target/elf_file.h"
#include "target/reader.h"

/*
 * Before malloc works, the dynamic loader takes a few pages of its own, and keeps
 * in them its list of modules. The list is found as debuggers find it: the
 * program's DT_DEBUG leads to struct r_debug, r_map to struct link_map (link.h,
 * glibc and musl alike).
 */
enum {
	MAX_MODULES = 4096,
	MAX_DYNAMIC = 512,
	LINK_BYTES = 1024, /* of struct link_map (glibc: 1100 and more), with its name behind it */
	PAGE_BYTES = 4096,
};

struct link {
	uint64_t bias, name, dynamic, next, prev;
};

static uint64_t debug_address(const struct ladder_work *w, uint64_t dynamic)
{
	Elf64_Dyn d;

	for (int i = 0; i < MAX_DYNAMIC; i++) {
		if (reader_try(w->t, dynamic + (uint64_t)i * sizeof(d), &d, sizeof(d)) < 0 ||
		    d.d_tag == DT_NULL)
			return 0;
		if (d.d_tag == DT_DEBUG)
			return d.d_un.d_val;
	}
	return 0;
}

static uint64_t first_link(const struct ladder_work *w)
{
	for (size_t i = 0; i < symbol_space_n(w->space); i++) {
		const struct symbol_mapping *sm = symbol_space_at(w->space, i);
		struct elf_file *elf = sm->module && !sm->gone ? symbol_module_elf(sm->module)
		                                               : NULL;
		uint64_t debug = 0, map = 0;

		if (!elf || strcmp(symbol_module_path(sm->module), w->t->exe) != 0)
			continue;
		for (size_t k = 0; k < elf_file_n_segments(elf) && !debug; k++) {
			struct elf_segment s = elf_file_segment(elf, k);

			if (s.type == PT_DYNAMIC)
				debug = debug_address(w, sm->bias + s.vaddr);
		}
		return debug && reader_try(w->t, debug + 8, &map, sizeof(map)) == 0 ? map : 0;
	}
	return 0;
}

static int add_part(struct ladder_work *w, int64_t *part, struct error *err)
{
	struct regions_heap *heap;
	uint32_t index;
	int r;

	if (*part >= 0)
		return 0;
	r = ladder_label_add(w, REGIONS_OTHER_HEAP, &index, err);
	if (r < 0)
		return r;
	heap = &w->l.parts[index].heap;
	snprintf(heap->name, sizeof(heap->name), "loader");
	snprintf(heap->detail, sizeof(heap->detail), "what it allocated before there was malloc");
	snprintf(heap->evidence, sizeof(heap->evidence),
	         "its list of modules, to which DT_DEBUG leads, lies in it");
	*part = index;
	return 0;
}

/* The pages of one entry: the kernel may have joined the loader's mapping with one of
 * the program's. */
static int claim_around(struct ladder_work *w, uint64_t at, int64_t *part, struct error *err)
{
	const struct mapping *m = maps_find(&w->maps, at);
	uint64_t start = at / PAGE_BYTES * PAGE_BYTES;
	uint64_t end = (at + LINK_BYTES + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	int r;

	if (!m || m->inode || m->name[0])
		return 0;
	r = add_part(w, part, err);
	if (r < 0)
		return r;
	return ladder_divide_claim(w, start, end < m->end ? end : m->end, (uint32_t)*part,
	                           LADDER_BY_SHAPE, err);
}

int ladder_loader_claim(struct ladder_work *w, struct error *err)
{
	uint64_t at = first_link(w), prev = 0;
	int64_t part = -1;
	struct link link;
	int r = 0;

	for (int i = 0; r == 0 && at && i < MAX_MODULES; i++) {
		if (reader_try(w->t, at, &link, sizeof(link)) < 0 || link.prev != prev)
			return 0;
		r = claim_around(w, at, &part, err);
		prev = at;
		at = link.next;
	}
	return r;
}
