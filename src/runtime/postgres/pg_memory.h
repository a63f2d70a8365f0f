/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The target's heap for a walk: a copy of its private writable memory, taken
 * in one go so that a running server changes little under the walk, and reads
 * from the target for all that is not in the copy. Reading never makes pages
 * in the target (target/reader.h). The surprising rule: constant data that the
 * process itself never touched (names of contexts: a child has no pages of the
 * server's .rodata before it reads them) comes from the mapped file.
 *
 * Of a process that stands still a copy is taken, too: it may go on before its
 * contexts are walked. What is too large for that is read on demand, each
 * page once, and the process has to stand still until the walk is done.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/maps.h"
#include "target/target.h"

struct pg_memory {
	const struct target *target; /* NULL: only what was copied (tests) */
	struct pg_piece {
		uint64_t start, end;
		uint8_t *bytes;
		uint8_t *present; /* one byte a page: enum pg_page */
	} * pieces;
	size_t n_pieces, cap_pieces;
	uint64_t copied_bytes;
	bool on_demand;
	struct maps maps;
	struct pg_file {
		uint64_t inode;
		uint32_t dev_major, dev_minor;
		int fd; /* -1: could not be opened */
	} * files;
	size_t n_files, cap_files;
};
void pg_memory_clear(struct pg_memory *m);

/* Take a copy (replacing an older one, whose buffers are used again). A target whose private
 * writable memory is larger than 256 MiB is not copied: *m then reads live. */
int pg_memory_copy(const struct target *t, struct pg_memory *m, struct error *err);

/* The same of a target that stands still. Beyond 16 MiB m->on_demand is set: keep it stopped. */
int pg_memory_copy_stopped(const struct target *t, struct pg_memory *m, struct error *err);

/* Add bytes to the copy: tests and fuzzing. @start must be page-aligned. */
int pg_memory_add(struct pg_memory *m, uint64_t start, const void *bytes, size_t len,
                  struct error *err);

/* Exactly @len bytes: 0 or -errno, without a message. */
int pg_memory_read(struct pg_memory *m, uint64_t addr, void *buf, size_t len);

/* A 64-bit word; 0 when it cannot be read. */
uint64_t pg_memory_word(struct pg_memory *m, uint64_t addr);

/* A NUL-terminated string cut to @size; control bytes become blanks. "" when
 * @addr is 0 or not readable. */
void pg_memory_string(struct pg_memory *m, uint64_t addr, char *buf, size_t size);
