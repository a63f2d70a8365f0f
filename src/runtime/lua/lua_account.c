/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_account.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/lua/lua_blocks.h"
#include "runtime/regions.h"
#include "target/pages.h"

enum { PAGE = 4096 };

struct adding {
	struct lua_account *to;
	bool is_live;
};

void lua_account_clear(struct lua_account *a)
{
	hash_map_clear(&a->pages);
}

static int add_block(void *arg, uint64_t start, uint64_t bytes, struct error *err)
{
	const struct adding *a = arg;
	int r = 0;

	*(a->is_live ? &a->to->live : &a->to->garbage) += bytes;
	for (uint64_t at = start, left = bytes; r == 0 && left;) {
		const uint64_t room = PAGE - at % PAGE, n = left < room ? left : room;
		const uint64_t more = a->is_live ? n : n << 32;
		uint64_t *found = hash_map_get(&a->to->pages, at / PAGE);

		if (found)
			*found += more;
		else
			r = hash_map_put(&a->to->pages, at / PAGE, more, err);
		at += n;
		left -= n;
	}
	return r;
}

int lua_account_add(struct lua_account *a, struct lua_heap *h, const uint32_t *node,
                    struct error *err)
{
	int r = 0;

	a->counted += h->total;
	for (size_t i = 0; r == 0 && i < h->n_objects; i++) {
		struct adding adding = { a, node[i] != UINT32_MAX };

		r = lua_blocks_each(h, lua_heap_address(h, i), lua_heap_kind(h, i), add_block,
		                    &adding, err);
	}
	return r;
}

/* ---- what is present ---- */

static int by_page(const void *a, const void *b)
{
	const struct graph_account_page *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int list_pages(const struct lua_account *a, struct graph_account *to, struct error *err)
{
	to->pages = calloc(a->pages.n + 1, sizeof(*to->pages));
	if (!to->pages)
		return error_oom(err);
	for (size_t i = 0; i < a->pages.cap; i++) {
		const struct hash_slot *s = &a->pages.slots[i];

		if (s->used)
			to->pages[to->n_pages++] = (struct graph_account_page){
				.start = s->key * PAGE,
				.live = (uint32_t)s->value,
				.garbage = (uint32_t)(s->value >> 32),
			};
	}
	qsort(to->pages, to->n_pages, sizeof(*to->pages), by_page);
	return 0;
}

static int note_present(void *arg, uint64_t start, uint64_t end, bool huge)
{
	struct graph_account *to = arg;
	size_t at = partition_point(to->n_pages, i, to->pages[i].start < start);

	(void)huge;
	for (; at < to->n_pages && to->pages[at].start < end; at++)
		to->pages[at].is_present = true;
	return 0;
}

static int find_present(const struct target *t, struct graph_account *to, struct error *err)
{
	cleanup_free struct pages_range *ranges = calloc(to->n_pages + 1, sizeof(*ranges));
	size_t n = 0;

	if (!ranges)
		return error_oom(err);
	for (size_t i = 0; i < to->n_pages; i++) {
		const uint64_t start = to->pages[i].start;

		if (n && ranges[n - 1].end == start)
			ranges[n - 1].end += PAGE;
		else
			ranges[n++] = (struct pages_range){ start, start + PAGE, { 0 } };
	}
	return pages_each(t, ranges, n, note_present, to, err);
}

int lua_account_finish(struct lua_account *a, const struct target *t, struct graph_account *to,
                       struct error *err)
{
	const uint64_t found = a->live + a->garbage;
	const uint64_t off = found > a->counted ? found - a->counted : a->counted - found;
	uint64_t live = 0, garbage = 0;
	int r = list_pages(a, to, err);

	if (r == 0 && t)
		r = find_present(t, to, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < to->n_pages; i++) {
		to->pages[i].is_present |= !t;
		live += to->pages[i].is_present ? to->pages[i].live : 0;
		garbage += to->pages[i].is_present ? to->pages[i].garbage : 0;
	}
	to->kind = REGIONS_LUA;
	to->title = "Lua";
	to->is_resident = t != NULL;
	graph_account_row(to, "live", "live", live, a->live);
	graph_account_row(to, "garbage", "garbage", garbage, a->garbage);
	graph_account_check(to, "walked_bytes", a->live);
	graph_account_check(to, "taken_bytes", found);
	graph_account_check(to, "counted_bytes", a->counted);
	graph_account_check(to, "mismatch_bytes", off);
	if (off > a->counted / 100)
		graph_account_warn(to,
		                   "Lua counts %" PRIu64 " bytes, its objects have %" PRIu64
		                   ": what is said of it is wrong by as much",
		                   a->counted, found);
	return 0;
}
