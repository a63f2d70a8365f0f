/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/glibc/glibc_params.h"
#include "runtime/glibc/glibc_pieces.h"

/* struct malloc_state, counted from the base (see the header). */
enum {
	AT_FLAGS = 4,
	AT_FASTBINS = 16,
	AT_TOP = 96,
	AT_BINS = 112,
	AT_LAST_BIN = AT_BINS + 126 * 16, /* bin 127: never used, so always linked to itself */
	AT_NEXT = 2160,
	AT_ATTACHED = 2176,
	AT_SYSTEM = 2184,
	AT_SYSTEM_MAX = 2192,
	STATE_BYTES = 2200,
	SHIFT_243 = 88, /* no have_fastchunks, no fastbinsY */
};

enum {
	NONCONTIGUOUS = 2, /* flags */
	ODD_BINS = 4,      /* more contradictions than that are no arena */
	WINDOW = 1 << 20,
	MAX_HEAPS = 1 << 16,
	MAX_HEAP_INFO = 64, /* 32 bytes, since 2.35 48 */
};

static const uint64_t MAX_BYTES = 1ull << 46;
static const uint64_t GROWN = 1ull << 30;     /* by brk, since the mappings were listed */
static const uint64_t HEAP_MAX = 64ull << 20; /* HEAP_MAX_SIZE; heap_max_size() with hugetlb */

void glibc_arena_clear(struct glibc_arenas *a)
{
	for (size_t i = 0; i < a->n; i++)
		free(a->items[i].areas);
	free(a->items);
	*a = (struct glibc_arenas){ 0 };
}

static uint64_t word_at(const uint8_t *bytes, size_t at)
{
	uint64_t word;

	memcpy(&word, bytes + at, sizeof(word));
	return word;
}

static bool is_data(const struct maps *m, uint64_t addr)
{
	const struct mapping *v = addr % 16 ? NULL : maps_find(m, addr);

	return v && (v->prot & MAPS_WRITE);
}

/* The list of mappings is older than what is read: a process that grows has moved its break, or
 * made more of an arena's heap accessible, since then. */
static const struct mapping *heap_below(const struct maps *m, uint64_t addr)
{
	const size_t i = maps_first_behind(m, addr);
	const struct mapping *v = i ? &m->items[i - 1] : NULL;

	return v && !maps_find(m, addr) && !strcmp(v->name, "[heap]") && addr - v->end < GROWN
	               ? v
	               : NULL;
}

static bool may_be_top(const struct maps *m, uint64_t addr)
{
	const struct mapping *v = maps_find(m, addr);

	if (addr % 16)
		return false;
	return v ? (v->prot & MAPS_WRITE) || (!v->prot && !v->inode) : heap_below(m, addr) != NULL;
}

/* A bin is a ring through its own head: empty, or of chunks. */
static unsigned count_odd_bins(const struct maps *m, const struct glibc_arena *a)
{
	unsigned odd = 0;

	for (unsigned i = 0; i < GLIBC_ARENA_BINS; i++) {
		uint64_t self = a->base + AT_TOP + 16 * i, fd = a->bins[2 * i],
			 bk = a->bins[2 * i + 1];

		if (fd == self ? bk != self : bk == self || !is_data(m, fd) || !is_data(m, bk))
			odd++;
	}
	return odd;
}

static bool is_sane(const struct maps *m, const struct glibc_arena *a, uint64_t system_max)
{
	uint64_t initial_top = a->base + AT_TOP;

	if (a->system_bytes > system_max || system_max > MAX_BYTES || a->attached_threads > 1 << 22)
		return false;
	if (!a->next || a->next % 8 || !maps_find(m, a->next))
		return false;
	return a->top == initial_top ? a->system_bytes == 0 : may_be_top(m, a->top);
}

static bool parse(struct peek *p, const struct maps *m, uint64_t base, unsigned shift,
                  struct glibc_arena *a)
{
	uint8_t s[STATE_BYTES] = { 0 };
	uint64_t system_max;
	uint32_t flags;

