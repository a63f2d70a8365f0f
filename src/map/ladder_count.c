/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/ladder_internal.h"

/* The kernel's own pages and a device's memory are in the page tables without
 * being pages of the process; the kernel counts them nowhere, nor do we. */
static void drop_special(const struct mapping *m, struct pages_count *c)
{
	bool is_own = !(m->prot & MAPS_SHARED) && !m->inode && strncmp(m->name, "[v", 2) != 0;

	if (is_own) { /* pagemap calls the huge zero page a file's */
		c->doubtful_bytes += c->file_bytes;
		c->file_bytes = 0;
	}
	if ((m->prot & MAPS_SHARED) || !strncmp(m->name, "[vvar", 5)) {
		c->resident_bytes = c->file_bytes;
		c->huge_bytes = c->huge_bytes < c->file_bytes ? c->huge_bytes : c->file_bytes;
		c->doubtful_bytes = 0;
	}
}

static bool has_doubts(const struct ladder_work *w)
{
	for (size_t i = 0; i < w->n_pieces; i++) {
		if (w->pages[i].count.doubtful_bytes)
			return true;
	}
	return false;
}

/* Pieces [@first, @end) are one mapping: what smaps does not call resident was
 * the zero page. */
static void settle(struct ladder_work *w, size_t first, size_t end, uint64_t resident_bytes)
{
	uint64_t counted = 0, excess;

	for (size_t i = first; i < end; i++)
		counted += w->pages[i].count.resident_bytes;
	excess = counted > resident_bytes ? counted - resident_bytes : 0;
	for (size_t i = first; i < end && excess; i++) {
		struct pages_count *c = &w->pages[i].count;
		uint64_t bytes = excess < c->doubtful_bytes ? excess : c->doubtful_bytes;

		c->resident_bytes -= bytes;
		c->huge_bytes -= c->huge_bytes < bytes ? c->huge_bytes : bytes;
		c->zero_bytes += bytes;
		excess -= bytes;
	}
}

static void share(struct ladder_work *w, size_t first, size_t end, const struct ladder_smaps *s)
{
	const struct mapping *m = &w->maps.items[w->pieces[first].mapping];
	uint64_t resident = 0, pss = s->pss_bytes, locked = s->locked_bytes;

	for (size_t i = first; i < end; i++)
		resident += w->pages[i].count.resident_bytes;
	for (size_t i = first; i < end; i++) {
		struct ladder_part *p = &w->l.parts[w->pieces[i].part];
		double size = (double)(w->pages[i].end - w->pages[i].start);
		double part = resident ? (double)w->pages[i].count.resident_bytes / (double)resident
		                       : size / (double)(m->end - m->start);
		uint64_t some = i + 1 == end ? pss : (uint64_t)((double)s->pss_bytes * part);

		some = some < pss ? some : pss;
		p->pss_bytes += some;
		pss -= some;
		some = i + 1 == end ? locked : (uint64_t)((double)s->locked_bytes * part);
		some = some < locked ? some : locked;
		p->locked_bytes += some;
		locked -= some;
	}
}

/* smaps speaks of whole mappings: a mapping of several parts is shared out by
 * what is resident in each. */
static void use_smaps(struct ladder_work *w, bool is_pss)
{
	for (size_t first = 0, end; first < w->n_pieces; first = end) {
		const struct ladder_smaps *s;

		for (end = first + 1;
		     end < w->n_pieces && w->pieces[end].mapping == w->pieces[first].mapping;)
			end++;
		s = ladder_smaps_find(w, w->maps.items[w->pieces[first].mapping].start);
		if (!s)
			continue;
		settle(w, first, end, s->resident_bytes);
		if (is_pss)
			share(w, first, end, s);
	}
}

static void add_piece(struct ladder_work *w, size_t i)
{
	const struct pages_count *c = &w->pages[i].count;
	const struct mapping *m = &w->maps.items[w->pieces[i].mapping];
	struct ladder_part *p = &w->l.parts[w->pieces[i].part];
	uint64_t bytes = w->pages[i].end - w->pages[i].start;

	p->virtual_bytes += bytes;
	p->reserved_bytes += ladder_label_is_no_access(m) ? bytes : 0;
	p->resident_bytes += c->resident_bytes;
	p->swap_bytes += c->swap_bytes;
	p->huge_bytes += c->huge_bytes;
	p->file_bytes += c->file_bytes;
	w->l.zero_page_bytes += c->zero_bytes;
}

static int add_range(struct ladder *l, uint64_t start, uint64_t end, uint32_t part,
                     struct error *err)
{
	struct ladder_range *last = l->n_ranges ? &l->ranges[l->n_ranges - 1] : NULL;
	int r;

	if (last && last->part == part && last->end == start) {
		last->end = end;
		return 0;
	}
	r = array_reserve(&l->ranges, &l->cap_ranges, l->n_ranges + 1, err);
	if (r < 0)
		return r;
	l->ranges[l->n_ranges++] = (struct ladder_range){ start, end, part };
	l->parts[part].n_ranges++;
	return 0;
}

static void sum(struct ladder *l)
{
	for (size_t i = 0; i < l->n_parts; i++) {
		const struct ladder_part *p = &l->parts[i];

		l->virtual_bytes += p->virtual_bytes;
		l->resident_bytes += p->resident_bytes;
		l->swap_bytes += p->swap_bytes;
		l->pss_bytes += p->pss_bytes;
		if (!strcmp(p->heap.kind, REGIONS_UNNAMED))
			l->unnamed_bytes += p->virtual_bytes;
	}
}

int ladder_count(struct ladder_work *w, struct error *err)
{
	int r = pages_count_all(w->t, w->pages, w->n_pieces, err);

	for (size_t i = 0; r == 0 && i < w->n_pieces; i++)
		drop_special(&w->maps.items[w->pieces[i].mapping], &w->pages[i].count);
	if (r == 0 && (w->options->pss || has_doubts(w)))
		r = ladder_smaps_read(w, err);
	if (r < 0)
		return r;
	if (w->n_smaps)
		use_smaps(w, w->options->pss);
	for (size_t i = 0; r == 0 && i < w->n_pieces; i++) {
		add_piece(w, i);
		r = add_range(&w->l, w->pages[i].start, w->pages[i].end, w->pieces[i].part, err);
	}
	sum(&w->l);
	return r;
}
