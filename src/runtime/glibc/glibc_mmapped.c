/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_mmapped.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	PAGE = 4096,
	IS_MMAPPED = 2,
	WINDOW = 1 << 20,
	MAX_BLOCKS = 1 << 20,
};
static const uint64_t MAX_ALIGNMENT = 1ull << 30; /* of a block, as far as it is tried */
static const uint64_t MAX_PROBED = 1ull << 30;    /* bytes looked through page by page */

void glibc_mmapped_clear(struct glibc_mmapped *m)
{
	free(m->items);
	*m = (struct glibc_mmapped){ 0 };
}

/*
 * Is there a chunk at @start + @offset whose mapping starts at @start? prev_size
 * is the offset (memalign); up to 2.42 the size covers the rest of the mapping,
 * since 2.43 it leaves out 16 bytes at the end (mmap_set_chunk()).
 */
static bool is_chunk(const uint64_t header[2], uint64_t start, uint64_t offset, uint64_t limit,
                     unsigned shift, struct glibc_mmapped_block *ret)
{
	uint64_t size = header[1] & ~7ull, rest = shift ? 16 : 0, all = offset + size + rest;

	if ((header[1] & 7) != IS_MMAPPED || (header[0] & ~1ull) != offset ||
	    size > limit - start || all % PAGE || all < PAGE || all > limit - start)
		return false;
	*ret = (struct glibc_mmapped_block){
		.start = start,
		.end = start + all,
		.at = start + offset,
		.usable = shift ? size : size - 16,
	};
	return true;
}

/* An aligned block (memalign) is behind the start; the first header stays there,
 * out of date when the block has grown since. */
static bool find_aligned(struct peek *p, uint64_t start, uint64_t limit, unsigned shift,
                         struct glibc_mmapped_block *ret)
{
	for (uint64_t align = 32; align <= MAX_ALIGNMENT; align *= 2) {
		uint64_t block = (start + 48 + align - 1) & ~(align - 1), header[2];

		if (block + 16 > limit)
			break;
		if (peek_read(p, block - 16, header, sizeof(header)) &&
		    is_chunk(header, start, block - 16 - start, limit, shift, ret))
			return true;
	}
	return false;
}

static bool try_at(struct peek *p, uint64_t start, uint64_t limit, unsigned shift,
                   struct glibc_mmapped_block *ret)
{
	uint64_t header[2];

	if (limit <= start || !peek_read(p, start, header, sizeof(header)) ||
	    (header[1] & 7) != IS_MMAPPED || header[0] & ~1ull)
		return false;
	return is_chunk(header, start, 0, limit, shift, ret) ||
	       find_aligned(p, start, limit, shift, ret);
}

void glibc_mmapped_align(struct peek *p, unsigned shift, struct glibc_mmapped_block *b)
{
	struct glibc_mmapped_block aligned;

	if (find_aligned(p, b->start, b->end, shift, &aligned) && aligned.end == b->end)
		*b = aligned;
}

static int add(struct glibc_mmapped *m, const struct glibc_mmapped_block *b, struct error *err)
{
	int r = array_reserve(&m->items, &m->cap, m->n + 1, err);

	if (r < 0)
		return r;
	m->items[m->n++] = *b;
	m->bytes += b->end - b->start;
	return 0;
}

/* Blocks in a row from @at on; returns where they end in *ret. */
static int take_row(struct peek *p, uint64_t at, uint64_t limit, unsigned shift,
                    struct glibc_mmapped *m, uint64_t *ret, struct error *err)
{
	struct glibc_mmapped_block b;
	int r = 0;

	while (r == 0 && m->n < MAX_BLOCKS && try_at(p, at, limit, shift, &b)) {
		r = add(m, &b, err);
		at = b.end;
	}
	*ret = at;
	return r;
}

static bool may_hold(const struct mapping *v, const struct glibc_arenas *arenas)
{
	unsigned rw = MAPS_READ | MAPS_WRITE;

	if (v->inode || (v->prot & (rw | MAPS_SHARED)) != rw || v->name[0] == '/')
		return false;
	if (v->name[0] == '[' && strncmp(v->name, "[anon:", 6) != 0)
		return false;
	for (size_t i = 1; i < arenas->n; i++) {
		for (size_t k = 0; k < arenas->items[i].n_areas; k++) {
			if (arenas->items[i].areas[k].base == v->start)
				return false;
		}
	}
	return true;
}

static bool is_enough(const struct glibc_params *params, const struct glibc_mmapped *m)
{
	return params->found && m->n == params->n_mmaps && m->bytes == params->mmapped_bytes;
}

