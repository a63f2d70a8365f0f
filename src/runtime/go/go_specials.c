/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_specials.h"

#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_chain.h"
#include "runtime/go/go_variables.h"

enum {
	LEAST_BYTES = 16, /* of a special */
	WORD = 8,
	NAME_BYTES = 512,
	CLEANUP_WORDS = 3, /* mcleanup.go, cleanupFn: call, fn, arg (1.26+); before: fn */
	/* mfinal.go: finblock, its 4 KiB; the same in all versions */
	FIN_NEXT = 0,
	FIN_COUNT = 16,
	FIN_FIRST = 24,
	FIN_BLOCK = 4096,
	/* mcleanup.go: cleanupQueue.all, cleanupBlock (1.25+) */
	QUEUE_ALL = 128,
	BLOCK_NEXT = 16,
	BLOCK_COUNT = 24,
	BLOCK_FIRST = 32,
	BLOCK_BYTES = 512,
};

enum kind { FINALIZER, PIN, CLEANUP, WEAK, KINDS };

struct special {
	uint64_t at, object;
	enum kind kind;
};

struct specials {
	struct go_emit *e;
	struct special *items; /* owned */
	size_t n, cap;
};

static uint64_t word(const struct specials *s, uint64_t at)
{
	return go_objects_word(s->e->o, at);
}

/* ---- those of objects ---- */

/* runtime.Pinner finds by a finalizer that it was forgotten (pinner.go); what it has pinned hangs
 * on the same object. */
static bool is_pinner(const struct specials *s, uint64_t closure)
{
	char name[NAME_BYTES];

	go_emit_function(s->e, closure, name, sizeof(name));
	return !strncmp(name, "runtime.(*Pinner).", 18);
}

static int note(struct specials *s, const struct go_objects_span *span, uint64_t at)
{
	const struct go_layout *l = s->e->o->module->layout;
	struct special x = { .at = at };
	uint64_t offset = 0;
	uint8_t kind;
	int r;

	if (image_read(s->e->o->image, at + l->special_kind, &kind, 1) < 0)
		return 0;
	/* uint16 before 1.24 */
	image_read(s->e->o->image, at + l->special_offset, &offset,
	           l->special_kind - l->special_offset < WORD ? 2 : WORD);
	x.object = span->start + offset;
	if (kind == l->special_finalizer)
		x.kind = is_pinner(s, word(s, at + l->special_bytes)) ? PIN : FINALIZER;
	else if (kind == l->special_cleanup)
		x.kind = CLEANUP;
	else if (kind == l->special_weak)
		x.kind = WEAK;
	else
		return 0;
	r = array_reserve(&s->items, &s->cap, s->n + 1, s->e->err);
	if (r == 0)
		s->items[s->n++] = x;
	return r;
}

static int collect(struct specials *s)
{
	const struct go_objects *o = s->e->o;
	uint64_t left = o->readable / LEAST_BYTES;

	for (size_t i = 0; i < o->n_spans; i++) {
		struct go_chain chain = { .left = &left };
		uint64_t at = o->spans[i].specials;

		while (go_chain_goes_on(&chain, at)) {
			int r = note(s, &o->spans[i], at);

			if (r < 0)
				return r;
			at = word(s, at + o->module->layout->special_next);
		}
	}
	return 0;
}

/* What is behind struct special: the first word of each kind of special. */
static int tell(struct specials *s, const struct special *x)
{
	const struct go_layout *l = s->e->o->module->layout;
	uint64_t first = x->at + l->special_bytes;
	unsigned words = l->minor >= 26 ? CLEANUP_WORDS : 1;
	int r = 0;

	switch (x->kind) {
	case FINALIZER:
		/* it keeps what the object refers to, and its own closure */
		r = go_emit_word(s->e, x->object, 0, GO_TYPES_PLAIN, "object with finalizer");
		return r < 0 ? r : go_emit_at(s->e, first, GO_TYPES_FUNC, "finalizer");
	case PIN: return go_emit_word(s->e, x->object, 0, GO_TYPES_PLAIN, "runtime.Pinner");
	case CLEANUP:
		for (unsigned w = 0; r == 0 && w < words; w++)
			r = go_emit_at(s->e, first + w * WORD,
			               w + 1 < CLEANUP_WORDS ? GO_TYPES_FUNC : GO_TYPES_PLAIN,
			               w + 1 < CLEANUP_WORDS ? "cleanup" : "argument of a cleanup");
		return r;
	default: return go_emit_at(s->e, first, GO_TYPES_PLAIN, "handle");
	}
}

