/* SPDX-License-Identifier: GPL-2.0-or-later */
/* clang-format off */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "refs/dominators.h"
#include "refs/paths.h"
#include "refs/refs.h"
#include "refs/refs_file.h"
#include "refs/refs_types.h"
#include "refs/shared.h"

static struct error err;

static uint32_t text(struct object_graph *g, const char *s)
{
	uint32_t id;

	assert_int_equal(object_graph_text(g, s, strlen(s), &id, &err), 0);
	return id;
}

static void node(struct object_graph *g, uint64_t size, const char *type)
{
	assert_int_equal(object_graph_node(g, 0x1000 + g->n_nodes * 0x100, size, &err), 0);
	object_graph_set_type(g, (uint32_t)g->n_nodes - 1, text(g, type), OBJECT_TYPED);
}

static void edge(struct object_graph *g, uint32_t from, uint32_t to, const char *label)
{
	assert_int_equal(object_graph_edge(g, from, to, text(g, label), &err), 0);
}

static void root(struct object_graph *g, const char *name, enum object_tier tier)
{
	const struct object_root r = { .name = text(g, name),
		                       .kind = text(g, "global"),
		                       .tier = tier };

	assert_int_equal(object_graph_root(g, &r, &err), 0);
}

static void root_edge(struct object_graph *g, uint32_t to)
{
	assert_int_equal(object_graph_root_edge(g, to, 0, &err), 0);
}

static void done(struct object_graph *g)
{
	assert_int_equal(object_graph_finish(g, &err), 0);
}

/* ---- a chain ---- */

enum { CHAIN = 20000 };

/* Objects that each lead to the one before, and each has a root of its own, the last object the
 * first root: what the first object is reached from comes to it by a step for each object. */
static void what_a_long_chain_shares(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup(shared_clear) struct shared s = { 0 };

	(void)state;
	for (uint32_t i = 0; i < CHAIN; i++)
		node(&g, 16, "T");
	for (uint32_t i = 1; i < CHAIN; i++)
		edge(&g, i, i - 1, "");
	for (uint32_t i = 0; i < CHAIN; i++) {
		root(&g, "r", OBJECT_TIER_GLOBAL);
		root_edge(&g, CHAIN - 1 - i);
	}
	done(&g);
	assert_int_equal(dominators_compute(&g, &d, &err), 0);
	assert_int_equal(shared_compute(&g, &d, &s, &err), 0);
	for (uint32_t i = 0; i + 1 < CHAIN; i++) {
		const struct shared_set *k = &s.sets[s.set[i]];
		const uint32_t n = CHAIN - i;

		assert_int_equal(k->n, n < SHARED_MAX_ROOTS ? n : SHARED_MAX_ROOTS);
		assert_int_equal(k->more, n > SHARED_MAX_ROOTS);
		for (uint32_t q = 0; q < k->n; q++)
			assert_int_equal(s.roots[k->first + q], q);
	}
}

/* ---- against brute force ---- */

enum { MOST = 40 };

static unsigned rnd(unsigned *seed, unsigned below)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 8) % below;
}

static void make_random(struct object_graph *g, unsigned *seed)
{
	unsigned n = 1 + rnd(seed, MOST - 8), roots = 1 + rnd(seed, 5), edges = rnd(seed, 4);

	for (unsigned i = 0; i < n; i++)
		node(g, 1 + rnd(seed, 1000), i % 3 ? "a" : "b");
	for (unsigned i = 0; i < n; i++) {
		for (unsigned e = rnd(seed, edges + 1); e; e--)
			edge(g, i, rnd(seed, n), ".x");
	}
	for (unsigned i = 0; i < roots; i++) {
		char name[16];

		snprintf(name, sizeof(name), "r%u", i);
		root(g, name, rnd(seed, 3) ? OBJECT_TIER_GLOBAL : OBJECT_TIER_STACK);
		for (unsigned e = rnd(seed, 3); e; e--)
			root_edge(g, rnd(seed, n));
	}
	done(g);
}

/* What is reached from the roots when vertex @without is not there; a set of
 * @only (a root, or all: UINT32_MAX). */
