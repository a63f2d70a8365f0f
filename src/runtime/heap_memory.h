/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Memory of a target for readers of heaps: many small reads, near each other.
 * Pieces of 64 KiB are kept, at most 1024 of them. The surprising rule: what was
 * read once is not asked for again, so on a running target a contradiction may
 * only be old; heap_memory_fresh() looks again. Tests give a picture instead of
 * a target.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "target/maps.h"
#include "target/target.h"

enum { HEAP_MEMORY_PAGE = 4096, HEAP_MEMORY_CHUNK = 64 * 1024, HEAP_MEMORY_CHUNKS = 1024 };

/* Bytes of a process that does not exist; both numbers whole pages. */
struct heap_memory_picture {
	uint64_t start;
	const uint8_t *bytes;
	size_t len;
};

struct heap_memory {
	const struct target *target;                /* or */
	const struct heap_memory_picture *pictures; /* disjoint */
	size_t n_pictures;
	int failed; /* -ESRCH, -EPERM, -ENOMEM: nothing more can be read; else 0 */
	struct heap_memory_chunk *chunks[HEAP_MEMORY_CHUNKS];
};
void heap_memory_clear(struct heap_memory *m); /* usable with cleanup() */

/* 0; -ENODATA: a page of it is not there, or -errno. *buf may be changed then. */
int heap_memory_read(struct heap_memory *m, uint64_t addr, void *buf, size_t len);
/* As it is now. */
int heap_memory_fresh(struct heap_memory *m, uint64_t addr, void *buf, size_t len);
/* The word at @addr; 0 when it cannot be read. */
uint64_t heap_memory_word(struct heap_memory *m, uint64_t addr);
/* Memory of a heap: private, writable, no file's, not a stack. */
bool heap_memory_is_anonymous(const struct mapping *m);
/* Are all bytes of [addr, addr + len) such memory? The kernel may have them in
 * several mappings side by side. */
bool heap_memory_covers(const struct maps *maps, uint64_t addr, uint64_t len);

/* Present pages, as reader_present(): 1 and the first run, 0 none, -errno. */
int heap_memory_present(struct heap_memory *m, uint64_t start, uint64_t end, uint64_t *ret_start,
                        uint64_t *ret_end);

/* Of [@start, @end): bytes of pages that are present; as far as it could be looked at. */
uint64_t heap_memory_resident(struct heap_memory *m, uint64_t start, uint64_t end);

/* Walk over the present bytes of [start, end) in pieces of at most @size bytes,
 * each read as it is now. Start with *pos = start. How many bytes are in @buf,
 * and *ret_at their address; 0 at the end, or -errno. Page-aligned. */
ssize_t heap_memory_next(struct heap_memory *m, uint64_t *pos, uint64_t end, void *buf, size_t size,
                         uint64_t *ret_at);