static int of_objects(struct specials *s)
{
	static const struct {
		const char *name, *kind;
	} roots[KINDS] = {
		[FINALIZER] = { "finalizers", "finalizer" },
		[PIN] = { "pinned objects", "pinned" },
		[CLEANUP] = { "cleanups", "cleanup" },
		[WEAK] = { "weak handles", "weak handle" },
	};
	int r = 0;

	for (unsigned k = 0; r == 0 && k < KINDS; k++) {
		r = go_emit_root(s->e, roots[k].name, roots[k].kind, OBJECT_TIER_REGISTER);
		for (size_t i = 0; r == 0 && i < s->n; i++) {
			if (s->items[i].kind == k)
				r = tell(s, &s->items[i]);
		}
	}
	return r;
}

/* ---- those that wait to be run ---- */

static uint32_t count(const struct specials *s, uint64_t at)
{
	uint32_t n;

	return image_read(s->e->o->image, at, &n, sizeof(n)) == 0 ? n : 0;
}

static bool is_closure(const struct specials *s, uint64_t closure)
{
	return go_module_is_code(s->e->o->module, word(s, closure));
}

/* Blocks of finalizers from @block on; 0: something else. Each is a closure and has the type of its
 * object (finalizer.ot, its last word; a cleanup of 1.24: none); all is nil once it was run. */
static unsigned chain_length(const struct specials *s, uint64_t block)
{
	const struct go_module *m = s->e->o->module;
	const uint64_t bytes = m->layout->finalizer_bytes;
	uint64_t left = s->e->o->readable / FIN_BLOCK;
	struct go_chain chain = { .left = &left };
	unsigned length = 0, used = 0;

	for (; go_chain_goes_on(&chain, block); length++) {
		uint64_t n = count(s, block + FIN_COUNT);

		if (block % WORD || !bytes || n > (FIN_BLOCK - FIN_FIRST) / bytes)
			return 0;
		for (uint64_t i = 0; i < n; i++) {
			uint64_t at = block + FIN_FIRST + i * bytes,
				 type = word(s, at + bytes - WORD);
			uint64_t fn = word(s, at + m->layout->finalizer_fn);

			if ((type && !go_module_is_type(m, type)) || (fn && !is_closure(s, fn)))
				return 0;
			used += fn != 0;
		}
		block = word(s, block + FIN_NEXT);
	}
	return used && !block ? length : 0;
}

/* runtime.allfin. Without symbols: of the variables that runtime.queuefinalizer() uses the one with
 * the longest list of blocks; finq and finc are parts of it. */
static uint64_t finalizer_list(const struct specials *s, const struct go_symbols *symbols)
{
	uint64_t best = go_symbols_find(symbols, "runtime.allfin");
	struct go_variables used;
	unsigned longest = 0;

	if (best)
		return best;
	go_variables_of(s->e->o->module, "runtime.queuefinalizer", GO_VARIABLES_ANY, &used);
	for (size_t i = 0; i < used.n; i++) {
		unsigned n = chain_length(s, word(s, used.at[i]));

		if (n > longest) {
			longest = n;
			best = used.at[i];
		}
	}
	return best;
}

