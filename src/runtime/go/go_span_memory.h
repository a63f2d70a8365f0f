/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The memory of the spans that a walk of a heap looks at. Of a core it is the
 * mapped file; of a process it is copied span by span and given up again, so that
 * a heap of many GiB is walked with some MiB. What is held at once has a limit; what
 * was given up is read again when it is asked for. What cannot be read is missing only
 * when it could not be read a second time either.
 */

#include <stdbool.h>
#include <stdint.h>

#include "target/image.h"

struct go_objects_span;

struct go_span_memory {
	struct image *image;
	struct go_objects_span *spans; /* of the heap; not owned */
	size_t n_spans;
	size_t hand;           /* of the clock: the span that is looked at next */
	uint64_t held, limit;  /* bytes copied and not given up; bytes that may be */
	unsigned waits;        /* for pages that were not there at first */
	uint8_t *room;         /* for copies of spans of one page, which most are; owned */
	size_t n_room, n_used; /* places in it; those that have been used */
	size_t free;           /* place + 1, of those that are free again; each has the next one */
};
/* { 0 } is closed. @limit: bytes that may be held. */
void go_span_memory_open(struct go_span_memory *m, struct image *i, struct go_objects_span *spans,
                         size_t n, uint64_t limit);
void go_span_memory_close(struct go_span_memory *m);
/* Give up all that is held; it can be asked for again. */
void go_span_memory_drop(struct go_span_memory *m);

/* The span's bytes, or NULL: they are not there. Valid until the next call for another span, or
 * as long as s->pins is not 0. */
const uint8_t *go_span_memory_get(struct go_span_memory *m, struct go_objects_span *s);
