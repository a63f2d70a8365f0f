/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_tcache.h"

#include <stdlib.h>
#include <string.h>

enum {
	SMALL_BINS = 64, /* of one size each: 32, 48, ... */
	MAX_BINS = 76,
	MAX_COUNT = 65535,    /* a loop else */
	MAX_CACHED = 1 << 22, /* of all caches */
	MIN_CHUNK = 32,
};

/* malloc.c, struct tcache_perthread_struct */
static const struct shape {
	uint16_t chunk_bytes;
	uint8_t bins, width; /* of a count */
	uint16_t entries;    /* offset */
} shapes[] = {
	[GLIBC_TCACHE_BYTE] = { 0x250, 64, 1, 64 },
	[GLIBC_TCACHE_SHORT] = { 0x290, 64, 2, 128 },
	[GLIBC_TCACHE_SLOTS] = { 0x300, 76, 2, 152 },
};

struct content {
	uint16_t counts[MAX_BINS];
	uint64_t entries[MAX_BINS];
	unsigned bins;
};

void glibc_tcache_clear(struct glibc_tcaches *t)
{
	free(t->items);
	*t = (struct glibc_tcaches){ 0 };
}

/* A chunk is 16 bytes larger where the rest of a free one would have been too small. */
static int form_of(uint64_t chunk_bytes)
{
	for (int i = GLIBC_TCACHE_BYTE; i <= GLIBC_TCACHE_SLOTS; i++) {
		if (chunk_bytes == shapes[i].chunk_bytes ||
		    chunk_bytes == shapes[i].chunk_bytes + 16u)
			return i;
	}
	return -1;
}

bool glibc_tcache_fits(uint64_t chunk_bytes)
{
	return form_of(chunk_bytes) >= 0;
}

static bool read_content(struct peek *p, uint64_t at, enum glibc_tcache_form form,
                         struct content *ret)
{
	const struct shape *s = &shapes[form];
	uint8_t b[2 * MAX_BINS + 8 * MAX_BINS];

	if (!peek_read(p, at, b, s->entries + 8u * s->bins))
		return false;
	ret->bins = s->bins;
	for (unsigned i = 0; i < s->bins; i++) {
		if (s->width == 1)
			ret->counts[i] = b[i];
		else
			memcpy(&ret->counts[i], b + 2 * i, 2);
	}
	memcpy(ret->entries, b + s->entries, 8 * s->bins);
	return true;
}

static bool is_head(struct peek *p, const struct maps *m, uint64_t entry, unsigned bin)
{
	uint64_t size;

	if (entry % 16 || !maps_find(m, entry))
		return false;
	size = peek_word(p, entry - 8) & ~7ull;
	return bin < SMALL_BINS ? size == MIN_CHUNK + 16 * bin : size >= MIN_CHUNK;
}

/* How many a bin holds; SLOTS: at least. */
static unsigned held(const struct glibc_tcache *t, const struct content *c, unsigned bin)
{
	if (t->form != GLIBC_TCACHE_SLOTS)
		return c->counts[bin];
	if (!c->entries[bin]) /* a bin may be switched off: no slots, nothing in it */
		return 0;
	return c->counts[bin] < t->fill ? t->fill - c->counts[bin] : 1;
}

bool glibc_tcache_parse(struct peek *p, const struct maps *m, uint64_t chunk, uint64_t bytes,
                        struct glibc_tcache *ret)
{
	struct glibc_tcache t = { .at = chunk + 16, .empty = true };
	int form = form_of(bytes);
	unsigned odd = 0; /* one may be torn: its thread is between the entry and the count */
	struct content c;

	if (form < 0 || !read_content(p, t.at, form, &c))
		return false;
	t.form = form;
	for (unsigned i = 0; form == GLIBC_TCACHE_SLOTS && i < c.bins; i++)
		t.fill = c.counts[i] > t.fill ? c.counts[i] : t.fill;
	for (unsigned i = 0; i < c.bins; i++) {
		if (c.entries[i])
			t.empty = false;
		if (i < SMALL_BINS && (held(&t, &c, i) == 0) != (c.entries[i] == 0) && odd++)
			return false;
		if (c.entries[i] && !is_head(p, m, c.entries[i], i))
			return false;
	}
	if (form == GLIBC_TCACHE_SLOTS && !t.fill)
		return false;
	*ret = t;
	return true;
}

void glibc_tcache_vote(struct peek *p, const struct maps *m, const struct glibc_tcache *t,
                       struct glibc_lists_votes *v)
{
	struct content c;

	if (!read_content(p, t->at, t->form, &c))
		return;
	for (unsigned i = 0; i < c.bins; i++) {
		if (c.entries[i])
			glibc_lists_vote(p, m, c.entries[i], v);
	}
}

/* One bin; returns how many of its @n chunks were found. */
static int walk_bin(struct peek *p, const struct glibc_arenas *all, uint64_t entry, unsigned bin,
                    unsigned n, bool mangled, struct glibc_lists_set *to, uint64_t *bytes_of_arena,
                    struct error *err)
{
	unsigned i = 0;

	for (; i < n && entry && to->n < MAX_CACHED; i++) {
		uint64_t size, stored;
		size_t arena;
		int r;

		if (entry % 16 || !peek_read(p, entry - 8, &size, sizeof(size)) ||
		    !peek_read(p, entry, &stored, sizeof(stored)))
			break;
		size &= ~7ull;
		if (bin < SMALL_BINS && size != MIN_CHUNK + 16 * bin)
			break;
		if (!glibc_arena_area_of(all, entry - 16, &arena))
			arena = 0; /* the main arena's, from a brk that was not contiguous */
		bytes_of_arena[arena] += size;
		r = glibc_lists_add(to, entry - 16, err);
		if (r < 0)
			return r;
		entry = glibc_lists_link(entry, stored, mangled);
	}
	return i;
}

int glibc_tcache_chunks(struct peek *p, const struct glibc_arenas *all,
                        const struct glibc_tcache *t, size_t own, bool mangled,
                        struct glibc_lists_set *to, uint64_t *bytes_of_arena, uint64_t *checked,
                        uint64_t *inconsistent, struct error *err)
{
	struct content c;

	if (!read_content(p, t->at, t->form, &c))
		return 0;
	for (unsigned i = 0; i < c.bins; i++) {
		/* with slots the list ends by itself: what a full bin may take is not told
		 * when all bins hold something */
		unsigned n = t->form == GLIBC_TCACHE_SLOTS ? MAX_COUNT : held(t, &c, i);
		int found;

		if (!c.entries[i] || n > MAX_COUNT)
			continue;
		found = walk_bin(p, all, c.entries[i], i, n, mangled, to, bytes_of_arena, err);
		if (found < 0)
			return found;
		*checked += found + 1;
		n = held(t, &c, i);
		if (i < SMALL_BINS && (unsigned)found < n) {
			(*inconsistent)++;
			bytes_of_arena[own] += (uint64_t)(n - found) * (MIN_CHUNK + 16 * i);
		}
	}
	return 0;
}
