/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/code_history.h"

#include <stdlib.h>

#include "base/array.h"

void code_history_clear(struct code_history *h)
{
	free(h->snapshots);
	*h = (struct code_history){ 0 };
}

void code_history_note(struct code_history *h, u32 changes)
{
	struct code_history_snapshot now = { symbol_space_snapshot(h->space), changes };
	struct error ignored;

	if (array_reserve(&h->snapshots, &h->cap_snapshots, h->n_snapshots + 1, &ignored) == 0)
		h->snapshots[h->n_snapshots++] = now;
}

/* Of the snapshots that were taken at that count of changes; when it has come
 * round and they do not agree, nothing. */
static const struct symbol_mapping *unseen_mapping(const struct code_history *h, u64 count, u64 at)
{
	const struct symbol_mapping *found = NULL;

	for (size_t i = 0; i < h->n_snapshots; i++) {
		const struct symbol_mapping *m;

		if ((h->snapshots[i].changes & STACK_PC_MASK) != count)
			continue;
		m = symbol_space_find_in(h->space, at, h->snapshots[i].number);
		if (m && found && (m->module != found->module || m->bias != found->bias))
			return NULL;
		found = m ? m : found;
	}
	return found;
}

const struct symbol_mapping *code_history_mapping(const struct code_history *h, u64 pc, u64 at)
{
	u64 tag = pc >> STACK_PC_SHIFT & STACK_PC_MASK;

	if (pc & STACK_PC_UNSEEN)
		return unseen_mapping(h, tag, at);
	if (tag)
		return symbol_space_find_in(h->space, at, tag);
	return symbol_space_is_sure(h->space, at) ? symbol_space_find(h->space, at) : NULL;
}
