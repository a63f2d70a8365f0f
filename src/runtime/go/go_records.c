/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_records.h"

#include <stdio.h>

#include "runtime/go/go_chain.h"
#include "runtime/go/go_code.h"

enum { WORD = 8, NAME_BYTES = 512, LEAST_BYTES = 32 /* of a record */ };

static uint64_t word(const struct go_emit *e, uint64_t at)
{
	return go_objects_word(e->o, at);
}

/* @left: records that there may still be. */
static int defers(struct go_emit *e, const struct go_goroutine *g, uint64_t *left)
{
	const struct go_layout *l = e->o->module->layout;
	uint64_t at = word(e, g->at + l->g_defer);
	struct go_chain chain = { .left = left };
	int r = 0;

	while (r == 0 && go_chain_goes_on(&chain, at)) {
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

static int panics(struct go_emit *e, const struct go_goroutine *g, uint64_t *left)
{
	const struct go_layout *l = e->o->module->layout;
	uint64_t at = word(e, g->at + l->g_panic);
	struct go_chain chain = { .left = left };
	int r = 0;

	while (r == 0 && go_chain_goes_on(&chain, at)) {
		r = go_emit_at(e, at + l->panic_arg + WORD, GO_TYPES_EFACE, "value of a panic");
		at = word(e, at + l->panic_link);
	}
	return r;
}

int go_records_each(struct go_emit *e, const struct go_goroutine *all, size_t n)
{
	/* a function that defers a call works on the same objects itself: its stack comes first */
	uint64_t left = e->o->readable / LEAST_BYTES;
	int r = go_emit_root(e, "deferred calls", "defer", OBJECT_TIER_REGISTER);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = defers(e, &all[i], &left);
	if (r == 0)
		r = go_emit_root(e, "panics", "panic", OBJECT_TIER_ANONYMOUS);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = panics(e, &all[i], &left);
	return r;
}
