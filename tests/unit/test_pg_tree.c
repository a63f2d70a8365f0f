/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The walk and the plans on memory whose every byte is known (pgimage.h). */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "pgimage.h"
#include "runtime/plan.h"
#include "runtime/postgres/pg_check.h"
#include "runtime/postgres/pg_plan.h"
#include "runtime/postgres/pg_process.h"
#include "runtime/postgres/pg_tree.h"

struct world {
	struct pgimage image;
	struct pg_memory memory;
	struct pg_layout layout;
	struct pg_tree tree;
};

static void world_clear(struct world *w)
{
	pg_memory_clear(&w->memory);
	pg_tree_clear(&w->tree);
}

static void load(struct world *w)
{
	struct error err;

	pg_memory_clear(&w->memory);
	assert_int_equal(pg_memory_add(&w->memory, PGIMAGE_BASE, w->image.bytes,
	                               sizeof(w->image.bytes), &err),
	                 0);
}

static int look(struct world *w, struct error *err)
{
	int r;

	load(w);
	r = pg_layout_find(&w->memory, &w->image.methods, PGIMAGE_BIAS, w->image.top, &w->layout,
	                   err);
	return r < 0 ? r : pg_tree_read(&w->memory, &w->layout, &w->tree, err);
}

static void make(struct world *w, enum pgimage_form form)
{
	struct error err = { 0 };

	pgimage_make(&w->image, form);
	if (look(w, &err) < 0)
		fail_msg("form %d: %s", form, err.message);
}

static const struct pg_context *at(const struct world *w, uint64_t address)
{
	const struct pg_context *c = pg_tree_find(&w->tree, address);

	assert_non_null(c);
	return c;
}

static void the_layout_is_worked_out(void **state)
{
	static const unsigned header[] = { 64, 72, 80, 80, 80 };

	for (int form = 0; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };

		make(&w, form);
		assert_int_equal(w.layout.header, header[form]);
		assert_int_equal(w.layout.at_methods, form >= PGIMAGE_13 ? 16 : 8);
		assert_int_equal(w.layout.at_mem_allocated, form >= PGIMAGE_13 ? 8 : 0);
		assert_int_equal(w.layout.at_ident != 0, form != PGIMAGE_10);
	}
}

static void figures_of_an_allocset(struct world *w)
{
	const struct pg_context *top = at(w, w->image.top);
	unsigned h = w->image.methods.chunk_word ? 8 : 16;
	unsigned node = w->image.form == PGIMAGE_10 ? 0 : w->image.header + 120;

	assert_int_equal(top->blocks, 2);
	assert_int_equal(top->free_chunks, 1);
	assert_int_equal(top->chunk_bytes, (16 + h) + (256 + h) + (2000 + h));
	assert_int_equal(top->used, top->chunk_bytes + node + 2 * 40);
	assert_int_equal(top->total, node + 1024 + 40 + h + 2000);
	assert_int_equal(top->free, top->total - top->used);
}

static void every_class_has_its_figures(void **state)
{
	for (int form = 0; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };
		unsigned word, node[] = { 0, 104, 112, 152, 128 };
		const struct pg_context *c;

		make(&w, form);
		word = w.image.methods.chunk_word;
		figures_of_an_allocset(&w);
		if (w.image.generation) {
			c = at(&w, w.image.generation);
			assert_int_equal(c->total, 1024 + node[form]);
			assert_int_equal(c->free_chunks, 1);
			assert_int_equal(c->chunk_bytes, 4 * (96 + (word ? 8 : 24)));
		}
		c = at(&w, w.image.slab);
		assert_int_equal(c->chunk_bytes, 5 * 64);
		assert_int_equal(c->free, 3 * 64);
		if (w.image.bump) {
			c = at(&w, w.image.bump);
			assert_int_equal(c->total, 512);
			assert_int_equal(c->chunk_bytes, 104);
		}
	}
}

