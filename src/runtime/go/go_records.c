/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_records.h"

#include <stdio.h>

#include "runtime/go/go_code.h"

enum { WORD = 8, NAME_BYTES = 512, MAX_RECORDS = 1 << 20 };

static uint64_t word(const struct go_emit *e, uint64_t at)
{
	return go_objects_word(e->o, at);
}

static int defers(struct go_emit *e, const struct go_goroutine *g)
{
	const struct go_layout *l = e->o->module->layout;
	uint64_t at = word(e, g->at + l->g_defer);
	int r = 0;

	for (unsigned i = 0; r == 0 && at && i < MAX_RECORDS; i++) {
		char function[NAME_BYTES], label[NAME_BYTES + 16];

		/* the place behind the defer statement (proc.go, deferproc) */
		go_code_name_at(e->o->module, word(e, at + l->defer_pc), function,
		                sizeof(function));
		snprintf(label, sizeof(label), "%s%sdefer", function, function[0] ? " " : "");
		r = go_emit_word(e, at, 0, GO_TYPES_PLAIN, label);
		/* its closure, when it is the record's own */
		if (r == 0 && !(at >= g->low && at < g->high))
			r = go_emit_at(e, at + l->defer_fn, GO_TYPES_FUNC, label);
		at = word(e, at + l->defer_link);
	}
	return r;
}

static int panics(struct go_emit *e, const struct go_goroutine *g)
{
	const struct go_layout *l = e->o->module->layout;
	uint64_t at = word(e, g->at + l->g_panic);
	int r = 0;

	for (unsigned i = 0; r == 0 && at && i < MAX_RECORDS; i++) {
		r = go_emit_at(e, at + l->panic_arg + WORD, GO_TYPES_EFACE, "value of a panic");
		at = word(e, at + l->panic_link);
	}
	return r;
}

int go_records_each(struct go_emit *e, const struct go_goroutine *all, size_t n)
{
	/* a function that defers a call works on the same objects itself: its stack comes first */
	int r = go_emit_root(e, "deferred calls", "defer", OBJECT_TIER_REGISTER);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = defers(e, &all[i]);
	if (r == 0)
		r = go_emit_root(e, "panics", "panic", OBJECT_TIER_ANONYMOUS);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = panics(e, &all[i]);
	return r;
}
