/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_span_memory.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/go/go_objects.h"

enum { MAPPED_FROM = 1 << 20, WAIT_NS = 1000000, MAX_WAITS = 100 };

void go_span_memory_open(struct go_span_memory *m, struct image *i, struct go_objects_span *spans,
                         size_t n, uint64_t limit)
{
	/* else it rises to the largest copy that was freed, and arrays below it are grown by
	 * copying within the heap, which leaves holes there */
	mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
	*m = (struct go_span_memory){ .image = i, .spans = spans, .n_spans = n, .limit = limit };
}

/* ---- memory of copies ---- */

static uint8_t *take(struct go_span_memory *m, uint64_t bytes)
{
	size_t place;

	if (bytes == GO_HEAP_PAGE && !m->room) {
		m->n_room = m->limit / GO_HEAP_PAGE;
		m->room = malloc(m->n_room * GO_HEAP_PAGE);
		m->n_used = m->free = 0;
	}
	if (bytes != GO_HEAP_PAGE || !m->room || (!m->free && m->n_used == m->n_room))
		return malloc(bytes);
	place = m->free ? m->free - 1 : m->n_used++;
	if (m->free)
		memcpy(&m->free, m->room + place * GO_HEAP_PAGE, sizeof(m->free));
	return m->room + place * GO_HEAP_PAGE;
}

static void give_back(struct go_span_memory *m, uint8_t *p)
{
	const uintptr_t at = ((uintptr_t)p - (uintptr_t)m->room) / GO_HEAP_PAGE;

	if (!p || !m->room || at >= m->n_room) {
		free(p);
		return;
	}
	memcpy(p, &m->free, sizeof(m->free));
	m->free = at + 1;
}

static void give_up(struct go_span_memory *m, struct go_objects_span *s)
{
	give_back(m, (uint8_t *)s->memory);
	s->memory = NULL;
	m->held -= s->end - s->start;
}

void go_span_memory_drop(struct go_span_memory *m)
{
	for (size_t i = 0; i < m->n_spans; i++) {
		if (m->spans[i].is_copy && m->spans[i].memory && !m->spans[i].pins)
			give_up(m, &m->spans[i]);
	}
	if (!m->held) {
		free(m->room);
		m->room = NULL;
	}
	malloc_trim(0); /* small blocks stand between the copies */
}

void go_span_memory_close(struct go_span_memory *m)
{
	go_span_memory_drop(m);
	*m = (struct go_span_memory){ 0 };
}

/* The clock: who was used since the hand came by last may stay for another round. */
static void make_room(struct go_span_memory *m, uint64_t bytes)
{
	for (size_t steps = 2 * m->n_spans; m->held && m->held + bytes > m->limit && steps;
	     steps--) {
		struct go_objects_span *s = &m->spans[m->hand];

		m->hand = m->hand + 1 < m->n_spans ? m->hand + 1 : 0;
		if (!s->is_copy || !s->memory || s->pins)
			continue;
		if (s->is_used)
			s->is_used = false;
		else
			give_up(m, s);
	}
}

/* A page that the kernel is just moving (compaction, another node) looks as if it were swapped out
 * and is back in no time. Of many that are really out only the first are waited for. */
static bool read_twice(struct go_span_memory *m, uint64_t start, uint8_t *to, uint64_t bytes)
{
	const struct timespec wait = { .tv_nsec = WAIT_NS };

	if (image_copy(m->image, start, to, bytes) == 0)
		return true;
	if (m->waits < MAX_WAITS) {
		m->waits++;
		nanosleep(&wait, NULL);
	}
	return image_copy(m->image, start, to, bytes) == 0;
}

static void copy(struct go_span_memory *m, struct go_objects_span *s)
{
	const uint64_t bytes = s->end - s->start;
	uint8_t *to;

	make_room(m, bytes);
	to = take(m, bytes);
	if (!to || !read_twice(m, s->start, to, bytes)) {
		give_back(m, to);
		s->is_missing = true;
		return;
	}
	s->memory = to;
	s->is_copy = true;
	m->held += bytes;
}

const uint8_t *go_span_memory_get(struct go_span_memory *m, struct go_objects_span *s)
{
	s->is_used = true;
	if (s->memory || s->is_missing)
		return s->memory;
	if (image_kind(m->image) == IMAGE_CORE) {
		s->memory = image_at(m->image, s->start, s->end - s->start);
		s->is_missing = !s->memory;
	} else {
		copy(m, s);
	}
	return s->memory;
}