static void names_and_paths(void **state)
{
	cleanup(world_clear) struct world w = { 0 };
	const struct pg_context *c;
	char path[64], tiny[12];

	make(&w, PGIMAGE_17);
	c = at(&w, w.image.slab);
	pg_tree_path(&w.tree, c, path, sizeof(path));
	/* a hash table goes by its ident, control bytes are blanks */
	assert_string_equal(path, "TopMemoryContext/a hash table/slab");
	assert_string_equal(pg_tree_ident(&w.tree, c), "");
	pg_tree_path(&w.tree, c, tiny, sizeof(tiny));
	assert_string_equal(tiny, "TopMemoryCo");
	assert_int_equal(c->level, 2);
	assert_int_equal(at(&w, w.image.aset)->n_children, 2);
	assert_null(pg_tree_find(&w.tree, 1));
	make(&w, PGIMAGE_10);
	pg_tree_path(&w.tree, at(&w, w.image.aset), path, sizeof(path));
	assert_string_equal(path, "TopMemoryContext/dynahash");
}

static void chunks_decode_by_the_plans(void **state)
{
	for (int form = 0; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };
		struct pg_check check;
		struct error err = { 0 };

		make(&w, form);
		if (pg_check_chunks(&w.memory, &w.layout, &w.tree, 0, &check, &err) < 0)
			fail_msg("form %d: %s", form, err.message);
		assert_int_equal(check.by_class[PG_ALLOCSET], 5);
		assert_int_equal(check.by_class[PG_GENERATION], w.image.generation ? 4 : 0);
		assert_int_equal(check.by_class[PG_SLAB], w.image.methods.chunk_word ? 6 : 0);
	}
}

/* ---- plans, each section on chunks of the image ---- */

static int read_memory(void *ctx, unsigned long long addr, void *buf, unsigned len)
{
	return pg_memory_read(ctx, addr, buf, len);
}

struct outputs {
	unsigned long long pointer, size, context, old;
};

static struct outputs run(struct world *w, enum pg_class c, enum pg_method m, int section,
                          const unsigned long long arg[4], unsigned long long ret)
{
	char text[PG_PLAN_TEXT_BYTES];
	unsigned long long out[4] = { 0 };
	struct plan_code code;
	struct error err;

	assert_int_equal(pg_plan_text(&w->layout, c, m, text, &err), 0);
	if (plan_compile(pg_plan_role(m), text, &code, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(plan_run(&code, section == 2 ? code.second : 0, arg, ret, read_memory,
	                          &w->memory, out),
	                 0);
	return (struct outputs){ out[0], out[1], out[2], out[3] };
}

/* One chunk through alloc, free and realloc of its class. */
static void check_plans(struct world *w, enum pg_class c, uint64_t context, uint64_t pointer,
                        uint64_t size)
{
	bool word = w->image.methods.chunk_word;
	const unsigned long long alloc_args[4] = { context, size };
	const unsigned long long args[4] = { word ? pointer : context, word ? 1 : pointer };
	struct outputs o = run(w, c, PG_ALLOC, 1, alloc_args, pointer);

	assert_int_equal(o.pointer, pointer);
	assert_int_equal(o.size, size);
	assert_int_equal(o.context, context);
	assert_int_equal(run(w, c, PG_ALLOC, 1, alloc_args, 0).pointer, 0);
	assert_int_equal(run(w, c, PG_RESET, 1, alloc_args, 0).context, context);
	assert_int_equal(run(w, c, PG_DELETE, 1, alloc_args, 0).context, context);
	if (c == PG_BUMP)
		return;
	assert_int_equal(run(w, c, PG_FREE, 1, args, 0).pointer, pointer);
	assert_int_equal(run(w, c, PG_FREE, 2, args, 0).size, size);
	assert_int_equal(run(w, c, PG_REALLOC, 1, args, 0).old, pointer);
	o = run(w, c, PG_REALLOC, 2, args, pointer);
	assert_int_equal(o.pointer, pointer);
	assert_int_equal(o.size, size);
	assert_int_equal(o.context, context);
	/* a realloc that failed: the old chunk lives on */
	o = run(w, c, PG_REALLOC, 2, args, 0);
	assert_int_equal(o.pointer, 0);
	assert_true(o.size > 0);
}

static void plans_say_what_a_chunk_is(void **state)
{
	for (int form = 0; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };
		unsigned h = form >= PGIMAGE_16 ? 8 : 16, g = form >= PGIMAGE_16 ? 8 : 24;
		uint64_t small, large, block;

		make(&w, form);
		small = pgimage_aset_chunk(&w.image, w.image.aset, 2);
		large = pgimage_aset_large(&w.image, w.image.aset, 3000);
		load(&w);
		check_plans(&w, PG_ALLOCSET, w.image.aset, small, 32 + h);
		check_plans(&w, PG_ALLOCSET, w.image.aset, large, 3000 + h);
		if (w.image.generation) {
			static const unsigned list[] = { 0, 16, 16, 56, 32 };

			block = pgimage_get(&w.image,
			                    w.image.generation + w.image.header + list[form]);
			check_plans(&w, PG_GENERATION, w.image.generation,
			            block + (form >= PGIMAGE_16 ? 56 : 48) + 96 + 2 * g, 96 + g);
		}
		if (w.image.bump)
			check_plans(&w, PG_BUMP, w.image.bump, w.image.bump + 1000, 104);
	}
}

static void plans_of_external_generation_chunks(void **state)
{
	for (int form = PGIMAGE_16; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };
		uint64_t block;

		make(&w, form);
		block = pgimage_take(&w.image, 64 + 5000);
		pgimage_put(&w.image, block + 16, w.image.generation);
		pgimage_put(&w.image, block + 24, 64 + 5000);
		pgimage_put(&w.image, block + 56,
		            pgimage_header(&w.image, PG_GENERATION, true, 0x3fffffff, 0));
		load(&w);
		check_plans(&w, PG_GENERATION, w.image.generation, block + 64, 5008);
	}
}