static int queued_finalizers(struct specials *s, uint64_t list)
{
	const struct go_layout *l = s->e->o->module->layout;
	uint64_t block = list ? word(s, list) : 0, left = s->e->o->readable / FIN_BLOCK;
	struct go_chain chain = { .left = &left };
	int r = go_emit_root(s->e, "queued finalizers", "queued finalizer", OBJECT_TIER_REGISTER);

	while (r == 0 && go_chain_goes_on(&chain, block)) {
		uint64_t n = count(s, block + FIN_COUNT);

		if (!l->finalizer_bytes || n > (FIN_BLOCK - FIN_FIRST) / l->finalizer_bytes)
			break;
		for (uint64_t i = 0; r == 0 && i < n; i++) {
			uint64_t at = block + FIN_FIRST + i * l->finalizer_bytes;

			r = go_emit_at(s->e, at + l->finalizer_fn, GO_TYPES_FUNC, "finalizer");
			if (r == 0)
				r = go_emit_at(s->e, at + l->finalizer_arg, GO_TYPES_PLAIN,
				               "object to be finalized");
		}
		block = word(s, block + FIN_NEXT);
	}
	return r;
}

static unsigned cleanup_words(const struct specials *s)
{
	return s->e->o->module->layout->minor >= 26 ? CLEANUP_WORDS : 1;
}

/* Is @queue a runtime.cleanupQueue in whose blocks is something, and does all that is there begin
 * with a closure? */
static bool is_queue(const struct specials *s, uint64_t queue)
{
	const unsigned words = cleanup_words(s);
	uint64_t block = word(s, queue + QUEUE_ALL), all = 0;
	uint64_t left = s->e->o->readable / BLOCK_BYTES;
	struct go_chain chain = { .left = &left };

	while (go_chain_goes_on(&chain, block)) {
		uint64_t n = count(s, block + BLOCK_COUNT);

		if (block % WORD || n > (BLOCK_BYTES - BLOCK_FIRST) / WORD / words)
			return false;
		for (uint64_t i = 0; i < n; i++, all++) {
			uint64_t closure = word(s, block + BLOCK_FIRST + i * words * WORD);

			/* nil: it is being run, and the others of the block are still there */
			if (closure && !is_closure(s, closure))
				return false;
		}
		block = word(s, block + BLOCK_NEXT);
	}
	return all && !block;
}

/* runtime.gcCleanups (1.25+); 0: there is none, or none is known. */
static uint64_t cleanup_queue(const struct specials *s, const struct go_symbols *symbols)
{
	uint64_t at = go_symbols_find(symbols, "runtime.gcCleanups");
	struct go_variables used = { .n = 0 };

	if (!at)
		go_variables_of(s->e->o->module, "runtime.runCleanups", GO_VARIABLES_ANY, &used);
	for (size_t i = 0; !at && i < used.n; i++)
		at = is_queue(s, used.at[i]) ? used.at[i] : 0;
	return at;
}

static int queued_cleanups(struct specials *s, uint64_t queue)
{
	const unsigned words = cleanup_words(s);
	uint64_t block = queue ? word(s, queue + QUEUE_ALL) : 0;
	uint64_t left = s->e->o->readable / BLOCK_BYTES;
	struct go_chain chain = { .left = &left };
	int r = go_emit_root(s->e, "queued cleanups", "queued cleanup", OBJECT_TIER_REGISTER);

	while (r == 0 && go_chain_goes_on(&chain, block)) {
		uint64_t n = count(s, block + BLOCK_COUNT) * (uint64_t)words;

		if (n > (BLOCK_BYTES - BLOCK_FIRST) / WORD)
			break;
		for (uint64_t i = 0; r == 0 && i < n; i++)
			r = go_emit_at(s->e, block + BLOCK_FIRST + i * WORD,
			               i % words + 1 < CLEANUP_WORDS ? GO_TYPES_FUNC
			                                             : GO_TYPES_PLAIN,
			               "cleanup");
		block = word(s, block + BLOCK_NEXT);
	}
	return r;
}

int go_specials_each(struct go_emit *e, const struct go_symbols *symbols)
{
	struct specials s = { .e = e };
	int r = collect(&s);

	if (r == 0)
		r = of_objects(&s);
	if (r == 0)
		r = queued_finalizers(&s, finalizer_list(&s, symbols));
	if (r == 0)
		r = queued_cleanups(&s, cleanup_queue(&s, symbols));
	free(s.items);
	return r;
}