	if (!peek_read(p, base + shift, s + shift, sizeof(s) - shift))
		return false;
	a->base = base;
	a->at = base + shift;
	a->top = word_at(s, AT_TOP);
	a->next = word_at(s, AT_NEXT);
	a->attached_threads = word_at(s, AT_ATTACHED);
	a->system_bytes = word_at(s, AT_SYSTEM);
	system_max = word_at(s, AT_SYSTEM_MAX);
	memcpy(a->bins, s + AT_BINS, sizeof(a->bins));
	if (!is_sane(m, a, system_max))
		return false;
	memcpy(a->fastbins, s + AT_FASTBINS, sizeof(a->fastbins));
	if (shift)
		memset(a->fastbins, 0, sizeof(a->fastbins));
	memcpy(&flags, s + shift + AT_FLAGS, sizeof(flags));
	a->contiguous = !(flags & NONCONTIGUOUS);
	a->odd_bins = count_odd_bins(m, a);
	if (a->odd_bins > ODD_BINS)
		return false;
	a->top_bytes = a->system_bytes ? peek_word(p, a->top + 8) & ~7ull : 0;
	return true;
}

bool glibc_arena_refresh(struct peek *p, const struct maps *m, unsigned shift,
                         struct glibc_arena *a)
{
	struct glibc_arena now = { .is_main = a->is_main };

	if (!parse(p, m, a->base, shift, &now))
		return false;
	now.areas = a->areas;
	now.n_areas = a->n_areas;
	now.cap_areas = a->cap_areas;
	*a = now;
	return true;
}

/* What does `next` lead to: itself, or another arena, in which of the layouts? */
static bool find_shift(struct peek *p, const struct maps *m, const struct glibc_arena *main,
                       unsigned *ret)
{
	static const unsigned shifts[] = { 0, SHIFT_243 };
	struct glibc_arena other;

	for (size_t i = 0; i < ARRAY_SIZE(shifts); i++) {
		if (main->next == main->base + shifts[i] ||
		    (main->next >= SHIFT_243 &&
		     parse(p, m, main->next - shifts[i], shifts[i], &other))) {
			*ret = shifts[i];
			return true;
		}
	}
	return false;
}

/* Behind a heap_info at the start of its page, which names it: no main arena. Such
 * a heap may lie right behind a module's data, and so be taken for its .bss. */
static bool is_in_heap(struct peek *p, const struct glibc_arena *a)
{
	uint64_t page = a->at & ~4095ull;

	return a->at - page <= MAX_HEAP_INFO && peek_word(p, page) == a->at;
}

/* Is there a main arena whose last bin is at @addr? */
static bool try_main(struct peek *p, const struct maps *m, uint64_t addr, struct glibc_arenas *to,
                     struct error *err)
{
	struct glibc_arena a = { .is_main = true };
	unsigned shift;

	/* the older layout's first 88 bytes are not read yet: they may be another's */
	if (addr < AT_LAST_BIN || !parse(p, m, addr - AT_LAST_BIN, SHIFT_243, &a) ||
	    !find_shift(p, m, &a, &shift) || !parse(p, m, a.base, shift, &a) || is_in_heap(p, &a))
		return false;
	if (array_reserve(&to->items, &to->cap, 1, err) < 0)
		return false;
	to->shift = shift;
	to->items[0] = a;
	to->n = 1;
	return true;
}

static int scan_data(struct peek *p, const struct maps *m, const struct regions_data *data,
                     struct glibc_arenas *to, struct error *err)
{
	cleanup_free uint8_t *buf = malloc(WINDOW + 32);

	if (!buf)
		return error_oom(err);
	for (uint64_t at = data->start; at < data->end && !p->gone; at += WINDOW) {
		size_t len = data->end - at < WINDOW + 32 ? data->end - at : WINDOW + 32;

		if (!peek_fill(p, at, buf, len))
			continue;
		for (size_t i = 0; i + 32 <= len; i += 8) {
			uint64_t self = at + i - 16;

			if (word_at(buf, i) != self || word_at(buf, i + 8) != self ||
			    (word_at(buf, i + 16) == self + 16 &&
			     word_at(buf, i + 24) == self + 16))
				continue;
			*err = (struct error){ 0 };
			if (try_main(p, m, at + i, to, err))
				return 1;
			if (err->code)
				return err->code;
		}
	}
	return 0;
}

