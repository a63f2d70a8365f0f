/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "refs/refs.h"
#include "refs/refs_births.h"
#include "refs/refs_file.h"

static struct error err;

static uint32_t text(struct object_graph *g, const char *s)
{
	uint32_t id;

	assert_int_equal(object_graph_text(g, s, strlen(s), &id, &err), 0);
	return id;
}

/* A list of @n objects of 10 bytes below one root. */
static void make_list(struct object_graph *g, size_t n)
{
	const struct object_root root = { .name = text(g, "main.gList"),
		                          .kind = text(g, "global") };

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(object_graph_node(g, 0x1000 + 16 * i, 10, &err), 0);
		object_graph_set_type(g, (uint32_t)i, text(g, i % 2 ? "main.odd" : "main.even"),
		                      OBJECT_TYPED);
	}
	for (uint32_t i = 0; i + 1 < n; i++)
		assert_int_equal(object_graph_edge(g, i, i + 1, text(g, ".next"), &err), 0);
	assert_int_equal(object_graph_root(g, &root, &err), 0);
	assert_int_equal(object_graph_root_edge(g, 0, 0, &err), 0);
	assert_int_equal(object_graph_finish(g, &err), 0);
}

/* Node 1 and something that is garbage were born in main.pool, called by main.main. */
static void add_births(struct object_graph *g)
{
	const uint32_t frames[] = { text(g, "main.pool"), text(g, "main.main") };
	struct object_birth b = { .node = 1, .bytes = 100, .objects = 10 };

	g->birth_rate = 4096;
	assert_int_equal(object_graph_birth_stack(g, frames, 2, &b.stack, &err), 0);
	assert_int_equal(object_graph_birth(g, &b, &err), 0);
	b.node = UINT32_MAX;
	b.bytes = 7;
	b.objects = 1;
	assert_int_equal(object_graph_birth(g, &b, &err), 0);
}

static void check_profile(const struct object_graph *g)
{
	const struct refs_options o = { .births = true };
	cleanup(profile_freep) struct profile *p = NULL;
	char frame[64], whole[256] = "";
	struct profile_sample s;
	size_t n = 0;

	assert_int_equal(refs_profile(g, &o, &p, &err), 0);
	assert_int_equal(profile_n_samples(p), 2);
	assert_int_equal(profile_total(p, 1), 107);
	s = profile_sample_at(p, 0);
	for (size_t i = 0; i < s.n_frames; i++) {
		n += (size_t)snprintf(whole + n, sizeof(whole) - n, "%s|",
		                      profile_frame_text(p, s.frames[i], frame, sizeof(frame)));
	}
	assert_string_equal(whole,
	                    ".next main.odd|main.even|main.gList|[held by]|main.pool|main.main|");
	s = profile_sample_at(p, 1);
	assert_int_equal(s.n_frames, 3);
	assert_string_equal(profile_frame_text(p, s.frames[0], frame, sizeof(frame)), "[garbage]");
}

static void test_births(void **state)
{
	const uint32_t turn[] = { 0, 2, 1 };
	cleanup(object_graph_clear) struct object_graph g = { 0 };

	make_list(&g, 3);
	add_births(&g);
	check_profile(&g);
	assert_ptr_equal(refs_births_of(&g, 1), &g.births[0]);
	assert_null(refs_births_of(&g, 0));
	/* a birth goes with its object */
	assert_int_equal(object_graph_reorder(&g, turn, &err), 0);
	assert_int_equal(g.births[0].node, 2);
	assert_int_equal(g.births[1].node, UINT32_MAX);
}

