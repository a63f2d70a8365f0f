/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_check.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"
#include "runtime/plan.h"
#include "runtime/postgres/pg_blocks.h"
#include "runtime/postgres/pg_plan.h"

enum {
	WORD = 8,
	OLD_GENERATION_CHUNK = 24,
	OUT_SIZE = 1,
	OUT_CTX = 2,
	SHARES = 16, /* of a sample, one context gets no more than one */
};

/* The plans of one class, as an engine would run them. */
struct decoder {
	struct plan_code alloc, realloc;
	bool has_realloc;
};

struct checking {
	struct pg_memory *m;
	const struct pg_layout *l;
	const struct pg_context *c;
	const struct decoder *d;
	struct pg_check *to;
	uint64_t unowned; /* old family: chunks whose context word is not the context */
	uint64_t stop;    /* chunks in all at which this context has had its share */
	struct error *err;
};

static int read_word(void *ctx, unsigned long long addr, void *buf, unsigned len)
{
	return pg_memory_read(ctx, addr, buf, len);
}

static int wrong(struct checking *k, uint64_t chunk, const char *why)
{
	return error_set(k->err, EAGAIN, "%s context at 0x%" PRIx64 ", chunk at 0x%" PRIx64 ": %s",
	                 pg_methods_class_name(k->c->class), k->c->address, chunk, why);
}

static unsigned chunk_header(const struct checking *k)
{
	if (!k->l->methods.chunk_word && k->c->class == PG_GENERATION)
		return OLD_GENERATION_CHUNK;
	return k->l->chunk_header;
}

/* Does the chunk know its context? Returns 1 yes, 0 no (old family, freed). */
static int owner(struct checking *k, uint64_t pointer)
{
	const unsigned long long arg[4] = { pointer };
	unsigned long long out[4] = { 0 };

	if (!k->l->methods.chunk_word)
		return pg_memory_word(k->m, pointer - WORD) == k->c->address;
	if (!k->d->has_realloc)
		return 1;
	if (plan_run(&k->d->realloc, k->d->realloc.second, arg, pointer, read_word, k->m, out) < 0)
		return wrong(k, pointer, "header not readable");
	if (out[OUT_CTX] != k->c->address)
		return wrong(k, pointer, "belongs to another context");
	return 1;
}

/* Check the chunk at @at; *bytes gets its space. */
static int check_chunk(struct checking *k, uint64_t at, uint64_t end, uint64_t *bytes)
{
	uint64_t pointer = at + chunk_header(k);
	const unsigned long long arg[4] = { k->c->address };
	unsigned long long out[4] = { 0 };
	int r;

	if (plan_run(&k->d->alloc, 0, arg, pointer, read_word, k->m, out) < 0)
		return wrong(k, pointer, "header not readable");
	*bytes = out[OUT_SIZE];
	if (*bytes < chunk_header(k) + WORD || (*bytes & (WORD - 1)) || *bytes > end - at)
		return wrong(k, pointer, "its size does not fit its block");
	r = owner(k, pointer);
	if (r < 0)
		return r;
	k->unowned += r == 0;
	k->to->chunks++;
	k->to->by_class[k->c->class]++;
	return 0;
}

static bool is_cut(const struct checking *k)
{
	return k->stop && k->to->chunks >= k->stop;
}

static int check_block(struct checking *k, const struct pg_block *b)
{
	uint64_t n = 0;

	for (uint64_t at = b->data, bytes = 0; at < b->fill; at += bytes, n++) {
		int r = is_cut(k) ? 1 : check_chunk(k, at, b->fill, &bytes);

		if (r)
			return r < 0 ? r : 0;
	}
	if (k->c->class == PG_GENERATION && n != b->n_chunks)
		return wrong(k, b->address, "another number of chunks than the block says");
	return 0;
}

/* Plans can be checked where chunks have headers that say their size. */
static bool is_checked(const struct pg_layout *l, enum pg_class c)
{
	return c == PG_ALLOCSET || c == PG_GENERATION || (c == PG_SLAB && l->methods.chunk_word);
}

static int decoder_make(const struct pg_layout *l, enum pg_class c, struct decoder *d,
                        struct error *err)
{
	char text[PG_PLAN_TEXT_BYTES];
	int r = pg_plan_text(l, c, PG_ALLOC, text, err);

	if (r == 0)
		r = plan_compile(PLAN_ALLOC, text, &d->alloc, err);
	d->has_realloc = l->methods.chunk_word;
	if (r == 0 && d->has_realloc)
		r = pg_plan_text(l, c, PG_REALLOC, text, err);
	if (r == 0 && d->has_realloc)
		r = plan_compile(PLAN_REALLOC, text, &d->realloc, err);
	return r;
}

static int check_context(struct checking *k, struct pg_blocks *blocks)
{
	int r = pg_blocks_read(k->m, k->l, k->c->class, k->c->address, blocks, k->err);

	if (r == -EAGAIN)
		return wrong(k, k->c->address, blocks->torn);
	k->unowned = 0;
	for (size_t i = 0; i < blocks->n && r == 0; i++)
		r = check_block(k, &blocks->items[i]);
	if (r == 0 && !is_cut(k) && !k->l->methods.chunk_word && k->c->class == PG_ALLOCSET &&
	    k->unowned != blocks->free_chunks)
		return wrong(k, k->c->address, "another number of free chunks than its lists have");
	k->to->contexts++;
	return r;
}

int pg_check_chunks(struct pg_memory *m, const struct pg_layout *l, const struct pg_tree *tree,
                    uint64_t max_chunks, struct pg_check *ret, struct error *err)
{
	cleanup(pg_blocks_clear) struct pg_blocks blocks = { 0 };
	struct decoder decoders[PG_N_CLASSES] = { 0 };
	struct pg_check done = { 0 };
	struct checking k = { .m = m, .l = l, .to = &done, .err = err };

	for (unsigned c = 0; c < PG_N_CLASSES; c++) {
		int r = is_checked(l, c) ? decoder_make(l, c, &decoders[c], err) : 0;

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < tree->n && (!max_chunks || done.chunks < max_chunks); i++) {
		int r;

		k.c = &tree->items[i];
		k.d = &decoders[k.c->class];
		if (!is_checked(l, k.c->class))
			continue;
		k.stop = max_chunks ? done.chunks + max_chunks / SHARES : 0;
		r = check_context(&k, &blocks);
		if (r < 0)
			return r;
	}
	*ret = done;
	return 0;
}
