/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_layout.h"

#include <errno.h>

enum {
	WORD = 8,
	HEAD_WORDS = 32,
	MAX_METHODS_WORD = 15, /* vendors put fields of their own before it */
	/* words after `methods`: parent, firstchild, prevchild, nextchild, name */
	PARENT = 1,
	FIRST_CHILD,
	PREV,
	NEXT,
	NAME,
	MAX_HEADER_TAIL = 8, /* words from `name` to the end of the struct */
};

int pg_layout_class(const struct pg_layout *l, uint64_t word)
{
	return pg_methods_class(&l->methods, word - l->bias);
}

static bool is_first_block(struct pg_memory *m, uint64_t block, uint64_t owner)
{
	uint64_t w[5];

	return block && !(block & (WORD - 1)) && pg_memory_read(m, block, w, sizeof(w)) == 0 &&
	       w[0] == owner && !w[1] && w[3] >= block + PG_ALLOCSET_BLOCK_HEADER && w[3] <= w[4];
}

static unsigned find_methods(const struct pg_layout *l, const uint64_t *head)
{
	for (unsigned i = 1; i <= MAX_METHODS_WORD; i++)
		if (pg_layout_class(l, head[i]) == PG_ALLOCSET)
			return i;
	return 0;
}

/* Bytes of all blocks and of the context's struct in front of the keeper block,
 * to tell whether the word before `methods` is mem_allocated. */
static uint64_t allocated(struct pg_memory *m, uint64_t top, uint64_t block)
{
	uint64_t total = 0, w[5];

	for (unsigned n = 0; block && n < 1u << 16; n++) {
		if (pg_memory_read(m, block, w, sizeof(w)) < 0 || w[0] != top)
			return 0;
		total += w[4] - block;
		if (block > top && block - top < 1024)
			total += block - top;
		block = w[2];
	}
	return total;
}

int pg_layout_find(struct pg_memory *m, const struct pg_methods *methods, uint64_t bias,
                   uint64_t top, struct pg_layout *ret, struct error *err)
{
	struct pg_layout l = { .methods = *methods, .bias = bias, .top = top };
	uint64_t head[HEAD_WORDS];
	unsigned at, tail;

	if (!top || (top & (WORD - 1)) || pg_memory_read(m, top, head, sizeof(head)) < 0)
		return error_set(err, EAGAIN, "TopMemoryContext is not set up");
	at = find_methods(&l, head);
	if (!at)
		return error_set(err, EAGAIN, "TopMemoryContext has no method table known here");
	if (head[at + PARENT] || head[at + PREV] || head[at + NEXT])
		return error_set(err, EAGAIN, "TopMemoryContext has relatives above it");
	if (head[at + FIRST_CHILD] &&
	    pg_memory_word(m, head[at + FIRST_CHILD] + (uint64_t)(at + PARENT) * WORD) != top)
		return error_set(err, EAGAIN,
		                 "a child of TopMemoryContext does not name it as parent");
	for (tail = 1; tail <= MAX_HEADER_TAIL; tail++)
		if (is_first_block(m, head[at + NAME + tail], top))
			break;
	if (tail > MAX_HEADER_TAIL)
		return error_set(err, EAGAIN, "no first block of TopMemoryContext");
	l.at_methods = at * WORD;
	l.at_parent = (at + PARENT) * WORD;
	l.at_first_child = (at + FIRST_CHILD) * WORD;
	l.at_prev = (at + PREV) * WORD;
	l.at_next = (at + NEXT) * WORD;
	l.at_name = (at + NAME) * WORD;
	l.header = (at + NAME + tail) * WORD;
	/* name [ident] reset_cbs: ident came with 11 */
	l.at_ident = tail >= 3 ? l.at_name + WORD : 0;
	if (at > 1 && head[at - 1] == allocated(m, top, head[at + NAME + tail]))
		l.at_mem_allocated = l.at_methods - WORD;
	l.chunk_header = methods->chunk_word ? 8 : 16;
	*ret = l;
	return 0;
}
