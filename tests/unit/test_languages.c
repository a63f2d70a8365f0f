/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Readers of language runtimes on a picture with a known answer (langimage.h). */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "langimage.h"
#include "runtime/cpython/cpython_arenas.h"
#include "runtime/go/go_meta.h"
#include "runtime/go/go_spans.h"
#include "runtime/jvm/jvm_heap.h"
#include "runtime/lua/lua_state.h"
#include "runtime/v8/v8_pages.h"

struct world {
	struct langimage image;
	struct maps maps;
	struct regions_data data;
	struct peek peek;
};

static int open_world(void **state)
{
	static struct world w;
	struct error err;
	size_t pos = 0;

	langimage_make(&w.image);
	w.maps = (struct maps){ 0 };
	assert_int_equal(maps_parse(langimage_maps, strlen(langimage_maps), &w.maps, &err), 0);
	assert_true(regions_next_data(&w.maps, "/bin/x", &pos, &w.data));
	assert_int_equal(peek_open_pieces(&w.peek, w.image.pieces, w.image.n_pages, &err), 0);
	*state = &w;
	return 0;
}

static int close_world(void **state)
{
	struct world *w = *state;

	peek_close(&w->peek);
	maps_clear(&w->maps);
	return 0;
}

/* Overwrite a word of the picture. */
static void spoil(struct world *w, uint64_t addr, uint64_t value)
{
	for (size_t i = 0; i < w->image.n_pages; i++) {
		const struct peek_piece *x = &w->image.pieces[i];

		if (addr >= x->start && addr < x->end)
			memcpy((uint8_t *)x->bytes + (addr - x->start), &value, sizeof(value));
	}
	peek_forget(&w->peek);
}

static int find_go(struct world *w, struct go_heap *h)
{
	uint64_t pos = w->data.start;
	struct error err;

	return go_heap_next(&w->peek, &w->maps, &w->data, &pos, h, &err);
}

static void go_spans_add_up(void **state)
{
	cleanup(go_spans_clear) struct go_spans s = { 0 };
	cleanup(regions_clear) struct regions to = { 0 };
	struct world *w = *state;
	struct regions_heap *row;
	struct go_meta meta;
	struct go_heap h;
	struct error err;

	assert_int_equal(find_go(w, &h), 1);
	assert_int_equal(h.all_spans, LANGIMAGE_DATA + 0x100);
	assert_int_equal(go_spans_read(&w->peek, &h, &s, &err), 0);
	assert_int_equal(s.in_use, 4 * 8192);
	assert_int_equal(s.objects, 8 * (1 + 2 + 3));
	assert_int_equal(s.inconsistent, 0);
	assert_int_equal(regions_add_heap(&to, REGIONS_GO, &row, NULL, &err), 0);
	assert_int_equal(go_meta_add(&w->peek, &w->maps, &h, &s, 26, &to, 0, &meta, &err), 0);
	assert_int_equal(meta.arenas, 1);
	assert_int_equal(meta.arena_bytes, 64 << 20);
}

static void go_needs_the_map_of_arenas(void **state)
{
	struct world *w = *state;
	struct go_heap h;

	/* the map gives another span for the address */
	for (unsigned n = 0; n < 4; n++)
		spoil(w, LANGIMAGE_HEAP + 0x2000 + 8 * n, LANGIMAGE_HEAP + 0x1004);
	assert_int_equal(find_go(w, &h), 0);
}

static void lua_state_counts(void **state)
{
	struct world *w = *state;
	struct lua_state s;

	assert_true(lua_state_at(&w->peek, &w->maps, LANGIMAGE_LUA, &s));
	assert_string_equal(s.layout->version, "5.4");
	assert_true(lua_state_check(&w->peek, &s, false));
	assert_int_equal(s.bytes, 12345);
	assert_int_equal(s.inconsistent, 0);
	/* a string in the wrong bucket, whether or not the table was just made larger */
	spoil(w, LANGIMAGE_LUA + 0x908, 4 | 0x12ull << 32);
	assert_false(lua_state_check(&w->peek, &s, false));
	/* its objects may prove it still */
	assert_true(lua_state_check(&w->peek, &s, true));
	assert_true(s.is_doubtful);
}