static bool is_known(const struct glibc_arenas *a, uint64_t at)
{
	for (size_t i = 0; i < a->n; i++) {
		if (a->items[i].at == at)
			return true;
	}
	return false;
}

/* Along the ring of `next`; 1 when it closes. */
static int follow_ring(struct peek *p, const struct maps *m, struct glibc_arenas *a,
                       struct error *err)
{
	uint64_t at = a->items[0].next;

	while (at != a->items[0].at) {
		struct glibc_arena next = { 0 };
		int r;

		if (a->n >= GLIBC_ARENA_MAX || at < SHIFT_243 || is_known(a, at) ||
		    !parse(p, m, at - a->shift, a->shift, &next))
			return 0;
		r = array_reserve(&a->items, &a->cap, a->n + 1, err);
		if (r < 0)
			return r;
		a->items[a->n++] = next;
		at = next.next;
	}
	return 1;
}

/* A new arena is put behind the main arena, so the ring has the newest first. */
static void oldest_first(struct glibc_arenas *a)
{
	for (size_t i = 1, j = a->n - 1; i < j; i++, j--) {
		struct glibc_arena x = a->items[i];

		a->items[i] = a->items[j];
		a->items[j] = x;
	}
}

/* A ring that is torn: arenas whose heap is where heaps are. */
static int look_for_arenas(struct peek *p, const struct maps *m, struct glibc_arenas *a,
                           struct error *err)
{
	for (size_t i = 0; i < m->n_items && a->n < GLIBC_ARENA_MAX; i++) {
		uint64_t h = m->items[i].start, at;
		struct glibc_arena found = { 0 };
		int r;

		if (h % HEAP_MAX || m->items[i].inode || !(m->items[i].prot & MAPS_WRITE))
			continue;
		at = peek_word(p, h);
		if (at <= h || at - h > MAX_HEAP_INFO || is_known(a, at) ||
		    !parse(p, m, at - a->shift, a->shift, &found))
			continue;
		r = array_reserve(&a->items, &a->cap, a->n + 1, err);
		if (r < 0)
			return r;
		a->items[a->n++] = found;
	}
	return 0;
}

/* The heaps' size: their alignment. heap_max_size() is 64 MiB, or four huge pages. */
static uint64_t find_heap_max(const struct glibc_arenas *a)
{
	if (a->params.found && a->params.hp_pagesize)
		return 4 * a->params.hp_pagesize;
	for (size_t i = 1; i < a->n; i++) {
		if ((a->items[i].at & ~4095ull) % HEAP_MAX)
			return 8ull << 20; /* huge pages of 2 MiB */
	}
	return HEAP_MAX;
}

int glibc_arena_add_area(struct glibc_arena *a, struct glibc_area area, struct error *err)
{
	int r = array_reserve(&a->areas, &a->cap_areas, a->n_areas + 1, err);

	if (r == 0)
		a->areas[a->n_areas++] = area;
	return r;
}

/* What brk gave: it ends with the top chunk, and system_mem says how much it is. If
 * it has several pieces and they are not found, only the top is looked at. */
static int main_area(struct peek *p, const struct regions_input *in, struct glibc_arena *a,
                     struct error *err)
{
	const struct mapping *v = maps_find(in->maps, a->top);
	uint64_t end = a->top + a->top_bytes, start = end - a->system_bytes;

