/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is read back from an agent in a target: states, records with stacks, the set,
 * counters. A file stands for the target's memory, this process for its modules. The
 * input is pieces of 64 bytes: the first says where the other 63 go.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_target.h"
#include "alloc/agent_samples.h"
#include "base/cleanup.h"
#include "inject/transaction.h"

enum { PIECE = 72, RECORDS = 32, BUCKETS = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(size_t offset, const void *bytes, size_t n)
{
	if (pwrite(of.fd, bytes, n, (off_t)(AGENT_CODE_BYTES + offset)) != (ssize_t)n)
		exit(1);
}

#define AT(field) offsetof(struct agent_data, field)

static void put_record(unsigned i, const uint8_t *p, const uint8_t *stack, size_t n)
{
	const uint32_t ready = AGENT_RECORD_READY;
	struct agent_record r;

	memset(&r, 0, sizeof(r));
	memcpy(&r, p, PIECE - 8);
	if (p[0] & 1) /* in code that there is */
		r.pc = (uintptr_t)LLVMFuzzerTestOneInput + r.pc % 4096;
	memcpy(r.stack, stack, n < AGENT_STACK_BYTES ? n : AGENT_STACK_BYTES);
	put(AT(records) + i * sizeof(r), &r, sizeof(r));
	put(AT(record_states) + i * sizeof(ready), &ready, sizeof(ready));
}

static void put_entry(unsigned bucket, unsigned i, const uint8_t *p)
{
	const uint8_t some = 1;
	struct agent_entry e;

	memcpy(&e, p, sizeof(e));
	if (p[sizeof(e)] & 1)
		e.sum = agent_entry_sum(e.ptr, &e);
	put(AT(entries) + (bucket * AGENT_BUCKET_ENTRIES + i) * sizeof(e), &e, sizeof(e));
	put(AT(filter) + bucket, &some, 1);
}

static void fill(const uint8_t *data, size_t size)
{
	if (ftruncate(of.fd, 0) || ftruncate(of.fd, AGENT_BYTES))
		exit(1);
	for (size_t i = 0; i + PIECE <= size; i += PIECE) {
		const uint8_t *p = data + i + 1;

		if (data[i] < 64)
			put_entry(data[i] % BUCKETS, p[0] % AGENT_BUCKET_ENTRIES, p + 1);
		else if (data[i] < 240)
			put_record(data[i] % RECORDS, p, data, size);
		else
			put(AT(counters), p, PIECE - 1);
	}
}

static void check(struct engine_agent *e)
{
	for (size_t i = 0; i < e->n_blocks; i++) {
		const struct engine_agent_block *b = &e->blocks[i];

		if (b->stack >= agent_stacks_n(e->stacks) || b->size >> 47 ||
		    !(agent_samples_weight(e, b->asked, b->seq) >= 0))
			abort();
	}
	for (u32 i = 0; i < agent_stacks_n(e->stacks); i++) {
		const struct agent_stack *s = agent_stacks_at(e->stacks, i);
		const u64 *pcs = agent_stacks_pcs(e->stacks, i);

		for (u32 k = 0; k < s->n; k++)
			if (!(pcs[k] + 1))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct engine_agent e = { .tracee = &of.tracee, .inject = &of.inject };
	struct error err;

	set_up();
	agent_rate_init(&e.rate, 4096, 0);
	fill(data, size);
	if (agent_stacks_new(&of.tracee, true, &e.stacks, &err) < 0)
		exit(1);
	if (agent_samples_drain(&e, &err) < 0 || agent_samples_look(&e, &err) < 0)
		abort();
	check(&e);
	agent_stacks_free(e.stacks);
	hash_map_clear(&e.by_seq);
	free(e.samples);
	free(e.blocks);
	return 0;
}
