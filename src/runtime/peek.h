/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A target's memory for code that follows pointers: small reads through a cache
 * of pages, large ones past it. It stands on target/reader.h, so nothing that is
 * not present is ever touched. The surprising rule: cached pages are as old as
 * their first read; call peek_forget() before anything is looked at again. With
 * pieces instead of a target the same code runs over pictures (tests, fuzzing).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/image.h"
#include "target/target.h"

struct peek_piece {
	uint64_t start, end;
	const uint8_t *bytes;
};

struct peek {
	const struct target *target; /* NULL: an image, or pieces */
	struct image *image;
	const struct peek_piece *pieces;
	size_t n_pieces;
	struct peek_page *pages;
	uint8_t *bytes; /* of the pages */
	int gone;       /* -ESRCH, -EPERM: a read failed because of the whole target */
};

int peek_open(struct peek *p, const struct target *t, struct error *err);
/* Memory that stands still: a core, a copy. */
int peek_open_image(struct peek *p, struct image *i, struct error *err);
/* @pieces ascending; they stay the caller's. */
int peek_open_pieces(struct peek *p, const struct peek_piece *pieces, size_t n, struct error *err);
void peek_close(struct peek *p); /* { 0 } is closed; usable with cleanup() */
void peek_forget(struct peek *p);

/* All @len bytes (at most 64 KiB), from the cache where it has them; false: not there. */
bool peek_read(struct peek *p, uint64_t addr, void *buf, size_t len);
/* The 8 bytes at @addr; 0 when they are not there. */
uint64_t peek_word(struct peek *p, uint64_t addr);
/* What is there of a large range, fresh; the rest becomes zeros. Returns the bytes that were. */
uint64_t peek_fill(struct peek *p, uint64_t addr, void *buf, size_t len);
/* The first run of present pages in [@start, @end), which are page-aligned; false: none. */
bool peek_present(struct peek *p, uint64_t start, uint64_t end, uint64_t *ret_start,
                  uint64_t *ret_end);
