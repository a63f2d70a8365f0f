/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A saved graph: what is opened is drawn in all views and asked for ways. The input
 * is a list of damages (damage.h) to a whole one, or, if it begins as such a file,
 * the file.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "damage.h"
#include "refs/refs.h"
#include "refs/refs_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NODES = 24, MAX_BYTES = 1 << 16, MAX_CHAINS = 4 };

static uint32_t text(struct object_graph *g, const char *s)
{
	uint32_t id = 0;
	struct error err;

	if (object_graph_text(g, s, strlen(s), &id, &err) < 0)
		abort();
	return id;
}

static void must(int r)
{
	if (r < 0)
		abort();
}

/* A list, a tree, what two roots share, births, a size that has no short number. */
static void make(struct object_graph *g)
{
	static const char *const types[] = { "main.list", "main.tree", "[]uint8" };
	const uint32_t frames[] = { text(g, "main.make"), text(g, "main.main") };
	struct error err;
	uint32_t id;

	for (uint32_t i = 0; i < NODES; i++) {
		must(object_graph_node(g, 0xc000000000 + i * 4096, i % 5 ? 32 << i % 7 : 1 << 30,
		                       &err));
		object_graph_set_type(g, i, text(g, types[i % 3]), i % 4 ? OBJECT_TYPED : 0);
		if (i + 1 < NODES)
			must(object_graph_edge(g, i, i + 1, text(g, ".next"), &err));
		must(object_graph_edge(g, i, i * 7 % NODES, text(g, i % 2 ? ".left" : "[…]"),
		                       &err));
	}
	must(object_graph_finish(g, &err));
	for (uint32_t i = 0; i < 3; i++) {
		const struct object_root r = { .name = text(g, i ? "main.b" : "main.a"),
			                       .kind = text(g, "global"),
			                       .tier = (enum object_tier)i };

		must(object_graph_root(g, &r, &err));
		must(object_graph_root_edge(g, i * 5, 0, &err));
	}
	must(object_graph_birth_stack(g, frames, 2, &id, &err));
	must(object_graph_birth(g, &(struct object_birth){ 3, id, 4096, 2 }, &err));
	g->birth_rate = 512 << 10;
	snprintf(g->runtime, sizeof(g->runtime), "Go 1.26.8");
}

/* The whole one as bytes, made once. */
static const uint8_t *whole(size_t *n)
{
	static uint8_t bytes[MAX_BYTES];
	static size_t made;
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	char path[] = "/tmp/fuzz_saved_graph.XXXXXX";
	cleanup_fclose FILE *f = NULL;
	struct error err;

	if (!made) {
		close(mkstemp(path));
		make(&g);
		must(refs_file_save(&g, path, &err));
		f = fopen(path, "re");
		made = f ? fread(bytes, 1, sizeof(bytes), f) : 0;
		unlink(path);
		if (!made || made == sizeof(bytes))
			abort();
	}
	*n = made;
	return bytes;
}

static void ask(const struct object_graph *g)
{
	static const enum refs_view views[] = { REFS_RETAINED, REFS_FIRST_COME, REFS_TYPES,
		                                REFS_GOROUTINES };
	struct refs_ways ways = { 0 };
	uint32_t *nodes = NULL;
	struct error err;
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
		cleanup(profile_freep) struct profile *p = NULL;
		const struct refs_options o = { .view = views[i],
			                        .births = i < 2,
			                        .objects = true };

		refs_profile(g, &o, &p, &err);
	}
	for (uint32_t i = 0; i < g->n_nodes && i < 2 * NODES; i += 5) {
		cleanup(refs_chains_clear) struct refs_chains all = { 0 }, widest = { 0 };

		refs_why(g, i, MAX_CHAINS, &all, &err);
		refs_widest(g, i, &widest, &err);
	}
	if (refs_widest_nodes(g, "main", &nodes, &n, &err) == 0)
		refs_widest_of(g, nodes, n, MAX_CHAINS, &ways, &err);
	refs_chain_ways_clear(&ways);
	free(nodes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	cleanup_close int fd = memfd_create("graph", MFD_CLOEXEC);
	uint8_t copy[MAX_BYTES];
	struct error err;
	char path[64];
	size_t n;

	memcpy(copy, whole(&n), MAX_BYTES);
	if (size > 8 && memcmp(data, copy, 8) == 0) {
		n = size < sizeof(copy) ? size : sizeof(copy);
		memcpy(copy, data, n);
	} else {
		damage(copy, n, data, size);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (fd < 0 || write(fd, copy, n) != (ssize_t)n || refs_file_load(path, &g, &err) < 0)
		return 0;
	ask(&g);
	return 0;
}
