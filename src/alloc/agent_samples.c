/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "alloc/engine_agent_exact.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"

enum {
	CHUNK = 64, /* buckets that are read at once */
	TORN_TRIES = 4,
	PRUNE_ABOVE = 1 << 16,
};

#define MAX_BLOCK (1ull << 47) /* all of user space */

static u64 data_at(const struct engine_agent *e, size_t offset)
{
	return e->base + AGENT_CODE_BYTES + offset;
}

#define AT(e, field) data_at(e, offsetof(struct agent_data, field))

double agent_samples_weight(const struct engine_agent *e, u64 asked, u64 seq)
{
	const u64 mean = agent_rate_mean(&e->rate, (unsigned)(seq >> AGENT_SEQ_RATE));
	const double p = mean ? -expm1(-(double)asked / (double)mean) : 0;

	if (e->exact)
		return 1;
	return p > 0 ? 1 / p : 0;
}

/* ---- samples ---- */

static int add_sample(struct engine_agent *e, const struct agent_record *r, struct error *err)
{
	struct engine_agent_block s = {
		.size = r->size, .seq = r->seq, .asked = r->asked, .birth_ns = clock_now_ns()
	};
	const double weight = agent_samples_weight(e, r->asked, r->seq);
	int rc = agent_stacks_add(e->stacks, r, &s.stack, err);

	if (rc == 0)
		rc = array_reserve(&e->samples, &e->cap_samples, e->n_samples + 1, err);
	if (rc == 0)
		rc = hash_map_put(&e->by_seq, s.seq, e->n_samples, err);
	if (rc < 0)
		return rc;
	e->samples[e->n_samples++] = s;
	e->n_read++;
	e->calls += weight;
	agent_rate_seen(&e->rate, (unsigned)(r->seq >> AGENT_SEQ_RATE));
	interval_add_blocks(&agent_stacks_at(e->stacks, s.stack)->objects, weight);
	interval_add_bytes(&agent_stacks_at(e->stacks, s.stack)->bytes, (double)s.size, weight);
	return 0;
}

static int read_record(struct engine_agent *e, unsigned i, struct error *err)
{
	const size_t head = offsetof(struct agent_record, stack);
	const u64 at = data_at(e, offsetof(struct agent_data, records) + i * sizeof(e->record));
	const u32 free_again = AGENT_RECORD_FREE;
	struct agent_record *r = &e->record;
	int rc = inject_read(e->inject, at, r, head, err);

	if (rc < 0)
		return rc;
	if (r->n_bytes > AGENT_STACK_BYTES)
		r->n_bytes = AGENT_STACK_BYTES;
	if (r->size >= MAX_BLOCK || r->asked >= MAX_BLOCK)
		r->size = r->asked = 0;
	if (r->n_bytes)
		rc = inject_read(e->inject, at + head, r->stack, r->n_bytes, err);
	e->stacks_cut |= !r->whole;
	if (rc == 0)
		rc = add_sample(e, r, err);
	if (rc == 0)
		rc = inject_write(e->inject, AT(e, record_states) + i * sizeof(u32), &free_again,
		                  sizeof(free_again), err);
	return rc;
}

int agent_samples_drain(struct engine_agent *e, struct error *err)
{
	u32 states[AGENT_RECORDS];
	int r;

	if (e->exact)
		return engine_agent_exact_drain(e, err);
	r = inject_read(e->inject, AT(e, record_states), states, sizeof(states), err);
	e->n_drained = 0;
	for (unsigned i = 0; r == 0 && i < AGENT_RECORDS; i++) {
		if (states[i] != AGENT_RECORD_READY)
			continue;
		r = read_record(e, i, err);
		e->n_drained++;
	}
	return r < 0 ? r
	             : inject_read(e->inject, AT(e, counters), &e->counters, sizeof(e->counters),
	                           err);
}

/* ---- the set ---- */

static int add_block(struct engine_agent *e, const struct agent_entry *x, struct error *err)
{
	int r = array_reserve(&e->blocks, &e->cap_blocks, e->n_blocks + 1, err);

	if (r < 0)
		return r;
	e->blocks[e->n_blocks++] = (struct engine_agent_block){
		.size = x->size, .seq = x->seq, .asked = x->asked, .context = x->context
	};
	e->held += agent_samples_weight(e, x->asked, x->seq) * (double)x->size;
	return 0;
}

/* The agent stores a stack before its block: once the set was read, the stacks of all
 * that is in it are there to be read, or are lost. */
