/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_pools.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/postgres/pg_blocks.h"
#include "runtime/postgres/pg_process.h"
#include "target/reader.h"

enum {
	CHUNK_ALIGN = 16, /* of glibc's malloc: sizes, with their header word */
	CHUNK_FLAGS = 7,
	MAX_NODE_BYTES = 1024, /* more than any struct in front of a first block */
	MAX_PARKED = 100,      /* MAX_FREE_CONTEXTS, aset.c, 11 to 18 */
	LIST_WORDS = 4,        /* two of { int num_free; AllocSetContext *first_free; } */
	MAX_DATA_BYTES = 16 << 20,
	TITLE_BYTES = 256,
};

/*
 * TopMemoryContext and its first block are one malloc: glibc's if the word in
 * front is the size of a chunk that ends where that block does.
 */
bool pg_pools_are_in_glibc(struct pg_server *s)
{
	cleanup(pg_blocks_clear) struct pg_blocks b = { 0 };
	const uint64_t top = s->layout.top;
	uint64_t chunk = pg_memory_word(&s->memory, top - 8) & ~(uint64_t)CHUNK_FLAGS;
	struct error unused;

	if (chunk % CHUNK_ALIGN ||
	    pg_blocks_read(&s->memory, &s->layout, PG_ALLOCSET, top, &b, &unused) < 0)
		return false;
	for (size_t i = 0; i < b.n; i++) {
		const uint64_t size = b.items[i].end - top + 8;

		if (b.items[i].address > top && b.items[i].address - top < MAX_NODE_BYTES &&
		    chunk >= size && chunk - size < CHUNK_ALIGN)
			return true;
	}
	return false;
}

struct parked {
	struct pg_server *s;
	const struct hash_map *in_tree;
	struct pg_blocks blocks;
	uint64_t n, bytes; /* of the place that fits */
	unsigned n_places;
	uint64_t place;            /* its address */
	uint64_t n_now, bytes_now; /* of the place that is looked at */
};

/* A deleted context: out of the tree, without relatives but the next one in the list, and with
 * its first block alone. */
static bool add_parked(struct parked *p, uint64_t at)
{
	const struct pg_layout *l = &p->s->layout;
	struct pg_memory *m = &p->s->memory;
	struct error unused;

	if ((at & 7) || hash_map_get(p->in_tree, at) ||
	    pg_layout_class(l, pg_memory_word(m, at + l->at_methods)) != PG_ALLOCSET ||
	    pg_memory_word(m, at + l->at_parent) || pg_memory_word(m, at + l->at_first_child) ||
	    pg_blocks_read(m, l, PG_ALLOCSET, at, &p->blocks, &unused) < 0 || p->blocks.n != 1)
		return false;
	p->n_now++;
	p->bytes_now += p->blocks.items[0].end - p->blocks.items[0].address + p->blocks.node_bytes;
	return true;
}

static bool is_list(struct parked *p, uint64_t n, uint64_t at)
{
	if (n > MAX_PARKED || (n == 0) != (at == 0))
		return false;
	for (uint64_t i = 0; i < n; i++) {
		if (!at || !add_parked(p, at))
			return false;
		at = pg_memory_word(&p->s->memory, at + p->s->layout.at_next);
	}
	return at == 0;
}

/* Where one of the lists is empty, zeros before or behind make the place fit twice. */
static void look_at(struct parked *p, uint64_t place, const uint64_t w[LIST_WORDS])
{
	bool overlaps;

	if (!w[0] && !w[2])
		return;
	p->n_now = p->bytes_now = 0;
	if (!is_list(p, w[0], w[1]) || !is_list(p, w[2], w[3]))
		return;
	overlaps = p->n_places && place - p->place < LIST_WORDS * sizeof(*w);
	if (overlaps && p->n_now <= p->n)
		return;
	p->n_places += !overlaps;
	p->place = place;
	p->n = p->n_now;
	p->bytes = p->bytes_now;
}

static void scan_data(struct parked *p, uint64_t start, uint64_t end)
{
	cleanup_free uint64_t *words = NULL;
	const size_t n = (end - start) / sizeof(*words);

	if (end - start > MAX_DATA_BYTES)
		return;
	words = malloc(end - start);
	if (!words || reader_fill(p->s->target, start, words, end - start, NULL) < 0)
		return;
	for (size_t i = 0; i + LIST_WORDS <= n; i++)
		look_at(p, start + i * sizeof(*words), words + i);
}

static void find_parked(struct pg_server *s, const struct hash_map *in_tree,
                        struct runtime_pools *ret)
{
	struct parked p = { .s = s, .in_tree = in_tree };
	struct regions_data d;
	size_t pos = 0;

	while (regions_next_data(&s->memory.maps, s->target->exe, &pos, &d))
		if (d.is_exe)
			scan_data(&p, d.start, d.end);
	pg_blocks_clear(&p.blocks);
	if (p.n_places == 1) {
		ret->parked_bytes = p.bytes;
		ret->n_parked = p.n;
	}
}

static void fill_pool(const struct pg_tree *tree, const struct pg_context *c, const char *strings,
                      struct runtime_pool *to)
{
	*to = (struct runtime_pool){
		.address = c->address,
		.parent = c->parent,
		.level = c->level,
		.name = strings + c->name,
		.ident = strings + c->ident,
		.class_name = pg_methods_class_name(c->class),
		.total_bytes = c->total,
		.used_bytes = c->used,
		.free_bytes = c->free,
		.blocks = c->blocks,
		.free_chunks = c->free_chunks,
	};
}

static int fill(struct pg_server *s, struct pg_tree *tree, struct runtime_pools *p,
                struct error *err)
{
	cleanup(hash_map_clear) struct hash_map in_tree = { 0 };
	char title[TITLE_BYTES];
	int r = 0;

	p->items = calloc(tree->n, sizeof(*p->items));
	if (!p->items)
		return error_oom(err);
	p->strings = take_ptr(tree->strings);
	for (p->n = 0; p->n < tree->n && r == 0; p->n++) {
		fill_pool(tree, &tree->items[p->n], p->strings, &p->items[p->n]);
		r = hash_map_put(&in_tree, tree->items[p->n].address, p->n, err);
	}
	if (r < 0)
		return r;
	if (pg_pools_are_in_glibc(s))
		p->inside = REGIONS_GLIBC_ARENA;
	find_parked(s, &in_tree, p);
	target_cmdline(s->target, title, sizeof(title));
	p->leader = pg_process_leader(title);
	p->stopped_ns = s->stopped_ns;
	return 0;
}

int pg_pools_read(const struct runtime_view *v, struct runtime_pools *ret, struct error *err)
{
	cleanup(pg_server_clear) struct pg_server s = { 0 };
	cleanup(pg_tree_clear) struct pg_tree tree = { 0 };
	cleanup(runtime_pools_clear) struct runtime_pools p = { .parked_bytes = -1 };
	int r = pg_server_open(v, &s, err);

	if (r == 0)
		r = pg_server_look(&s, &tree, NULL, 0, err);
	if (r == 0)
		r = fill(&s, &tree, &p, err);
	if (r < 0)
		return r;
	*ret = p;
	p = (struct runtime_pools){ 0 };
	return 0;
}
