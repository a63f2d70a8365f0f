/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What waits to be sent, on disk: a folder with one file for each item (fields of
 * protobuf's wire format, profile/proto.h). An item is on disk when
 * push_queue_add() returns, and gone when push_queue_remove() does. The
 * surprising rule: what does not fit pushes out the oldest, so that the newest
 * captures arrive when the other side comes back after days.
 *
 * The name of one more file says which capture was put in last. An item is in the
 * queue before it is noted there, and both before it can be taken: what the
 * spool has beyond that number was never queued.
 *
 * No function may be called by two threads at once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { PUSH_QUEUE_TEXT_BYTES = 128, PUSH_QUEUE_MAX_ITEM = 64 << 20, PUSH_QUEUE_MAX_ITEMS = 100000 };

struct push_queue_item {
	char id[PUSH_QUEUE_TEXT_BYTES]; /* of the capture */
	char target[PUSH_QUEUE_TEXT_BYTES], trigger[PUSH_QUEUE_TEXT_BYTES];
	char kind[PUSH_QUEUE_TEXT_BYTES]; /* "heap", "map" ...; "": heap */
	int64_t unix_ns;
	const void *data; /* a gzipped pprof profile */
	size_t len;
};

struct push_queue {
	int folder; /* -1: not open */
	uint64_t max_bytes;
	struct push_queue_entry {
		uint64_t number, bytes;
	} * entries; /* oldest first, from ->first on */
	size_t first, n, cap;
	uint64_t next_number, bytes;
	bool has_last;
	uint64_t last;         /* number of the capture that was put in last (spool.h) */
	uint64_t dropped_full; /* since it was opened */
	uint64_t damaged;      /* files that were none of ours */
};

/* Makes @path with mode 0700; what is there from before is kept. */
int push_queue_open(const char *path, uint64_t max_bytes, struct push_queue *ret,
                    struct error *err);
void push_queue_close(struct push_queue *q);

size_t push_queue_length(const struct push_queue *q);
/* From now on that capture, and all before it, count as put in. */
int push_queue_note(struct push_queue *q, uint64_t number, struct error *err);
/* -EFBIG: larger than the queue or than PUSH_QUEUE_MAX_ITEM. */
int push_queue_add(struct push_queue *q, const struct push_queue_item *item, struct error *err);
/* The oldest one: 1, or 0 if there is none. ->data is in *memory, the caller's to free. One
 * that cannot be read is dropped, and counted. */
int push_queue_peek(struct push_queue *q, struct push_queue_item *ret, void **memory,
                    uint64_t *number, struct error *err);
/* The item of that number, if it is still there. */
void push_queue_remove(struct push_queue *q, uint64_t number);