static void find_stacks(struct engine_agent *e)
{
	for (size_t i = 0; i < e->n_blocks; i++) {
		struct engine_agent_block *b = &e->blocks[i];
		uint64_t *known = hash_map_get(&e->by_seq, b->seq);

		b->stack = known ? e->samples[*known].stack : 0;
		b->birth_ns = known ? e->samples[*known].birth_ns : clock_now_ns();
	}
}

/* Or damaged: no block is that large. */
static bool is_torn(const struct agent_entry *x)
{
	return x->ptr > AGENT_BUSY &&
	       (x->sum != agent_entry_sum(x->ptr, x) || x->size >= MAX_BLOCK ||
	        x->asked >= MAX_BLOCK || x->seq >> AGENT_SEQ_RATE >= AGENT_RATES);
}

static bool any_torn(const struct agent_entry *x, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (is_torn(&x[i]))
			return true;
	}
	return false;
}

static int read_chunk(struct engine_agent *e, size_t bucket, struct error *err)
{
	struct agent_entry x[CHUNK * AGENT_BUCKET_ENTRIES];
	const size_t n = CHUNK * AGENT_BUCKET_ENTRIES;
	const u64 at = data_at(e, offsetof(struct agent_data, entries) +
	                                  bucket * AGENT_BUCKET_ENTRIES * sizeof(*x));
	int r = 0;

	for (unsigned k = 0; k < TORN_TRIES; k++) {
		r = inject_read(e->inject, at, x, sizeof(x), err);
		if (r < 0 || !any_torn(x, n))
			break;
	}
	for (size_t i = 0; r == 0 && i < n; i++) {
		if (is_torn(&x[i]))
			e->torn++;
		else if (x[i].ptr > AGENT_BUSY)
			r = add_block(e, &x[i], err);
	}
	return r;
}

static u64 highest_sample(const struct engine_agent *e)
{
	u64 highest = 0;

	for (size_t i = 0; i < e->n_blocks; i++) {
		const u64 n = e->blocks[i].seq & ((1ull << AGENT_SEQ_RATE) - 1);

		highest = n > highest ? n : highest;
	}
	return highest;
}

/* Samples of blocks that are gone are forgotten once they are many. */
static int prune(struct engine_agent *e, struct error *err)
{
	size_t n = 0;

	if (e->n_samples < PRUNE_ABOVE || e->n_samples < 4 * e->n_blocks)
		return 0;
	hash_map_clear(&e->by_seq);
	e->by_seq = (struct hash_map){ 0 };
	for (size_t i = 0; i < e->n_blocks && n < e->n_samples; i++) {
		if (hash_map_put(&e->by_seq, e->blocks[i].seq, n, err) < 0)
			return err->code;
		e->samples[n++] = e->blocks[i];
	}
	e->n_samples = n;
	return 0;
}

/* Of a process that ends meanwhile the last look stays. */
static int read_set(struct engine_agent *e, const u8 *filter, struct error *err)
{
	struct engine_agent_block *const blocks = e->blocks;
	const size_t n_blocks = e->n_blocks, cap_blocks = e->cap_blocks;
	const double held = e->held;
	int r = 0;

	e->blocks = NULL;
	e->n_blocks = e->cap_blocks = 0;
	e->held = 0;
	e->torn = 0;
	for (size_t b = 0; r == 0 && b < AGENT_BUCKETS; b += CHUNK) {
		static const u8 none[CHUNK];

		if (memcmp(filter + b, none, CHUNK))
			r = read_chunk(e, b, err);
	}
	if (r == 0) {
		free(blocks);
		return 0;
	}
	free(e->blocks);
	e->blocks = blocks;
	e->n_blocks = n_blocks;
	e->cap_blocks = cap_blocks;
	e->held = held;
	return r;
}

int agent_samples_look(struct engine_agent *e, struct error *err)
{
	cleanup_free u8 *filter = malloc(AGENT_BUCKETS);
	int r;

	if (e->exact)
		return engine_agent_exact_look(e, err);
	if (!filter)
		return error_oom(err);
	/* room for the stacks of those that come while the set is read */
	r = agent_samples_drain(e, err);
	if (r == 0)
		r = inject_read(e->inject, AT(e, filter), filter, AGENT_BUCKETS, err);
	if (r < 0)
		return r;
	r = read_set(e, filter, err);
	if (r < 0)
		return r;
	e->looked_ns = clock_now_ns();
	if (r == 0)
		r = agent_samples_drain(e, err);
	if (r == 0)
		agent_health_looked(&e->health, e->torn, highest_sample(e), &e->counters);
	find_stacks(e);
	if (r == 0 && e->held > (double)e->peak)
		e->peak = (u64)e->held;
	return r < 0 ? r : prune(e, err);
}
