/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Pages of a target's code that we have moved aside, with copies of ours in their
 * place (alloc/agent_pages.h). Whoever of us reads the target's maps meanwhile is to
 * see them as they are without us: the same modules where they always were, none twice.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/maps.h"

/* What a page is a page of. */
struct maps_moved_page {
	uint64_t at, offset, inode;
	uint32_t dev_major, dev_minor;
	char *name; /* owned */
};

struct maps_moved {
	uint64_t start, end;           /* where the pages of files are meanwhile */
	struct maps_moved_page *pages; /* by address */
	size_t n;
};

void maps_moved_clear(struct maps_moved *v); /* { 0 } is empty */

/* @m as it would be without: what lies in [start, end) of a file is left out, copies count as what
 * they are copies of. -ENOMEM: @m is incomplete, to be cleared. */
int maps_moved_put_back(struct maps *m, const struct maps_moved *v, struct error *err);
