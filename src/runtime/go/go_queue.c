/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_queue.h"

#include <stdlib.h>
#include <string.h>

#include "base/spare.h"

enum { FIRST = 1 << 13 };

void go_queue_close(struct go_queue *q)
{
	free(q->head);
	free(q->behind);
	spare_give(q->turn);
	free(q->taken);
	*q = (struct go_queue){ 0 };
}

int go_queue_open(struct go_queue *q, uint64_t low, uint64_t high, size_t n, struct error *err)
{
	const size_t blocks = (high - low) / GO_QUEUE_BLOCK + 1;

	q->low = low;
	q->expected = n / 16 * 16;
	q->head = calloc(blocks, sizeof(*q->head));
	q->behind = calloc(blocks, sizeof(*q->behind));
	return q->head && q->behind ? 0 : error_oom(err);
}

int go_queue_reserve(struct go_queue *q, struct error *err)
{
	size_t cap = q->cap ? q->cap / 16 * 24 : q->expected > FIRST ? q->expected : FIRST;
	uint32_t *turn;
	uint8_t *taken;

	turn = reallocarray(q->turn, cap, sizeof(*turn));
	if (!turn)
		return error_oom(err);
	q->turn = turn;
	taken = realloc(q->taken, cap / 8);
	if (!taken)
		return error_oom(err);
	q->taken = taken;
	memset(taken + q->cap / 8, 0, (cap - q->cap) / 8);
	q->cap = cap;
	return 0;
}

const uint32_t *go_queue_turns(struct go_queue *q, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!go_queue_was_taken(q, i))
			q->turn[i] = q->n_taken++;
	}
	return q->turn;
}
