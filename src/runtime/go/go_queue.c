/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_queue.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 16, FIRST = 1 << 13 };

void go_queue_close(struct go_queue *q)
{
	free(q->head);
	free(q->behind);
	free(q->turn);
	free(q->taken);
	*q = (struct go_queue){ 0 };
}

int go_queue_open(struct go_queue *q, uint64_t low, uint64_t high, size_t n, struct error *err)
{
	const size_t blocks = (high - low) / BLOCK + 1;

	q->low = low;
	q->expected = n / 16 * 16;
	q->head = calloc(blocks, sizeof(*q->head));
	q->behind = calloc(blocks, sizeof(*q->behind));
	return q->head && q->behind ? 0 : error_oom(err);
}

static int reserve(struct go_queue *q, uint32_t n, struct error *err)
{
	size_t cap = q->cap ? q->cap / 16 * 24 : q->expected > FIRST ? q->expected : FIRST;
	uint32_t *turn;
	uint8_t *taken;

	if (n < q->cap)
		return 0;
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

static void stand_in_line(struct go_queue *q, uint32_t block)
{
	q->behind[block] = 0;
	if (q->last)
		q->behind[q->last - 1] = block + 1;
	else
		q->first = block + 1;
	q->last = block + 1;
}

int go_queue_add(struct go_queue *q, uint32_t n, uint64_t address, bool waits, struct error *err)
{
	const uint32_t block = (uint32_t)((address - q->low) / BLOCK);
	int r = reserve(q, n, err);

	if (r < 0)
		return r;
	if (!waits)
		return 0;
	if (!q->head[block] && block + 1 != q->current)
		stand_in_line(q, block);
	q->turn[n] = q->head[block];
	q->head[block] = n + 1;
	return 0;
}

bool go_queue_take(struct go_queue *q, uint32_t *ret)
{
	uint32_t n;

	if (!q->current || !q->head[q->current - 1]) {
		q->current = q->first;
		if (!q->current)
			return false;
		q->first = q->behind[q->current - 1];
		if (!q->first)
			q->last = 0;
	}
	n = q->head[q->current - 1] - 1;
	q->head[q->current - 1] = q->turn[n];
	q->turn[n] = q->n_taken++;
	q->taken[n / 8] |= (uint8_t)(1 << n % 8);
	*ret = n;
	return true;
}

bool go_queue_was_taken(const struct go_queue *q, uint32_t n)
{
	return q->taken[n / 8] >> n % 8 & 1;
}

const uint32_t *go_queue_turns(struct go_queue *q, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (!go_queue_was_taken(q, i))
			q->turn[i] = q->n_taken++;
	}
	return q->turn;
}