	if (!v)
		v = heap_below(in->maps, a->top);
	if (!a->system_bytes || !v)
		return 0;
	if (end < a->top || end > (a->top < v->end ? v->end : v->end + GROWN))
		end = v->end;
	if (!a->contiguous || start > end || !maps_find(in->maps, start)) {
		int r = glibc_pieces_find(p, in, a, err);

		if (r != 0)
			return r < 0 ? r : 0;
		a->broken = true;
		start = a->top;
	}
	start = (start + 15) & ~15ull;
	if (start >= end)
		return 0;
	return glibc_arena_add_area(
		a, (struct glibc_area){ .base = start, start, end, .limit = end, .has_top = true },
		err);
}

/* heap_info: ar_ptr, prev, size, ... in front of the first arena's state, or of
 * the first chunk of a later heap. */
static int heap_areas(struct peek *p, const struct glibc_arenas *all, struct glibc_arena *a,
                      struct error *err)
{
	uint64_t mask = ~(all->heap_max - 1), header = a->at & 4095;
	uint64_t h = a->top & mask, first_heap = a->at & mask;
	unsigned n = 0;

	for (; h && n < MAX_HEAPS; n++) {
		uint64_t info[3], first;
		struct glibc_area area = { .base = h, .limit = h + all->heap_max };
		int r;

		if (!peek_read(p, h, info, sizeof(info)) || info[0] != a->at ||
		    info[2] > all->heap_max || info[2] % 4096 || info[1] & ~mask)
			break;
		first = h == first_heap ? a->base + STATE_BYTES : h + header;
		area.first = (first + 15) & ~15ull;
		area.end = h + info[2];
		area.has_top = a->top >= h && a->top < area.end;
		if (area.first >= area.end)
			break;
		r = glibc_arena_add_area(a, area, err);
		if (r < 0)
			return r;
		h = info[1];
	}
	a->broken = h != 0;
	return 0;
}

int glibc_arena_areas(struct peek *p, const struct regions_input *in,
                      const struct glibc_arenas *all, struct glibc_arena *a, struct error *err)
{
	a->n_areas = 0;
	a->broken = false;
	return a->is_main ? main_area(p, in, a, err) : heap_areas(p, all, a, err);
}

const struct glibc_area *glibc_arena_area_of(const struct glibc_arenas *all, uint64_t addr,
                                             size_t *ret_arena)
{
	for (size_t i = 0; i < all->n; i++) {
		for (size_t k = 0; k < all->items[i].n_areas; k++) {
			const struct glibc_area *area = &all->items[i].areas[k];

			if (addr >= area->first && addr < area->end) {
				if (ret_arena)
					*ret_arena = i;
				return area;
			}
		}
	}
	return NULL;
}

static int fill(struct peek *p, const struct regions_input *in, const struct regions_data *data,
                struct glibc_arenas *a, struct error *err)
{
	int r = follow_ring(p, in->maps, a, err);

	if (r < 0)
		return r;
	oldest_first(a);
	a->checked += a->n * GLIBC_ARENA_BINS + 1;
	if (r == 0) {
		a->inconsistent++;
		r = look_for_arenas(p, in->maps, a, err);
		if (r < 0)
			return r;
	}
	glibc_params_find(p, data, a->items, &a->params);
	a->heap_max = find_heap_max(a);
	r = 0;
	for (size_t i = 0; r == 0 && i < a->n; i++) {
		a->inconsistent += a->items[i].odd_bins;
		r = glibc_arena_areas(p, in, a, &a->items[i], err);
	}
	return r;
}

int glibc_arena_next(struct peek *p, const struct regions_input *in, const char *exe, size_t *pos,
                     struct glibc_arenas *ret, struct error *err)
{
	struct regions_data data;

	while (regions_next_data(in->maps, exe, pos, &data)) {
		cleanup(glibc_arena_clear) struct glibc_arenas a = { 0 };
		int r = scan_data(p, in->maps, &data, &a, err);

		if (r > 0)
			r = fill(p, in, &data, &a, err);
		if (r < 0)
			return r;
		if (a.n == 0 || (a.n == 1 && !a.items[0].system_bytes && !a.params.n_mmaps))
			continue;
		*ret = a;
		a = (struct glibc_arenas){ 0 };
		return 1;
	}
	return 0;
}
