/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Objects that wait to be looked at, block of memory by block: while one block has
 * some, its others wait in line. So a block is read few times, not once for each
 * object in it (as Go 1.25's own collector does it: mgcmark_greenteagc.go).
 *
 * The surprising rule: an object gets its turn's number when it is taken, not when
 * it is met; what is never taken (it has no pointers) comes behind all others.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { GO_QUEUE_BLOCK = 1 << 16 };

struct go_queue {
	uint64_t low;
	uint32_t *head;       /* of each block: an object that waits, + 1 */
	uint32_t *behind;     /* of each block in line: the next one in line, + 1 */
	uint32_t first, last; /* of the line: blocks + 1 */
	uint32_t current;     /* block + 1 */
	uint32_t *turn;       /* of each object: its turn, or the next one that waits, + 1 */
	uint8_t *taken;       /* a bit for each object */
	size_t cap, expected; /* objects */
	uint32_t n_taken;
};
void go_queue_close(struct go_queue *q); /* { 0 } is closed */

/* For objects with addresses in [@low, @high), about @n of them. */
int go_queue_open(struct go_queue *q, uint64_t low, uint64_t high, size_t n, struct error *err);
/* Room for more. */
int go_queue_reserve(struct go_queue *q, struct error *err);

static inline void go_queue_stand_in_line(struct go_queue *q, uint32_t block)
{
	q->behind[block] = 0;
	if (q->last)
		q->behind[q->last - 1] = block + 1;
	else
		q->first = block + 1;
	q->last = block + 1;
}

/* Object @n, the next new number, at @address; @waits: it is to be looked at. */
static inline int go_queue_add(struct go_queue *q, uint32_t n, uint64_t address, bool waits,
                               struct error *err)
{
	const uint32_t block = (uint32_t)((address - q->low) / GO_QUEUE_BLOCK);
	int r = n < q->cap ? 0 : go_queue_reserve(q, err);

	if (r < 0 || !waits)
		return r;
	if (!q->head[block] && block + 1 != q->current)
		go_queue_stand_in_line(q, block);
	q->turn[n] = q->head[block];
	q->head[block] = n + 1;
	return 0;
}

/* The next one; false: none waits. Its turn is q->n_taken - 1. */
static inline bool go_queue_take(struct go_queue *q, uint32_t *ret)
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

/* The one, + 1, that comes next if no other is added; 0: none, or one of another block. */
static inline uint32_t go_queue_next(const struct go_queue *q)
{
	return q->current ? q->head[q->current - 1] : 0;
}

static inline bool go_queue_was_taken(const struct go_queue *q, uint32_t n)
{
	return q->taken[n / 8] >> n % 8 & 1;
}

/* Turns of all @n objects; owned by the queue. NULL if there are none. */
const uint32_t *go_queue_turns(struct go_queue *q, uint32_t n);