static void test_saved_and_damaged(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 }, again = { 0 };
	char path[] = "/tmp/memwho-test-births-XXXXXX";
	const struct refs_options o = { .births = true };
	int fd = mkstemp(path);
	char bytes[4096];
	unsigned n_loaded = 0, n_refused = 0;
	ssize_t n;

	make_list(&g, 3);
	add_births(&g);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(refs_file_save(&g, path, &err), 0);
	assert_int_equal(refs_file_load(path, &again, &err), 0);
	check_profile(&again);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = pread(fd, bytes, sizeof(bytes), 0);
	assert_true(n > 0 && (size_t)n < sizeof(bytes));
	for (ssize_t at = 0; at < n; at++) {
		cleanup(object_graph_clear) struct object_graph bad = { 0 };
		cleanup(profile_freep) struct profile *p = NULL;
		char changed = (char)(bytes[at] ^ 0x41);

		assert_int_equal(pwrite(fd, &changed, 1, at), 1);
		if (refs_file_load(path, &bad, &err) == 0) {
			n_loaded++;
			refs_profile(&bad, &o, &p, &err);
		} else {
			n_refused++;
		}
		assert_int_equal(pwrite(fd, bytes + at, 1, at), 1);
	}
	assert_true(n_loaded && n_refused);
	close(fd);
	unlink(path);
}

static void test_none(void **state)
{
	const struct refs_options o = { .births = true };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup(profile_freep) struct profile *p = NULL;

	make_list(&g, 3);
	assert_int_equal(refs_profile(&g, &o, &p, &err), -ENODATA);
}

/* A long way is cut in the middle; what is kept is what is below. */
static void test_widest(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 }, list = { 0 };
	cleanup(refs_chains_clear) struct refs_chains one = { 0 }, other = { 0 };
	cleanup_free char *way = NULL, *cut = NULL;

	make_list(&g, 3);
	assert_int_equal(refs_widest(&g, 1, &one, &err), 0);
	assert_int_equal(refs_chains_text(&one, &g, &way, &err), 0);
	assert_string_equal(way, "main.gList (global), keeps 30 bytes\n"
	                         "  main.even at 0x1000, keeps 30 bytes\n"
	                         "  main.odd at 0x1010, keeps 20 bytes\n");
	assert_int_equal(refs_widest(&g, 3, &other, &err), -EINVAL);
	make_list(&list, 100);
	assert_int_equal(refs_widest(&list, 99, &other, &err), 0);
	assert_int_equal(refs_chains_text(&other, &list, &cut, &err), 0);
	assert_non_null(strstr(cut, "  main.even at 0x1120, keeps 820 bytes\n"
	                            "  ... 61 more ...\n"
	                            "  main.even at 0x1500, keeps 200 bytes\n"));
	assert_non_null(strstr(cut, "  main.odd at 0x1630, keeps 10 bytes\n"));
}

static void test_all_of_a_type(void **state)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup_free uint32_t *nodes = NULL, *none = NULL;
	cleanup(refs_chains_clear) struct refs_chains chains = { 0 };
	cleanup(refs_chain_ways_clear) struct refs_ways found = { 0 };
	cleanup_free char *ways = NULL, *nearest = NULL;
	size_t n = 0;

	make_list(&g, 7);
	assert_int_equal(refs_widest_nodes(&g, "od+$", &nodes, &n, &err), 0);
	assert_int_equal(n, 3);
	assert_int_equal(nodes[2], 5);
	/* a list is one tower */
	assert_int_equal(refs_widest_of(&g, nodes, n, 10, &found, &err), 0);
	assert_int_equal(refs_chain_ways_text(&found, &ways, &err), 0);
	assert_string_equal(ways,
	                    "main.gList: 3 objects, 30 bytes\n  main.even\n  .next main.odd\n");
	assert_int_equal(refs_why_any(&g, nodes, n, 10, &chains, &err), 0);
	assert_int_equal(refs_chains_text(&chains, &g, &nearest, &err), 0);
	assert_string_equal(nearest, "main.gList (global)\n  main.even at 0x1000, 10 bytes\n"
	                             "  .next main.odd at 0x1010, 10 bytes\n");
	assert_int_equal(refs_widest_nodes(&g, "none", &none, &n, &err), -ENOENT);
	assert_int_equal(refs_widest_nodes(&g, "(", &none, &n, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_births),        cmocka_unit_test(test_saved_and_damaged),
		cmocka_unit_test(test_none),          cmocka_unit_test(test_widest),
		cmocka_unit_test(test_all_of_a_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
