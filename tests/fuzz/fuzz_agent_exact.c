/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is read back from exact mode's tables in a target: counters, the sums of threads,
 * stacks with their pcs, the set's buckets. A file stands for the target's memory, this
 * process for its modules. The input is pieces of 65 bytes: the first says where the other
 * 64 go, the second which one of its kind.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_target.h"
#include "alloc/agent_exact.h"
#include "base/cleanup.h"
#include "inject/transaction.h"

enum { PIECE = 65, PCS = 1 << 14, LEVELS = 1, STACKS = 1 << 17 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As they lie in the file; where the reader is told that they are. */
struct memory {
	struct agent_exact_counters counters;
	struct agent_exact_thread threads[AGENT_SLOTS];
	struct agent_exact_stack stacks[STACKS];
	uint64_t pcs[PCS]; /* those behind it are not there: a read fails */
	struct agent_exact_bucket level0[1 << AGENT_EXACT_FIRST_BITS];
	struct agent_exact_refs refs0[1 << AGENT_EXACT_FIRST_BITS];
	struct agent_exact_context contexts[1 << AGENT_EXACT_CONTEXT_BITS];
};

static void put(size_t offset, const void *bytes, size_t n)
{
	if (pwrite(of.fd, bytes, n, (off_t)offset) != (ssize_t)n)
		exit(1);
}

#define AT(field) offsetof(struct memory, field)

static void put_stack(const uint8_t *p)
{
	struct agent_exact_stack s;

	memcpy(&s, p + 1, sizeof(s));
	if (p[0] & 128) { /* one that is whole */
		s.first %= PCS / 2;
		s.n = s.n % 64 + 1;
		s.stop %= 2;
		s.ready = 1;
	}
	put(AT(stacks) + (p[0] % 32 + 1) * sizeof(s), &s, sizeof(s));
}

/* A pointer and a value, with the right check sum or another. */
static void put_block(const uint8_t *p)
{
	const size_t bucket = AT(level0) + (p[0] % 64) * sizeof(struct agent_exact_bucket);
	const size_t refs = AT(refs0) + (p[0] % 64) * sizeof(struct agent_exact_refs);
	const unsigned i = p[1] % AGENT_EXACT_BUCKET_ENTRIES;
	struct agent_exact_value v;
	uint64_t ptr, ref;

	memcpy(&ptr, p + 2, sizeof(ptr));
	memcpy(&ref, p + 34, sizeof(ref));
	memcpy(&v, p + 10, sizeof(v));
	if (p[0] & 128) {
		v.size &= AGENT_EXACT_MAX_SIZE;
		v.size |= agent_exact_check(ptr, v.size, v.stack, v.birth, ref);
	}
	put(refs + i * sizeof(ref), &ref, sizeof(ref));
	put(bucket + offsetof(struct agent_exact_bucket, ptrs) + i * sizeof(ptr), &ptr,
	    sizeof(ptr));
	put(bucket + offsetof(struct agent_exact_bucket, values) + i * sizeof(v), &v, sizeof(v));
}

static void fill(const uint8_t *data, size_t size)
{
	if (ftruncate(of.fd, 0) || ftruncate(of.fd, sizeof(struct memory)))
		exit(1);
	for (size_t i = 0; i + PIECE <= size; i += PIECE) {
		const uint8_t *p = data + i + 1;

		switch (data[i] % 8) {
		case 0: put(AT(counters) + p[0] % 3 * 48, p + 1, 56); break;
		case 1: put(AT(threads) + p[0] * sizeof(struct agent_exact_thread), p, 56); break;
		case 2:
		case 3: put_stack(p); break;
		case 4: put(AT(pcs) + (size_t)p[0] * 56, p + 1, 56); break;
		case 5: put(AT(contexts) + (size_t)p[0] * 32, p + 1, 32); break;
		default: put_block(p); break;
		}
	}
}
_Static_assert(sizeof(struct agent_exact_counters) >= 2 * 48 + 56, "as the pieces have it");

struct found {
	const struct agent_exact_run *r;
	const struct agent_stacks *stacks;
	uint64_t n;
};

static int found(void *arg, const struct agent_exact_found *b, struct error *err)
{
	struct found *f = arg;

	if (b->size > AGENT_EXACT_MAX_SIZE ||
	    agent_exact_local(f->r, b->stack) >= agent_stacks_n(f->stacks))
		abort();
	f->n++;
	return 0;
}

static void look(struct agent_exact_run *r, struct agent_stacks *stacks)
{
	struct found f = { r, stacks };
	struct error err;

	/* fails where pcs are said to be where nothing is */
	if (agent_exact_look(r, found, &f, &err) == 0)
		agent_exact_sum_stacks(r, &err);
	if (f.n > 7ull << AGENT_EXACT_FIRST_BITS)
		abort();
	for (u32 i = 0; i < agent_stacks_n(stacks); i++) {
		const struct agent_stack *s = agent_stacks_at(stacks, i);

		if (s->n > UNWIND_MAX_FRAMES || !(s->bytes.estimate >= 0))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct agent_exact_run r = {
		.inject = &of.inject,
		.head = { .counters = AT(counters),
		          .threads = AT(threads),
		          .stacks = AT(stacks),
		          .pcs = AT(pcs),
		          .n_levels = LEVELS,
		          .levels = { AT(level0) },
		          .refs = { AT(refs0) },
		          .contexts = size && data[0] & 16 ? AT(contexts) : 0 },
	};
	struct agent_stacks *stacks;
	struct error err;

	set_up();
	r.tracee = r.tables.tracee = &of.tracee;
	fill(data, size);
	r.local = calloc(STACKS, sizeof(*r.local));
	if (!r.local || agent_stacks_new(&of.tracee, false, &stacks, &err) < 0)
		exit(1);
	r.stacks = stacks;
	look(&r, stacks);
	look(&r, stacks); /* what was learned stays */
	agent_stacks_free(stacks);
	free(r.local);
	return 0;
}