static void lua_strings_in_a_ring(void **state)
{
	struct world *w = *state;
	struct lua_state s;

	spoil(w, LANGIMAGE_LUA + 0x930, LANGIMAGE_LUA + 0x900);
	assert_true(lua_state_at(&w->peek, &w->maps, LANGIMAGE_LUA, &s));
	assert_false(lua_state_check(&w->peek, &s, false));
}

static int find_arenas(struct world *w, struct cpython_arenas *a)
{
	uint64_t pos = w->data.start;
	struct error err;

	return cpython_arenas_next(&w->peek, &w->maps, &w->data, &pos, a, &err);
}

static void python_pools(void **state)
{
	cleanup(cpython_arenas_clear) struct cpython_arenas a = { 0 };
	struct cpython_pool pool;
	struct world *w = *state;

	assert_int_equal(find_arenas(w, &a), 1);
	assert_int_equal(a.n_items, 1);
	assert_int_equal(a.arena_bytes, 1 << 20);
	assert_int_equal(cpython_arenas_pool(&w->peek, &a, a.items, LANGIMAGE_ARENA, &pool), 1);
	assert_int_equal(pool.used * pool.block_bytes, 5 * 32);
	assert_int_equal(cpython_arenas_pool(&w->peek, &a, a.items, LANGIMAGE_ARENA + 16384, &pool),
	                 1);
	assert_int_equal(pool.used * pool.block_bytes, 3 * 512);
	/* another class than the pool's end says */
	spoil(w, LANGIMAGE_ARENA + 32, 2ull << 32);
	assert_int_equal(cpython_arenas_pool(&w->peek, &a, a.items, LANGIMAGE_ARENA, &pool), -1);
}

static void python_pools_of_another_arena(void **state)
{
	cleanup(cpython_arenas_clear) struct cpython_arenas a = { 0 };
	struct world *w = *state;

	spoil(w, LANGIMAGE_ARENA + 32, 1 | 1ull << 32);
	spoil(w, LANGIMAGE_ARENA + 16384 + 32, 1 | 31ull << 32);
	assert_int_equal(find_arenas(w, &a), 0);
}

static void v8_pages_name_themselves(void **state)
{
	struct v8_pages pages = { 0 };
	struct world *w = *state;
	struct error err;

	assert_int_equal(v8_pages_find(&w->peek, &w->maps, 4, &pages, &err), 0);
	assert_int_equal(pages.n_items, 4);
	assert_int_equal(pages.n_heaps, 1);
	v8_pages_clear(&pages);
	/* a page that names another place: three are too few */
	spoil(w, LANGIMAGE_V8 + 80, LANGIMAGE_V8 + 4096);
	assert_int_equal(v8_pages_find(&w->peek, &w->maps, 4, &pages, &err), 0);
	assert_int_equal(pages.n_items, 0);
	v8_pages_clear(&pages);
}

static void java_regions(void **state)
{
	struct jvm_structs_entry fields[ARRAY_SIZE(langimage_fields)];
	struct jvm_structs s = { .items = fields, .n_items = ARRAY_SIZE(fields) };
	struct world *w = *state;
	struct jvm_heap h;

	memcpy(fields, langimage_fields, sizeof(fields));
	assert_int_equal(jvm_heap_read(&s, &w->maps, &w->peek, &h), 1);
	assert_string_equal(h.collector, "G1");
	assert_int_equal(h.used, 8000);
	assert_int_equal(h.inconsistent, 0);
	/* a table that is not as long as the heap */
	spoil(w, LANGIMAGE_G1 + 64 + 16 + 24, 5);
	assert_int_equal(jvm_heap_read(&s, &w->maps, &w->peek, &h), 1);
	assert_int_equal(h.used, -1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, open_world, close_world)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(go_spans_add_up),
		TEST(go_needs_the_map_of_arenas),
		TEST(lua_state_counts),
		TEST(lua_strings_in_a_ring),
		TEST(python_pools),
		TEST(python_pools_of_another_arena),
		TEST(v8_pages_name_themselves),
		TEST(java_regions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
