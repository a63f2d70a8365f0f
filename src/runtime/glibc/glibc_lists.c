/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_lists.h"

#include <stdlib.h>

#include "base/array.h"

enum {
	MAX_FAST = 1 << 22,   /* chunks of all fastbins */
	MAX_BINNED = 1 << 22, /* of one arena's bins */
	MIN_CHUNK = 32,
};

void glibc_lists_set_clear(struct glibc_lists_set *s)
{
	free(s->items);
	*s = (struct glibc_lists_set){ 0 };
}

int glibc_lists_add(struct glibc_lists_set *s, uint64_t addr, struct error *err)
{
	int r = array_reserve(&s->items, &s->cap, s->n + 1, err);

	if (r == 0)
		s->items[s->n++] = addr;
	return r;
}

static int compare(const void *x, const void *y)
{
	uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;

	return (a > b) - (a < b);
}

void glibc_lists_sort(struct glibc_lists_set *s)
{
	size_t n = 0;

	if (s->n)
		qsort(s->items, s->n, sizeof(*s->items), compare);
	for (size_t i = 0; i < s->n; i++) {
		if (!n || s->items[n - 1] != s->items[i])
			s->items[n++] = s->items[i];
	}
	s->n = n;
}

bool glibc_lists_has(const struct glibc_lists_set *s, uint64_t addr)
{
	return s->n && bsearch(&addr, s->items, s->n, sizeof(*s->items), compare);
}

uint64_t glibc_lists_link(uint64_t at, uint64_t stored, bool mangled)
{
	return mangled ? stored ^ (at >> 12) : stored;
}

static bool may_be_link(const struct maps *m, uint64_t link)
{
	return link == 0 || (link % 16 == 0 && maps_find(m, link));
}

void glibc_lists_vote(struct peek *p, const struct maps *m, uint64_t at,
                      struct glibc_lists_votes *v)
{
	uint64_t stored;
	bool plain, mangled;

	if (!peek_read(p, at, &stored, sizeof(stored)))
		return;
	plain = may_be_link(m, stored);
	mangled = may_be_link(m, glibc_lists_link(at, stored, true));
	if (plain != mangled)
		(*(plain ? &v->plain : &v->mangled))++;
}

bool glibc_lists_mangled(const struct glibc_lists_votes *v)
{
	return v->mangled >= v->plain;
}

static bool is_own(const struct glibc_arena *a, uint64_t chunk)
{
	for (size_t i = 0; i < a->n_areas; i++) {
		if (chunk >= a->areas[i].first && chunk < a->areas[i].end)
			return true;
	}
	return a->is_main; /* some of its memory may be elsewhere */
}

int glibc_lists_fastbins(struct peek *p, const struct glibc_arena *a, bool mangled,
                         struct glibc_lists_set *to, uint64_t *bytes, uint64_t *checked,
                         uint64_t *inconsistent, struct error *err)
{
	size_t room = a->system_bytes / MIN_CHUNK + 1; /* a longer list is a loop */

	for (unsigned i = 0; i < GLIBC_ARENA_FASTBINS; i++) {
		uint64_t c = a->fastbins[i];
		size_t n = 0;

		for (; c; n++) {
			uint64_t word[2]; /* size, fd */
			int r;

			(*checked)++;
			if (n >= room || to->n >= MAX_FAST || c % 16 || !is_own(a, c) ||
			    !peek_read(p, c + 8, word, sizeof(word)) ||
			    (word[0] & ~7ull) != MIN_CHUNK + 16 * i) {
				(*inconsistent)++;
				break;
			}
			r = glibc_lists_add(to, c, err);
			if (r < 0)
				return r;
			*bytes += MIN_CHUNK + 16 * i;
			c = glibc_lists_link(c + 16, word[1], mangled);
		}
	}
	return 0;
}

uint64_t glibc_lists_bin_bytes(struct peek *p, const struct glibc_arena *a, uint64_t *checked,
                               uint64_t *inconsistent)
{
	uint64_t sum = 0;
	size_t n = 0;

	for (unsigned i = 0; i < GLIBC_ARENA_BINS; i++) {
		uint64_t self = a->base + 96 + 16 * i, c = a->bins[2 * i], from = self;

		for (; c != self; n++) {
			uint64_t word[3]; /* size, fd, bk */

			(*checked)++;
			if (n >= MAX_BINNED || c % 16 || !peek_read(p, c + 8, word, sizeof(word)) ||
			    word[2] != from || sum > a->system_bytes) {
				(*inconsistent)++;
				break;
			}
			sum += word[0] & ~7ull;
			from = c;
			c = word[1];
		}
	}
	return sum;
}
