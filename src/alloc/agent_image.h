/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* All that is executed of the agent: the blob, the table of what is patched and by
 * which plan, the stubs. Made for one address. */

#include "alloc/agent_patch.h"
#include "alloc/agent_place.h"

struct agent_image {
	struct tracee *tracee;
	struct agent_patch *patches;
	size_t n_patches;
	uint8_t *bytes; /* AGENT_CODE_BYTES */
	bool in_pages;  /* set before it is planned: will it be in copies of pages? */
	bool exact;     /* set before it is made: the functions lead to the stubs' exact entries */
	int64_t cpu_at; /* set before it is made, as in struct agent_table */
};

void agent_image_clear(struct agent_image *i); /* { 0 } is empty; usable with cleanup() */

/* Which functions of @t can be patched. An allocation function that cannot, and a module
 * that is too far away, are put into @t's gaps; a free or realloc that cannot is the end
 * of it (-ENOTSUP): blocks would seem to live on. */
int agent_image_plan(struct tracee *t, struct agent_image *ret, struct error *err);
/* From the first patch to the last. */
struct agent_span agent_image_span(const struct agent_image *i);
/* For the place at @base; again for another one. */
int agent_image_make(struct agent_image *i, uint64_t base, struct error *err);
const struct agent_table *agent_image_table(const struct agent_image *i);
