/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Readers of Go's, Lua's, CPython's, V8's and the JVM's structures on memory that
 * a hostile process has written: a sound picture (langimage.h), then damages of
 * 10 bytes each: where (16 bits, in words) and the word that is put there.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/langimage.h"
#include "base/cleanup.h"
#include "runtime/cpython/cpython_arenas.h"
#include "runtime/cpython/cpython_gc.h"
#include "runtime/go/go_meta.h"
#include "runtime/go/go_spans.h"
#include "runtime/jvm/jvm_areas.h"
#include "runtime/jvm/jvm_heap.h"
#include "runtime/lua/lua_state.h"
#include "runtime/v8/v8_pages.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void damage(struct langimage *i, const uint8_t *data, size_t size)
{
	for (; size >= 10; data += 10, size -= 10) {
		size_t at = 8 * ((data[0] | data[1] << 8) % (i->n_pages * LANGIMAGE_PAGE / 8));

		memcpy(i->bytes[at / LANGIMAGE_PAGE] + at % LANGIMAGE_PAGE, data + 2, 8);
	}
}

static void look_go(struct peek *p, const struct maps *m, const struct regions_data *d)
{
	cleanup(regions_clear) struct regions to = { 0 };
	cleanup(go_spans_clear) struct go_spans spans = { 0 };
	struct go_spans_counters counters;
	uint64_t pos = d->start;
	struct regions_heap *row;
	struct go_meta meta;
	struct go_heap h;
	struct error err;

	if (go_heap_next(p, m, d, &pos, &h, &err) <= 0 || go_spans_read(p, &h, &spans, &err) < 0)
		return;
	if (spans.inconsistent > spans.checked)
		abort();
	go_spans_find_counters(p, &h, &spans, &counters, &err);
	if (regions_add_heap(&to, REGIONS_GO, &row, NULL, &err) < 0 ||
	    go_meta_add(p, m, &h, &spans, 26, &to, 0, &meta, &err) < 0)
		return;
	regions_join(&to, 0);
	for (size_t i = 0; i < to.n_ranges; i++)
		if (to.ranges[i].start >= to.ranges[i].end ||
		    (i && to.ranges[i].start <= to.ranges[i - 1].end))
			abort();
}

static void look_lua(struct peek *p, const struct maps *m)
{
	struct lua_state s;

	if (lua_state_at(p, m, LANGIMAGE_LUA, &s) && lua_state_check(p, &s, true) &&
	    s.inconsistent > s.checked)
		abort();
}

static void look_python(struct peek *p, const struct maps *m, const struct regions_data *d)
{
	cleanup(cpython_arenas_clear) struct cpython_arenas a = { 0 };
	uint64_t pos = d->start;
	struct cpython_gc gc;
	struct error err;

	cpython_gc_find(p, m, "", &gc, &err);
	if (cpython_arenas_next(p, m, d, &pos, &a, &err) <= 0)
		return;
	for (size_t i = 0; i < a.n_items; i++) {
		struct cpython_pool pool;

		if (a.items[i].carved > a.items[i].start + a.arena_bytes)
			abort();
		for (uint64_t at = a.items[i].start; at < a.items[i].carved; at += a.pool_bytes)
			if (cpython_arenas_pool(p, &a, &a.items[i], at, &pool) > 0 &&
			    pool.used * pool.block_bytes > a.pool_bytes)
				abort();
	}
}

static void look_v8(struct peek *p, const struct maps *m)
{
	cleanup(v8_pages_clear) struct v8_pages pages = { 0 };
	uint64_t start, end;
	struct error err;

	if (v8_pages_find(p, m, 2, &pages, &err) < 0)
		return;
	for (size_t i = 0; i < pages.n_heaps; i++)
		if (v8_pages_code_range(p, m, &pages, pages.heaps[i].at, &start, &end) &&
		    start >= end)
			abort();
}

static void look_java(struct peek *p, const struct maps *m)
{
	cleanup(jvm_areas_clear) struct jvm_areas areas = { 0 };
	struct jvm_structs_entry fields[ARRAY_SIZE(langimage_fields)];
	struct jvm_structs s = { .items = fields,
		                 .n_items = ARRAY_SIZE(fields),
		                 .start = LANGIMAGE_CODE,
		                 .end = LANGIMAGE_CODE + 4096 };
	struct jvm_heap heap;
	struct error err;

	memcpy(fields, langimage_fields, sizeof(fields));
	if (jvm_heap_read(&s, m, p, &heap)) {
		if (heap.used > (int64_t)(heap.checked * (heap.end - heap.start)))
			abort();
		jvm_areas_collector(&s, m, p, &heap, &areas, &err);
	}
	jvm_areas_code(&s, m, p, &areas, &err);
	jvm_areas_metaspace(&s, m, p, &areas, &err);
	for (size_t i = 0; i < areas.n_items; i++)
		if (areas.items[i].start >= areas.items[i].end)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct langimage image;
	cleanup(peek_close) struct peek p = { 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	struct regions_data d;
	struct error err;
	size_t pos = 0;

	langimage_make(&image);
	damage(&image, data, size);
	if (maps_parse(langimage_maps, strlen(langimage_maps), &maps, &err) < 0 ||
	    peek_open_pieces(&p, image.pieces, image.n_pages, &err) < 0 ||
	    !regions_next_data(&maps, "/bin/x", &pos, &d))
		return 0;
	look_go(&p, &maps, &d);
	look_lua(&p, &maps);
	look_python(&p, &maps, &d);
	look_v8(&p, &maps);
	look_java(&p, &maps);
	return 0;
}
