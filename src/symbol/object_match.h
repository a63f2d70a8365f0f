/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where a build's sections are in a linked file. See object_code.h for what is believed. */

#include "symbol/object_build.h"
#include "target/elf_file.h"

enum { OBJECT_MATCH_CANDIDATES = 4 };

struct object_place {
	uint64_t vaddr[OBJECT_MATCH_CANDIDATES]; /* where its bytes are */
	unsigned n;                              /* more than there is room for: that + 1 */
	bool found;                              /* at vaddr[0], and nothing speaks against it */
};

struct object_match {
	const struct object_build *build;
	struct object_place *places; /* of its sections */
	size_t bytes;                /* compared and found */
};

/* One pass over the executable segments of @f for all of @n matches, whose builds are set;
 * the rest is filled. */
int object_match_find(struct object_match *matches, size_t n, struct elf_file *f,
                      struct error *err);
void object_match_clear(struct object_match *m); /* { 0 } is empty */