static void reach(const struct object_graph *g, const uint8_t *tier, uint32_t without,
                  uint32_t only, bool *seen)
{
	bool changed = true;

	memset(seen, 0, MOST);
	for (size_t r = 0; r < g->n_roots; r++) {
		if (g->n_nodes + r == without || (only != UINT32_MAX && r != only))
			continue;
		for (uint32_t e = 0; e < g->roots[r].n_edges; e++) {
			uint32_t to = g->root_edges[g->roots[r].first_edge + e].to;

			if (tier[to] == (unsigned)g->roots[r].tier && to != without)
				seen[to] = true;
		}
	}
	while (changed) {
		changed = false;
		for (uint32_t v = 0; v < g->n_nodes; v++) {
			for (uint32_t e = g->first_edge[v]; seen[v] && e < g->first_edge[v + 1];
			     e++) {
				uint32_t to = g->to[e];

				if (to == without || seen[to] || tier[to] != tier[v])
					continue;
				seen[to] = changed = true;
			}
		}
	}
}

/* By the order of the tree. */
static void retained(const struct object_graph *g, const struct dominators *d, uint32_t v,
                     struct dominators_kept *ret)
{
	size_t at = 0;

	*ret = (struct dominators_kept){ 0 };
	while (at < d->n_order && d->order[at] != v)
		at++;
	for (size_t k = at; k < d->n_order && k < d->end[at]; k++) {
		if (d->order[k] < g->n_nodes) {
			ret->bytes += object_graph_size(g, d->order[k]);
			ret->objects++;
		}
	}
}

static void check_vertex(const struct object_graph *g, const struct dominators *d, uint32_t v,
                         const bool *all)
{
	struct dominators_kept kept;
	uint64_t bytes = 0;
	uint32_t count = 0;
	bool seen[MOST];

	reach(g, d->tier, v, UINT32_MAX, seen);
	for (uint32_t k = 0; k < g->n_nodes; k++) {
		if (all[k] && !seen[k]) {
			bytes += object_graph_size(g, k);
			count++;
		}
	}
	if (v >= g->n_nodes) {
		assert_int_equal(d->kept[v - g->n_nodes].bytes, bytes);
		assert_int_equal(d->kept[v - g->n_nodes].objects, count);
	}
	retained(g, d, v, &kept);
	assert_int_equal(kept.bytes, bytes);
	assert_int_equal(kept.objects, count);
}

static void test_dominators_against_brute_force(void **state)
{
	unsigned seed = 4711;

	for (int round = 0; round < 3000; round++) {
		cleanup(object_graph_clear) struct object_graph g = { 0 };
		cleanup(dominators_clear) struct dominators d = { 0 };
		cleanup(shared_clear) struct shared s = { 0 };
		bool all[MOST], from[MOST];

		make_random(&g, &seed);
		assert_int_equal(dominators_compute(&g, &d, &err), 0);
		assert_int_equal(shared_compute(&g, &d, &s, &err), 0);
		reach(&g, d.tier, UINT32_MAX, UINT32_MAX, all);
		for (uint32_t v = 0; v < g.n_nodes; v++) {
			assert_int_equal(all[v], d.tier[v] != UINT8_MAX);
			if (all[v])
				check_vertex(&g, &d, v, all);
		}
		for (uint32_t r = 0; r < g.n_roots; r++)
			check_vertex(&g, &d, (uint32_t)g.n_nodes + r, all);
		/* a shared object's set is exactly the roots that reach it */
		for (uint32_t r = 0; r < g.n_roots; r++) {
			reach(&g, d.tier, UINT32_MAX, r, from);
			for (uint32_t v = 0; v < g.n_nodes; v++) {
				bool in = false;

				if (!all[v] || d.idom[v] != d.n - 1)
					continue;
				for (uint32_t k = 0; k < s.sets[s.set[v]].n; k++)
					in |= s.roots[s.sets[s.set[v]].first + k] == r;
				assert_int_equal(in, from[v]);
				assert_true(s.sets[s.set[v]].n >= 2);
			}
		}
	}
}

/* Everything reached is in exactly one place, whatever the view. */
static void test_places_add_up(void **state)
{
	unsigned seed = 99;

	for (int round = 0; round < 500; round++) {
		cleanup(object_graph_clear) struct object_graph g = { 0 };
		uint64_t bytes = 0;

		make_random(&g, &seed);
		for (int view = REFS_RETAINED; view <= REFS_TYPES; view++) {
			const struct refs_options o = { .view = (enum refs_view)view };
			cleanup(profile_freep) struct profile *p = NULL;
			uint64_t live;

			assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
			live = (uint64_t)profile_total(p, 1);
			assert_int_equal(
				live, report_get(profile_report_const(p), "live_bytes")->integer);
			if (view != REFS_RETAINED)
				assert_int_equal(live, bytes);
			bytes = live;
		}
	}
}