/* ---- what does not fit ---- */

static void expect_torn(struct world *w, uint64_t where, uint64_t value, const char *why)
{
	struct error err = { 0 };
	uint64_t old = pgimage_get(&w->image, where);

	pgimage_put(&w->image, where, value);
	assert_int_equal(look(w, &err), -EAGAIN);
	if (!strstr(err.message, why))
		fail_msg("\"%s\" does not say \"%s\"", err.message, why);
	pgimage_put(&w->image, where, old);
	assert_int_equal(look(w, &err), 0);
}

static void every_tear_is_noticed(void **state)
{
	cleanup(world_clear) struct world w = { 0 };
	uint64_t top, aset, block;

	make(&w, PGIMAGE_13);
	top = w.image.top;
	aset = w.image.aset;
	block = pgimage_get(&w.image, top + w.image.header);
	expect_torn(&w, aset + 16, 0x1234, "method table");
	expect_torn(&w, aset + 24, aset, "does not name it as parent");
	expect_torn(&w, w.image.generation + 24, top, "parent or sibling");
	expect_torn(&w, w.image.slab + 40, top, "parent or sibling");
	expect_torn(&w, aset + 48, aset, "parent or sibling");
	expect_torn(&w, aset + 8, 1, "mem_allocated");
	expect_torn(&w, block + 16, block, "AllocSet block's link");
	expect_torn(&w, block, aset, "first block");
	expect_torn(&w, block + 24, block + (1 << 20), "first block");
	expect_torn(&w, top + w.image.header + 8, PGIMAGE_BASE - 8, "free list");
	expect_torn(&w, top + w.image.header + 8 + 32, aset, "free chunk's size");
	expect_torn(&w, w.image.slab + w.image.header + 8, 1 << 20, "Slab's parameters");
	expect_torn(&w, w.image.generation + w.image.header + 16, 0, "Generation's list");
	expect_torn(&w, top + 16, 0, "no method table");
}

static void a_loop_in_a_free_list_ends(void **state)
{
	for (int form = 0; form < PGIMAGE_FORMS; form++) {
		cleanup(world_clear) struct world w = { 0 };
		uint64_t chunk;

		make(&w, form);
		chunk = pgimage_get(&w.image, w.image.top + w.image.header + 8 + 4 * 8);
		expect_torn(&w, chunk + 8, chunk, "free list's length");
	}
}

