/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/heap_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "target/reader.h"

struct heap_memory_chunk {
	uint64_t addr;
	uint32_t present; /* a bit for each page */
	uint8_t bytes[HEAP_MEMORY_CHUNK];
};

enum { ALL_PAGES = (1 << HEAP_MEMORY_CHUNK / HEAP_MEMORY_PAGE) - 1 };

void heap_memory_clear(struct heap_memory *m)
{
	for (size_t i = 0; i < HEAP_MEMORY_CHUNKS; i++)
		free(m->chunks[i]);
	*m = (struct heap_memory){ 0 };
}

static int note(struct heap_memory *m, int r)
{
	if (r < 0 && r != -ENODATA && r != -EFAULT)
		m->failed = r;
	return r;
}

static int read_picture(const struct heap_memory *m, uint64_t addr, void *buf, size_t len)
{
	for (size_t i = 0; i < m->n_pictures; i++) {
		const struct heap_memory_picture *p = &m->pictures[i];

		if (addr >= p->start && addr - p->start < p->len &&
		    len <= p->len - (addr - p->start)) {
			memcpy(buf, p->bytes + (addr - p->start), len);
			return 0;
		}
	}
	return -ENODATA;
}

int heap_memory_fresh(struct heap_memory *m, uint64_t addr, void *buf, size_t len)
{
	if (!m->target)
		return read_picture(m, addr, buf, len);
	if (m->failed)
		return m->failed;
	return note(m, reader_try(m->target, addr, buf, len));
}

static int present_in_picture(const struct heap_memory *m, uint64_t start, uint64_t end,
                              uint64_t *ret_start, uint64_t *ret_end)
{
	int found = 0;

	for (size_t i = 0; i < m->n_pictures; i++) {
		uint64_t from = m->pictures[i].start, to = from + m->pictures[i].len;

		from = from < start ? start : from;
		to = to > end ? end : to;
		if (from < to && (!found || from < *ret_start)) {
			*ret_start = from;
			*ret_end = to;
			found = 1;
		}
	}
	return found;
}

int heap_memory_present(struct heap_memory *m, uint64_t start, uint64_t end, uint64_t *ret_start,
                        uint64_t *ret_end)
{
	if (!m->target)
		return present_in_picture(m, start, end, ret_start, ret_end);
	if (m->failed)
		return m->failed;
	return note(m, reader_present(m->target, start, end, ret_start, ret_end));
}

uint64_t heap_memory_resident(struct heap_memory *m, uint64_t start, uint64_t end)
{
	uint64_t from, to, sum = 0;

	for (uint64_t at = start; at < end && heap_memory_present(m, at, end, &from, &to) > 0;
	     at = to)
		sum += to - from;
	return sum;
}

bool heap_memory_is_anonymous(const struct mapping *m)
{
	return m && !m->inode && (m->prot & MAPS_WRITE) && !(m->prot & MAPS_SHARED) &&
	       (m->name[0] != '[' || !strcmp(m->name, "[heap]") || !strncmp(m->name, "[anon:", 6));
}

bool heap_memory_covers(const struct maps *maps, uint64_t addr, uint64_t len)
{
	const struct mapping *m = maps_find(maps, addr), *last = maps->items + maps->n_items;

	for (; m && m < last && m->start <= addr && heap_memory_is_anonymous(m); m++) {
		if (len <= m->end - addr)
			return true;
		len -= m->end - addr;
		addr = m->end;
	}
	return false;
}

/* What is there of the chunk, run by run. */
static void load_parts(struct heap_memory *m, struct heap_memory_chunk *c)
{
	uint64_t end = c->addr + HEAP_MEMORY_CHUNK, from, to;

	c->present = 0;
	for (uint64_t at = c->addr; at < end && heap_memory_present(m, at, end, &from, &to) > 0;
	     at = to) {
		if (heap_memory_fresh(m, from, c->bytes + (from - c->addr), to - from) < 0)
			continue;
		for (uint64_t p = from; p < to; p += HEAP_MEMORY_PAGE)
			c->present |= 1u << (p - c->addr) / HEAP_MEMORY_PAGE;
	}
}

/* The chunk that holds @addr; NULL: out of memory. */
static struct heap_memory_chunk *chunk_of(struct heap_memory *m, uint64_t addr)
{
	uint64_t start = addr / HEAP_MEMORY_CHUNK * HEAP_MEMORY_CHUNK;
	struct heap_memory_chunk **slot =
		&m->chunks[hash_u64(start / HEAP_MEMORY_CHUNK) % HEAP_MEMORY_CHUNKS];

	if (*slot && (*slot)->addr == start)
		return *slot;
	if (!*slot)
		*slot = malloc(sizeof(**slot));
	if (!*slot) {
		m->failed = -ENOMEM;
		return NULL;
	}
	(*slot)->addr = start;
	(*slot)->present = ALL_PAGES;
	if (heap_memory_fresh(m, start, (*slot)->bytes, HEAP_MEMORY_CHUNK) < 0)
		load_parts(m, *slot);
	return *slot;
}

int heap_memory_read(struct heap_memory *m, uint64_t addr, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (addr + len < addr || addr + len > INT64_MAX)
		return -EFAULT;
	while (len) {
		struct heap_memory_chunk *c = m->failed ? NULL : chunk_of(m, addr);
		size_t at = addr % HEAP_MEMORY_CHUNK, page = at / HEAP_MEMORY_PAGE;
		size_t n = (page + 1) * HEAP_MEMORY_PAGE - at;

		if (!c)
			return m->failed;
		if (!(c->present & 1u << page))
			return -ENODATA;
		n = n > len ? len : n;
		memcpy(to, c->bytes + at, n);
		to += n;
		addr += n;
		len -= n;
	}
	return 0;
}

uint64_t heap_memory_word(struct heap_memory *m, uint64_t addr)
{
	uint64_t v;

	return heap_memory_read(m, addr, &v, sizeof(v)) == 0 ? v : 0;
}

ssize_t heap_memory_next(struct heap_memory *m, uint64_t *pos, uint64_t end, void *buf, size_t size,
                         uint64_t *ret_at)
{
	uint64_t from, to;
	int r;

	while ((r = heap_memory_present(m, *pos, end, &from, &to)) > 0) {
		size_t n = to - from > size ? size : to - from;

		*pos = from + n;
		if (heap_memory_fresh(m, from, buf, n) < 0) {
			/* a page of it has gone: this piece is lost */
			if (m->failed)
				return m->failed;
			continue;
		}
		*ret_at = from;
		return n;
	}
	return r;
}