/* ---- known graphs ---- */

static bool has_stack(const struct profile *p, const char *want, int64_t bytes)
{
	for (size_t i = 0; i < profile_n_samples(p); i++) {
		struct profile_sample s = profile_sample_at(p, i);
		char got[2048] = "", frame[512];

		for (size_t k = s.n_frames; k--;) {
			size_t used = strlen(got);

			snprintf(got + used, sizeof(got) - used, "%s%s",
			         profile_frame_text(p, s.frames[k], frame, sizeof(frame)),
			         k ? ";" : "");
		}
		if (strcmp(got, want) == 0 && s.values[1] == bytes)
			return true;
	}
	return false;
}

static void test_a_list_is_one_tower(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	const struct refs_options o = { 0 };

	for (int i = 0; i < 100000; i++)
		node(&g, 16, "main.Node");
	for (uint32_t i = 0; i + 1 < 100000; i++)
		edge(&g, i, i + 1, ".next");
	root(&g, "main.gList", OBJECT_TIER_GLOBAL);
	root_edge(&g, 0);
	done(&g);
	assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
	assert_int_equal(profile_n_samples(p), 2);
	assert_true(has_stack(p, "main.gList;main.Node", 16));
	assert_true(has_stack(p, "main.gList;main.Node;.next main.Node", 16 * 99999));
}

static void test_what_two_share_is_nobodys(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL, *first = NULL;
	struct refs_options o = { 0 };
	const struct report_table *roots;

	node(&g, 10, "A"); /* 0: of a */
	node(&g, 20, "B"); /* 1: of b */
	node(&g, 40, "S"); /* 2: of both */
	node(&g, 80, "T"); /* 3: below it */
	edge(&g, 0, 2, ".s");
	edge(&g, 1, 2, ".s");
	edge(&g, 2, 3, ".t");
	root(&g, "a", OBJECT_TIER_GLOBAL);
	root_edge(&g, 0);
	root(&g, "b", OBJECT_TIER_GLOBAL);
	root_edge(&g, 1);
	done(&g);
	assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
	assert_true(has_stack(p, "a;A", 10) && has_stack(p, "b;B", 20));
	assert_true(has_stack(p, "shared by a, b;.s S", 40));
	assert_true(has_stack(p, "shared by a, b;.s S;.t T", 80));
	roots = &profile_report_const(p)->tables[0];
	assert_string_equal(roots->key, "roots");
	assert_string_equal(roots->cells[0].text, "b");
	assert_int_equal(roots->cells[2].integer, 20);
	assert_string_equal(roots->cells[4].text, "a");
	o.view = REFS_FIRST_COME;
	assert_int_equal(refs_profile(&g, &o, &first, &err), 0);
	assert_true(has_stack(first, "a;A;.s S;.t T", 80));
}

/* An object for each two of many roots, and one for all: each under its own name, though more sets
 * of roots are joined than are remembered at once. */
static void test_each_two_share_something(void **state)
{
	enum { ROOTS = 40 };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	const struct refs_options o = { 0 };
	char text[64];

	for (uint32_t i = 0; i < ROOTS * ROOTS + 1; i++)
		node(&g, 1 + i, "T");
	for (uint32_t i = 0; i < ROOTS; i++) {
		snprintf(text, sizeof(text), "r%02u", i);
		root(&g, text, OBJECT_TIER_GLOBAL);
		for (uint32_t k = 0; k < ROOTS; k++)
			root_edge(&g, i < k ? i * ROOTS + k : k * ROOTS + i);
		root_edge(&g, ROOTS * ROOTS);
	}
	done(&g);
	assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
	for (uint32_t i = 0; i < ROOTS; i++) {
		for (uint32_t k = i + 1; k < ROOTS; k++) {
			snprintf(text, sizeof(text), "shared by r%02u, r%02u;T", i, k);
			assert_true(has_stack(p, text, 1 + i * ROOTS + k));
		}
	}
	snprintf(text, sizeof(text), "shared by r00, r01, r02 +%u;T", ROOTS - 3);
	assert_true(has_stack(p, text, 1 + ROOTS * ROOTS));
}