static void a_wrong_chunk_is_noticed(void **state)
{
	cleanup(world_clear) struct world w = { 0 };
	struct pg_check check;
	struct error err = { 0 };
	uint64_t chunk;

	make(&w, PGIMAGE_17);
	chunk = pgimage_aset_chunk(&w.image, w.image.aset, 2) - 8;
	/* its offset leads to no block of this context */
	pgimage_put(&w.image, chunk, pgimage_get(&w.image, chunk) + (8ULL << 34));
	assert_int_equal(look(&w, &err), 0);
	assert_int_equal(pg_check_chunks(&w.memory, &w.layout, &w.tree, 0, &check, &err), -EAGAIN);
	assert_non_null(strstr(err.message, "belongs to another context"));
	make(&w, PGIMAGE_13);
	chunk = pgimage_aset_chunk(&w.image, w.image.aset, 2) - 16;
	pgimage_put(&w.image, chunk + 8, w.image.top); /* neither free nor ours */
	assert_int_equal(look(&w, &err), 0);
	assert_int_equal(pg_check_chunks(&w.memory, &w.layout, &w.tree, 0, &check, &err), -EAGAIN);
	assert_non_null(strstr(err.message, "free chunks"));
	make(&w, PGIMAGE_13);
	chunk = pgimage_aset_chunk(&w.image, w.image.aset, 2) - 16;
	pgimage_put(&w.image, chunk, 40);
	assert_int_equal(look(&w, &err), 0);
	assert_int_equal(pg_check_chunks(&w.memory, &w.layout, &w.tree, 0, &check, &err), -EAGAIN);
	assert_non_null(strstr(err.message, "does not fit its block"));
}

static void kinds_of_processes(void **state)
{
	static const char *const cases[][2] = {
		{ "postgres: checkpointer ", "checkpointer" },
		{ "postgres: main: checkpointer", "checkpointer" },
		{ "postgres: startup recovering 000000010000000000000003", "startup" },
		{ "postgres: walsender alice [local] streaming 0/3000148", "walsender" },
		{ "postgres: walreceiver streaming 0/3000148", "walreceiver" },
		{ "postgres: autovacuum launcher", "autovacuum launcher" },
		{ "postgres: autovacuum worker mydb", "autovacuum worker" },
		{ "postgres: parallel worker for PID 4711", "parallel worker" },
		{ "postgres: logical replication launcher", "logical replication launcher" },
		{ "postgres: logical replication apply worker for subscription 16390",
		  "logical replication worker" },
		{ "postgres: logical replication worker for subscription 16390",
		  "logical replication worker" },
		{ "postgres: io worker 2", "io worker" },
		{ "postgres: alice shop [local] idle in transaction", "client backend" },
		{ "postgres: alice shop 10.1.2.3(51234) SELECT", "client backend" },
		{ "postgres: main: alice shop 10.1.2.3(51234) idle", "client backend" },
		{ "postgres: checkpointer shop [local] idle", "client backend" },
		{ "postgres: pg_cron launcher", "background worker" },
		{ "postgres: wal sender process alice [local] idle", "walsender" },
		{ "postgres: archiver last was 000000010000000000000003", "archiver" },
	};
	char kind[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(pg_process_kind(cases[i][0], kind, sizeof(kind)));
		assert_string_equal(kind, cases[i][1]);
	}
	assert_false(pg_process_kind("/usr/lib/postgresql/15/bin/postgres -D /data", kind,
	                             sizeof(kind)));
	assert_false(pg_process_kind("", kind, sizeof(kind)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_layout_is_worked_out),
		cmocka_unit_test(every_class_has_its_figures),
		cmocka_unit_test(names_and_paths),
		cmocka_unit_test(chunks_decode_by_the_plans),
		cmocka_unit_test(plans_say_what_a_chunk_is),
		cmocka_unit_test(plans_of_external_generation_chunks),
		cmocka_unit_test(every_tear_is_noticed),
		cmocka_unit_test(a_loop_in_a_free_list_ends),
		cmocka_unit_test(a_wrong_chunk_is_noticed),
		cmocka_unit_test(kinds_of_processes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
