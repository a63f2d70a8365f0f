/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_spans.h"

#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

enum { BATCH = 4096, WINDOW = 1 << 20 };

void go_spans_clear(struct go_spans *s)
{
	free(s->bit_pages);
	*s = (struct go_spans){ 0 };
}

static int add_bit_page(struct go_spans *to, uint64_t addr, struct error *err)
{
	uint64_t page = addr / 4096 * 4096;
	int r;

	/* neighbours share a page mostly */
	for (size_t i = to->n_bit_pages > 8 ? to->n_bit_pages - 8 : 0; i < to->n_bit_pages; i++)
		if (to->bit_pages[i] == page)
			return 0;
	r = array_reserve(&to->bit_pages, &to->cap_bit_pages, to->n_bit_pages + 1, err);
	if (r == 0)
		to->bit_pages[to->n_bit_pages++] = page;
	return r;
}

static int add_span(struct go_spans *to, const struct go_heap_span *s, struct error *err)
{
	uint64_t bytes = s->pages * GO_HEAP_PAGE;
	int r;

	if (s->state == GO_HEAP_MANUAL) {
		/* stack.go sets the size of its spans; those of work buffers have none */
		if (s->elemsize) {
			to->stacks += bytes;
			to->n_stacks++;
		} else {
			to->work += bytes;
		}
		return 0;
	}
	if (s->state != GO_HEAP_IN_USE)
		return 0;
	to->in_use += bytes;
	to->objects += s->count * s->elemsize;
	to->n_in_use++;
	to->classes[s->class_ >> 1].bytes += bytes;
	to->classes[s->class_ >> 1].elemsize = s->elemsize;
	r = s->bits ? add_bit_page(to, s->bits, err) : 0;
	return r < 0 || !s->mark_bits ? r : add_bit_page(to, s->mark_bits, err);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void sort_pages(struct go_spans *s)
{
	size_t n = 0;

	if (s->n_bit_pages)
		qsort(s->bit_pages, s->n_bit_pages, sizeof(*s->bit_pages), by_value);
	for (size_t i = 0; i < s->n_bit_pages; i++)
		if (!n || s->bit_pages[n - 1] != s->bit_pages[i])
			s->bit_pages[n++] = s->bit_pages[i];
	s->n_bit_pages = n;
}

int go_spans_read(struct peek *p, const struct go_heap *h, struct go_spans *ret, struct error *err)
{
	cleanup_free uint64_t *list = malloc(BATCH * sizeof(*list));
	cleanup(go_spans_clear) struct go_spans to = { 0 };
	int r = 0;

	if (!list)
		return error_oom(err);
	for (uint64_t i = 0; i < h->n_spans && !p->gone; i += BATCH) {
		size_t n = h->n_spans - i < BATCH ? h->n_spans - i : BATCH;

		/* a list of absurd length is mostly absent: nothing is read there */
		if (!peek_fill(p, h->spans + 8 * i, list, n * sizeof(*list))) {
			to.checked++;
			to.inconsistent++;
			break;
		}
		for (size_t k = 0; k < n && r == 0; k++) {
			struct go_heap_span s = { 0 };

			to.checked++;
			r = go_heap_read_span(p, h, list[k], &s);
			to.inconsistent += r < 0;
			to.untouched += r == 0;
			r = r > 0 ? add_span(&to, &s, err) : 0;
		}
		if (r < 0)
			return r;
	}
	sort_pages(&to);
	*ret = to;
	to = (struct go_spans){ 0 };
	return 0;
}

static bool is_near(uint64_t a, uint64_t b, uint64_t slack)
{
	return a > b ? a - b <= slack : b - a <= slack;
}

/* Go 1.19 and later, mgcpacer.go: gcController.{heapInUse, heapReleased, heapFree, totalAlloc,
 * totalFree, mappedReady}. */
static bool is_pacer(const uint64_t *w, const struct go_spans *s)
{
	uint64_t alive = w[3] - w[4];

	return is_near(w[0], s->in_use, s->in_use / 50) && w[3] > w[4] && alive <= 2 * s->in_use &&
	       alive >= s->objects / 2 && w[5] >= w[0] + w[2] && w[5] < w[0] + w[2] + (1ull << 40);
}

/* Go 1.17 and 1.18, mstats.go: memstats.{heap_sys, heap_inuse, heap_released}. */
static bool is_stats(const uint64_t *w, const struct go_spans *s)
{
	return is_near(w[1], s->in_use, s->in_use / 50) && w[0] >= w[1] + w[2] &&
	       w[0] < w[1] + w[2] + (1ull << 44);
}

static bool is_counters(const uint64_t *w, const struct go_spans *s, struct go_spans_counters *ret)
{
	bool whole = !(w[0] % GO_HEAP_PAGE || w[1] % GO_HEAP_PAGE || w[2] % GO_HEAP_PAGE);

	if (whole && is_pacer(w, s)) {
		*ret = (struct go_spans_counters){ .in_use = w[0],
			                           .released = w[1],
			                           .free = w[2],
			                           .total_alloc = w[3],
			                           .total_free = w[4] };
		return true;
	}
	if (whole && is_stats(w, s)) {
		*ret = (struct go_spans_counters){ .in_use = w[1],
			                           .released = w[2],
			                           .free = w[0] - w[1] - w[2] };
		return true;
	}
	return false;
}

int go_spans_find_counters(struct peek *p, const struct go_heap *h, const struct go_spans *s,
                           struct go_spans_counters *ret, struct error *err)
{
	cleanup_free uint64_t *words = malloc(WINDOW);

	if (!words)
		return error_oom(err);
	if (!s->in_use)
		return 0;
	for (uint64_t at = h->data.start; at + 48 <= h->data.end; at += WINDOW - 40) {
		size_t len = h->data.end - at < WINDOW ? h->data.end - at : WINDOW;

		if (!peek_fill(p, at, words, len))
			continue;
		for (size_t i = 0; i + 6 <= len / 8; i++)
			if (is_counters(words + i, s, ret)) {
				ret->at = at + 8 * i;
				return 1;
			}
	}
	return 0;
}