static void test_a_stack_shares_nothing_with_a_global(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	const struct refs_options o = { 0 };

	node(&g, 10, "A");
	node(&g, 20, "B");
	edge(&g, 0, 1, ".b");
	root(&g, "goroutines of main.work", OBJECT_TIER_STACK);
	root_edge(&g, 1);
	root(&g, "a", OBJECT_TIER_GLOBAL);
	root_edge(&g, 0);
	done(&g);
	assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
	assert_true(has_stack(p, "a;A", 10) && has_stack(p, "a;A;.b B", 20));
}

static void test_types_count_nested_ones_once(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup_free struct refs_types_row *rows = NULL;
	size_t n;

	node(&g, 10, "N");
	node(&g, 10, "N");
	node(&g, 5, "V");
	edge(&g, 0, 1, ".next");
	edge(&g, 1, 2, ".v");
	root(&g, "a", OBJECT_TIER_GLOBAL);
	root_edge(&g, 0);
	done(&g);
	assert_int_equal(dominators_compute(&g, &d, &err), 0);
	assert_int_equal(refs_types(&g, &d, &rows, &n, &err), 0);
	assert_int_equal(n, 2);
	assert_string_equal(object_graph_name(&g, rows[0].type), "N");
	assert_int_equal(rows[0].objects, 2);
	assert_int_equal(rows[0].bytes, 20);
	assert_int_equal(rows[0].retained, 25);
	assert_int_equal(rows[1].retained, 5);
}

/* A saved graph is the same one; a damaged one is refused, or still safe to read. */
static void test_saved_and_damaged(void **state)
{
	char path[] = "/tmp/memwho-test-graph-XXXXXX";
	const struct refs_options o = { 0 };
	unsigned seed = 5;
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	for (int round = 0; round < 20; round++) {
		cleanup(object_graph_clear) struct object_graph g = { 0 }, again = { 0 };
		cleanup(profile_freep) struct profile *p = NULL, *q = NULL;
		char bytes[16384];
		ssize_t n;

		make_random(&g, &seed);
		assert_int_equal(refs_file_save(&g, path, &err), 0);
		assert_true(refs_file_is(path));
		assert_int_equal(refs_file_load(path, &again, &err), 0);
		assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
		assert_int_equal(refs_profile(&again, &o, &q, &err), 0);
		assert_int_equal(profile_total(p, 1), profile_total(q, 1));
		assert_int_equal(profile_n_samples(p), profile_n_samples(q));
		close(fd);
		fd = open(path, O_RDWR);
		n = pread(fd, bytes, sizeof(bytes), 0);
		assert_true(n > 0 && (size_t)n < sizeof(bytes));
		for (int k = 0; k < 400; k++) {
			cleanup(object_graph_clear) struct object_graph bad = { 0 };
			cleanup(profile_freep) struct profile *r = NULL;
			unsigned at = rnd(&seed, (unsigned)n);
			char was = bytes[at];

			bytes[at] ^= (char)(1 << rnd(&seed, 8));
			assert_int_equal(pwrite(fd, bytes + at, 1, at), 1);
			if (refs_file_load(path, &bad, &err) == 0)
				refs_profile(&bad, &o, &r, &err);
			else
				assert_int_equal(err.code, -EBADMSG);
			bytes[at] = was;
			assert_int_equal(pwrite(fd, bytes + at, 1, at), 1);
		}
		for (int k = 0; k < 20; k++) {
			cleanup(object_graph_clear) struct object_graph bad = { 0 };

			assert_int_equal(ftruncate(fd, rnd(&seed, (unsigned)n)), 0);
			assert_int_equal(refs_file_load(path, &bad, &err), -EBADMSG);
			assert_int_equal(pwrite(fd, bytes, (size_t)n, 0), n);
		}
	}
	close(fd);
	unlink(path);
}