/* Page by page, as far as something is there. */
static int probe(struct peek *p, uint64_t at, uint64_t limit, unsigned shift, uint64_t *budget,
                 struct glibc_mmapped *m, struct error *err)
{
	cleanup_free uint8_t *buf = malloc(WINDOW);
	uint64_t start, end;

	if (!buf)
		return error_oom(err);
	while (*budget && peek_present(p, at, limit, &start, &end)) {
		size_t len = end - start < WINDOW ? end - start : WINDOW;

		at = start + len;
		*budget -= *budget < len ? *budget : len;
		peek_fill(p, start, buf, len);
		for (size_t i = 0; i < len; i += PAGE) {
			uint64_t header[2], to;
			int r;

			memcpy(header, buf + i, sizeof(header));
			if ((header[1] & 7) != IS_MMAPPED || header[0] & ~1ull)
				continue;
			r = take_row(p, start + i, limit, shift, m, &to, err);
			if (r < 0)
				return r;
			if (to > start + i) {
				at = to;
				break;
			}
		}
	}
	return 0;
}

/* A mapping may begin with a thread's stack: where that ends, else @start. */
static uint64_t behind_stack(const struct threads *t, uint64_t start, uint64_t end)
{
	for (size_t i = 0; t && i < t->n_items; i++) {
		if (t->items[i].stack_start == start && t->items[i].stack_end > start &&
		    t->items[i].stack_end <= end)
			return t->items[i].stack_end;
	}
	return start;
}

/* The starts that are known: a mapping's, and what is behind a thread's stack. */
static int look_at_starts(struct peek *p, const struct regions_input *in,
                          const struct glibc_arenas *arenas, struct glibc_mmapped *m,
                          struct error *err)
{
	for (size_t i = 0; i < in->maps->n_items; i++) {
		const struct mapping *v = &in->maps->items[i];
		uint64_t to;
		int r;

		if (!may_hold(v, arenas))
			continue;
		r = take_row(p, behind_stack(in->threads, v->start, v->end), v->end, arenas->shift,
		             m, &to, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* One more than malloc counts, among those that were only looked for (from @known
 * on): it is the one whose size is too much, if only one is of that size. */
static void drop_look_alike(const struct glibc_params *params, struct glibc_mmapped *m,
                            size_t known)
{
	uint64_t excess = m->bytes - params->mmapped_bytes;
	size_t found = m->n;

	if (m->bytes <= params->mmapped_bytes || m->n != params->n_mmaps + 1ull)
		return;
	for (size_t i = known; i < m->n; i++) {
		if (m->items[i].end - m->items[i].start != excess)
			continue;
		if (found < m->n)
			return;
		found = i;
	}
	if (found == m->n)
		return;
	m->n--;
	m->bytes -= excess;
	m->items[found] = m->items[m->n];
}

static int look_everywhere(struct peek *p, const struct regions_input *in,
                           const struct glibc_arenas *arenas, struct glibc_mmapped *m,
                           struct error *err)
{
	uint64_t budget = MAX_PROBED;
	size_t known = m->n, next = 0; /* ascending so far */

	for (size_t i = 0; i < in->maps->n_items && budget; i++) {
		const struct mapping *v = &in->maps->items[i];
		uint64_t at = v->start;
		int r;

		for (; next < known && m->items[next].end <= v->end; next++)
			at = m->items[next].end;
		if (!may_hold(v, arenas) || is_enough(&arenas->params, m))
			continue;
		r = probe(p, at < v->start ? v->start : at, v->end, arenas->shift, &budget, m, err);
		if (r < 0)
			return r;
	}
	drop_look_alike(&arenas->params, m, known);
	return 0;
}

static int compare(const void *x, const void *y)
{
	const struct glibc_mmapped_block *a = x, *b = y;

	return (a->start > b->start) - (a->start < b->start);
}

int glibc_mmapped_find(struct peek *p, const struct regions_input *in,
                       const struct glibc_arenas *arenas, struct glibc_mmapped *ret,
                       struct error *err)
{
	cleanup(glibc_mmapped_clear) struct glibc_mmapped m = { 0 };
	const struct glibc_params *params = &arenas->params;
	int r = 0;

	if (!params->found || params->n_mmaps)
		r = look_at_starts(p, in, arenas, &m, err);
	if (r == 0 && params->found && !is_enough(params, &m))
		r = look_everywhere(p, in, arenas, &m, err);
	if (r < 0)
		return r;
	if (m.n)
		qsort(m.items, m.n, sizeof(*m.items), compare);
	m.proven = is_enough(params, &m);
	*ret = m;
	m = (struct glibc_mmapped){ 0 };
	return 0;
}
