/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_block.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_format.h"
#include "alloc/agent_place.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "target/maps.h"

enum {
	HEAD_BYTES = 64 << 10, /* of the heap, where a static program's first thread is */
	TOP_BYTES = 16 << 10,  /* of a thread's stack, which ends with its struct pthread */
	PTHREAD_WORDS = 288,   /* 2304 bytes, the size since 2.4 */
	FIRST_WORD = AGENT_TID_AT / 8 + 1,
	MAX_ARGUMENTS = 1 << 16,
	ARGC_NEAR = 5, /* words: a static program notes the place a little below */
};

struct finding {
	const struct target *t;
	struct maps maps;
	pid_t *tids;
	size_t n_tids;
	const struct mapping *stack; /* the first thread's */
};

static void finding_clear(struct finding *f)
{
	maps_clear(&f->maps);
	free(f->tids);
}

static bool read_words(const struct target *t, uint64_t at, uint64_t *words, size_t n)
{
	return agent_place_read(t, at, words, n * sizeof(*words)) == (ssize_t)(n * sizeof(*words));
}

static bool is_thread(const struct finding *f, uint32_t tid)
{
	for (size_t i = 0; i < f->n_tids; i++) {
		if ((uint32_t)f->tids[i] == tid)
			return true;
	}
	return false;
}

/* ---- the words of one thread ---- */

/* Address and size of what was mapped for it, of which the guard is the lowest part. */
static bool is_mapped_block(const struct finding *f, uint64_t thread, const uint64_t *w)
{
	const struct mapping *m = maps_find(&f->maps, thread);

	return m && m > f->maps.items && m[-1].end == m->start && m[-1].prot == 0 &&
	       w[0] >= m[-1].start && w[0] < m->start && w[2] == m->start - w[0] &&
	       w[1] > thread - w[0] && w[1] <= m->end - w[0];
}

/* The first thread's are no address, the place of argc, and no guard. */
static bool is_first_block(const struct finding *f, const uint64_t *w)
{
	uint64_t near[ARGC_NEAR], end;

	if (!f->stack || w[0] || w[2] || w[1] & 7 || w[1] < f->stack->start ||
	    w[1] >= f->stack->end || !read_words(f->t, w[1], near, ARGC_NEAR))
		return false;
	for (size_t i = 0; i < ARGC_NEAR; i++) {
		if (near[i] && near[i] < MAX_ARGUMENTS &&
		    read_words(f->t, w[1] + 8 * (i + near[i] + 1), &end, 1) && !end)
			return true;
	}
	return false;
}

/* The one offset that fits. */
static uint32_t offset_in(const struct finding *f, uint64_t thread)
{
	uint64_t w[PTHREAD_WORDS];
	uint32_t found = 0;

	if (!read_words(f->t, thread, w, ARRAY_SIZE(w)))
		return 0;
	for (uint32_t i = FIRST_WORD; i + 2 < PTHREAD_WORDS; i++) {
		if (!is_mapped_block(f, thread, w + i) && !is_first_block(f, w + i))
			continue;
		if (found)
			return 0;
		found = 8 * i;
	}
	return found;
}

/* ---- threads ---- */

static uint32_t search(const struct finding *f, uint64_t at, size_t bytes)
{
	const size_t n = bytes / 8, tid_word = AGENT_TID_AT / 8;
	cleanup_free uint64_t *w = malloc(bytes);
	uint32_t found = 0;

	if (!w || !read_words(f->t, at, w, n))
		return 0;
	/* aligned to 16 at least: tcb, dtv, self */
	for (size_t i = 0; !found && i + tid_word < n; i += 2) {
		if (w[i] == at + 8 * i && w[i + 2] == w[i] &&
		    is_thread(f, (uint32_t)w[i + tid_word]))
			found = offset_in(f, w[i]);
	}
	return found;
}

static uint32_t search_mapping(const struct finding *f, const struct mapping *m)
{
	const uint64_t bytes = m->end - m->start;
	const bool has_guard = m > f->maps.items && m[-1].end == m->start && m[-1].prot == 0;

	if ((m->prot & ~(unsigned)MAPS_EXEC) != (MAPS_READ | MAPS_WRITE) || m->inode ||
	    (m->name[0] && strcmp(m->name, "[heap]")))
		return 0;
	if (has_guard && bytes > TOP_BYTES)
		return search(f, m->end - TOP_BYTES, TOP_BYTES);
	return search(f, m->start, bytes < HEAD_BYTES ? bytes : HEAD_BYTES);
}

uint32_t agent_block_find(const struct target *t)
{
	cleanup(finding_clear) struct finding f = { .t = t };
	struct error unused;
	uint32_t found = 0;

	if (target_threads(t, &f.tids, &f.n_tids, &unused) < 0 ||
	    maps_read(t, &f.maps, &unused) < 0)
		return 0;
	for (size_t i = 0; i < f.maps.n_items; i++) {
		if (!strcmp(f.maps.items[i].name, "[stack]"))
			f.stack = &f.maps.items[i];
	}
	for (size_t i = 0; !found && i < f.maps.n_items; i++)
		found = search_mapping(&f, &f.maps.items[i]);
	return found;
}