static void test_why(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(refs_chains_clear) struct refs_chains chains = { 0 }, no_chains = { 0 };
	cleanup_free char *text = NULL, *none = NULL;

	node(&g, 10, "A");
	node(&g, 20, "B");
	node(&g, 40, "C");
	node(&g, 80, "unreached");
	edge(&g, 0, 1, ".b");
	edge(&g, 1, 2, ".c");
	root(&g, "far", OBJECT_TIER_GLOBAL);
	root_edge(&g, 0);
	root(&g, "near", OBJECT_TIER_GLOBAL);
	root_edge(&g, 1);
	done(&g);
	assert_int_equal(refs_why(&g, 2, 10, &chains, &err), 0);
	assert_int_equal(refs_chains_text(&chains, &g, &text, &err), 0);
	assert_string_equal(text, "near (global)\n"
	                          "  B at 0x1100, 20 bytes\n"
	                          "  .c C at 0x1200, 40 bytes\n"
	                          "far (global)\n"
	                          "  A at 0x1000, 10 bytes\n"
	                          "  .b B at 0x1100, 20 bytes\n"
	                          "  .c C at 0x1200, 40 bytes\n");
	assert_int_equal(refs_why(&g, 3, 10, &no_chains, &err), 0);
	assert_int_equal(refs_chains_text(&no_chains, &g, &none, &err), 0);
	assert_string_equal(none, "nothing refers to it any more\n");
	assert_int_equal(refs_why(&g, 9, 10, &no_chains, &err), -EINVAL);
}

/* More sizes and labels than have a short number: the rest is kept at length, and saved, too. */
static void test_many_sizes_and_labels(void **state)
{
	enum { N = 70000 };
	char path[] = "/tmp/memwho-test-graph-XXXXXX";
	cleanup(object_graph_clear) struct object_graph g = { 0 }, again = { 0 };
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	close(fd);
	for (uint32_t i = 0; i < N; i++)
		node(&g, i % 2 ? 8 : (uint64_t)i << 20, "T");
	for (uint32_t i = 0; i + 1 < N; i++) {
		char label[16];

		snprintf(label, sizeof(label), ".x%u", i);
		edge(&g, i, i + 1, i % 3 ? label : ".y");
	}
	for (uint32_t i = 1; i < 2 * N; i++) {
		char label[16];

		snprintf(label, sizeof(label), ".z%u", i);
		edge(&g, N - 1, 0, label);
	}
	for (uint32_t i = 0; i < N; i++)
		assert_int_equal(object_graph_node(&g, i, (uint64_t)i << 30, &err), 0);
	done(&g);
	assert_true(g.n_far_sizes > 0 && g.n_far_labels > 0);
	assert_int_equal(refs_file_save(&g, path, &err), 0);
	assert_int_equal(refs_file_load(path, &again, &err), 0);
	unlink(path);
	for (uint32_t i = 0; i < N; i++) {
		assert_int_equal(object_graph_size(&again, i), i % 2 ? 8 : (uint64_t)i << 20);
		assert_int_equal(object_graph_size(&again, N + i), (uint64_t)i << 30);
	}
	for (uint32_t e = 0; e < again.n_edges; e++) {
		const uint32_t i = e < N - 1 ? e : e - (N - 1) + 1;
		char label[16];

		snprintf(label, sizeof(label), e >= N - 1 ? ".z%u" : i % 3 ? ".x%u" : ".y", i);
		assert_string_equal(object_graph_name(&again, object_graph_label(&again, e)),
		                    label);
	}
}

static void test_mistakes(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;
	struct refs_options o = { .only_from = "(" };

	done(&g);
	assert_int_equal(refs_profile(&g, &o, &p, &err), -EINVAL);
	o.only_from = NULL;
	assert_int_equal(refs_profile(&g, &o, &p, &err), 0);
	assert_int_equal(profile_n_samples(p), 0);
	node(&g, 1, "x");
	assert_int_equal(object_graph_edge(&g, 7, 0, 0, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_long_chain_shares),
		cmocka_unit_test(test_dominators_against_brute_force),
		cmocka_unit_test(test_places_add_up),
		cmocka_unit_test(test_a_list_is_one_tower),
		cmocka_unit_test(test_what_two_share_is_nobodys),
		cmocka_unit_test(test_each_two_share_something),
		cmocka_unit_test(test_a_stack_shares_nothing_with_a_global),
		cmocka_unit_test(test_types_count_nested_ones_once),
		cmocka_unit_test(test_saved_and_damaged),
		cmocka_unit_test(test_why),
		cmocka_unit_test(test_many_sizes_and_labels),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
