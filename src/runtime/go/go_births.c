/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_births.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_allocs.h"
#include "runtime/go/go_chain.h"
#include "runtime/go/go_pclntab.h"
#include "runtime/go/go_profile.h"

enum {
	LEAST_BYTES = 16, /* of a special */
	MAX_SPECIAL_BYTES = 64,
	MAX_STACK = 1024,
	NAME_BYTES = 1024,
};

struct births {
	struct go_objects *o;
	const uint32_t *node;
	struct object_graph *g;
	struct go_pclntab t;
	struct go_profile p;    /* buckets, as they are met */
	struct hash_map stacks; /* address of a bucket -> its number in p << 32 | its stack */
	struct hash_map names;  /* pc -> text of its function; 0 none */
	double carry;           /* part of an object: half of one is none, two halves are one */
	struct error *err;
};

static void births_clear(struct births *b)
{
	go_profile_clear(&b->p);
	hash_map_clear(&b->stacks);
	hash_map_clear(&b->names);
}

static int name(struct births *b, uint64_t pc, uint32_t *ret)
{
	uint64_t *known = hash_map_get(&b->names, pc);
	struct go_code_function f;
	char text[NAME_BYTES] = "?";
	int r;

	if (known) {
		*ret = (uint32_t)*known;
		return 0;
	}
	if (go_code_function(b->t.module, pc, &f))
		go_pclntab_name(&b->t, &f, pc > f.entry ? pc - 1 : pc, text, sizeof(text));
	/* the end of every goroutine's stack says nothing */
	if (!strcmp(text, "runtime.goexit"))
		text[0] = '\0';
	r = object_graph_text(b->g, text, strlen(text), ret, b->err);
	return r < 0 ? r : hash_map_put(&b->names, pc, *ret, b->err);
}

static int add_stack(struct births *b, const struct go_profile_bucket *bucket, uint32_t *ret)
{
	uint32_t frames[MAX_STACK], id;
	const uint64_t *pcs;
	size_t n = go_allocs_stack(&b->t, &b->p, bucket, &pcs), used = 0;

	for (size_t i = 0; i < n && used < MAX_STACK; i++) {
		int r = name(b, pcs[i], &id);

		if (r < 0)
			return r;
		if (id)
			frames[used++] = id;
	}
	return object_graph_birth_stack(b->g, frames, used, ret, b->err);
}

/* The bucket at @at: 1, its number in p and its stack; 0: there is none. */
static int find_bucket(struct births *b, uint64_t at, size_t *ret, uint32_t *stack)
{
	uint64_t *known = hash_map_get(&b->stacks, at);
	int r;

	if (known) {
		*ret = *known >> 32;
		*stack = (uint32_t)*known;
		return 1;
	}
	if (!go_profile_read_bucket(&b->t, at, &b->p, b->err))
		return 0;
	*ret = b->p.n - 1;
	r = add_stack(b, &b->p.items[*ret], stack);
	if (r == 0)
		r = hash_map_put(&b->stacks, at, (uint64_t)*ret << 32 | *stack, b->err);
	return r < 0 ? r : 1;
}

static int add(struct births *b, uint64_t address, uint64_t bucket_at)
{
	size_t span, bucket;
	uint32_t slot = go_objects_find(b->o, address, &span);
	struct object_birth birth;
	double scale;
	int r;

	if (slot == UINT32_MAX)
		return 0;
	r = find_bucket(b, bucket_at, &bucket, &birth.stack);
	if (r <= 0)
		return r;
	scale = go_profile_scale(b->p.items[bucket].size, b->g->birth_rate);
	birth.node = b->node[slot];
	birth.objects = (uint64_t)(scale + b->carry);
	b->carry += scale - (double)birth.objects;
	birth.bytes = (uint64_t)((double)b->p.items[bucket].size * scale);
	return object_graph_birth(b->g, &birth, b->err);
}

/* The special at @at, if it is of a sampled object. */
static int look_at(struct births *b, const struct go_objects_span *s, uint64_t at, uint64_t *next)
{
	const struct go_layout *l = b->o->module->layout;
	uint8_t bytes[MAX_SPECIAL_BYTES];
	uint64_t offset = 0, bucket;
	uint32_t n = l->special_profile_bucket + 8;

	*next = 0;
	if (n > sizeof(bytes) || image_read(b->o->image, at, bytes, n) < 0)
		return 0;
	memcpy(next, bytes + l->special_next, sizeof(*next));
	/* 2 bytes in front of the kind before 1.24, then 8 */
	memcpy(&offset, bytes + l->special_offset,
	       l->special_kind - l->special_offset >= 8 ? 8 : 2);
	memcpy(&bucket, bytes + l->special_profile_bucket, sizeof(bucket));
	if (bytes[l->special_kind] != l->special_profile || offset >= s->end - s->start)
		return 0;
	return add(b, s->start + offset, bucket);
}

int go_births_add(struct go_objects *o, const uint32_t *node, struct object_graph *g,
                  struct error *err)
{
	cleanup(births_clear) struct births b = { .o = o, .node = node, .g = g, .err = err };
	uint64_t left;
	int r = 0;

	go_pclntab_open(o->module, &b.t);
	go_profile_read_rate(&b.t, &b.p);
	if (!b.p.is_linked || !b.p.rate)
		return 0;
	g->birth_rate = b.p.rate;
	left = o->readable / LEAST_BYTES;
	for (size_t i = 0; r == 0 && i < o->n_spans; i++) {
		const struct go_objects_span *s = &o->spans[i];
		struct go_chain chain = { .left = &left };
		uint64_t next;

		for (uint64_t at = s->specials; r == 0 && go_chain_goes_on(&chain, at); at = next)
			r = look_at(&b, s, at, &next);
	}
	return r;
}
