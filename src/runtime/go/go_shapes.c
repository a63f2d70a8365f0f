/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_shapes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_captured.h"

enum {
	WORD = 8,
	MAX_WORDS = 4096,          /* pointer words of an object that is looked at */
	MAX_CONTENT = 64,          /* of which so many are followed */
	MAX_TRIES_LEAST = 1 << 24, /* of types and words of candidates, in all */
	MAX_TRIES_EACH = 64,       /* and for each object */
	NAME_BYTES = 512,
};

struct candidate {
	uint32_t type, n;
	bool is_general; /* in the way of others, but nothing to tell */
};

struct shape {
	uint32_t first, n; /* of candidates */
};

struct go_shapes {
	struct go_claims *claims;
	struct go_captures *captures; /* NULL: nothing is known of them */
	const struct go_rtypes *types;
	go_shapes_known_fn known;
	void *arg;
	struct hash_map by_mask; /* class and pointer words -> shape */
	struct shape *shapes;
	size_t n_shapes, cap_shapes;
	struct candidate *candidates;
	size_t n_candidates, cap_candidates;
	uint64_t tries, max_tries;
	struct error *err;
	/* the object that is looked at */
	struct pointer_word {
		uint32_t offset;
		uint64_t value;
	} words[MAX_WORDS];
	size_t n_words;
};

struct go_shapes *go_shapes_close(struct go_shapes *s)
{
	if (!s)
		return NULL;
	go_captured_close(s->captures);
	hash_map_clear(&s->by_mask);
	free(s->shapes);
	free(s->candidates);
	free(s);
	return NULL;
}

int go_shapes_open(struct go_claims *c, const struct go_rtypes *types, go_shapes_known_fn known,
                   void *arg, struct go_shapes **ret, struct error *err)
{
	struct go_shapes *s = calloc(1, sizeof(*s));

	if (!s)
		return error_oom(err);
	s->claims = c;
	s->types = types;
	s->known = known;
	s->arg = arg;
	s->err = err;
	s->max_tries = MAX_TRIES_LEAST + MAX_TRIES_EACH * c->objects->taken_objects;
	*ret = s;
	return go_captured_open(c->objects->module, c->types, c->texts, &s->captures, err);
}

/* ---- candidates: size class and pointer words ---- */

static int note_word(void *arg, uint32_t offset, uint64_t value)
{
	struct go_shapes *s = arg;

	if (s->n_words == MAX_WORDS)
		return 1;
	s->words[s->n_words++] = (struct pointer_word){ offset, value };
	return 0;
}

static int add_candidate(struct go_shapes *s, uint32_t type, uint64_t n, bool is_general)
{
	int r = array_reserve(&s->candidates, &s->cap_candidates, s->n_candidates + 1, s->err);

	if (r == 0)
		s->candidates[s->n_candidates++] = (struct candidate){ type, (uint32_t)n,
			                                               is_general };
	return r;
}

/* All types that the object may be, once or several times behind each other. */
static int find_candidates(struct go_shapes *s, size_t span, uint32_t slot)
{
	uint64_t end = s->words[s->n_words - 1].offset + WORD;
	size_t n_all;
	const struct go_rtypes_one *all = go_rtypes_all(s->types, &n_all);
	int r = 0;

	s->tries += n_all;
	for (size_t i = 0; r == 0 && i < n_all; i++) {
		uint64_t rest = end - all[i].pointer_bytes, n;
		uint32_t type;

		if (all[i].pointer_bytes > end || rest % all[i].size)
			continue;
		n = rest / all[i].size + 1;
		if (!go_claims_fits(s->claims, n * all[i].size, span))
			continue;
		type = go_types_of_descriptor(s->claims->types, all[i].at);
		if (type && go_claims_is(s->claims, type, n, span, slot))
			r = add_candidate(s, type, n, go_rtypes_is_general(s->types, all[i].at));
	}
	return r;
}

/* Those of the object whose words are noted; objects of one shape share them. */
static const struct shape *shape_of(struct go_shapes *s, size_t span, uint32_t slot)
{
	uint64_t key = hash_u64(s->claims->objects->spans[span].elemsize), *found;
	struct shape x = { .first = (uint32_t)s->n_candidates };

	for (size_t i = 0; i < s->n_words; i++)
		key = hash_u64(key ^ s->words[i].offset);
	found = hash_map_get(&s->by_mask, key);
	if (found)
		return &s->shapes[*found];
	if (find_candidates(s, span, slot) < 0 || s->n_candidates > UINT32_MAX / 2 ||
	    array_reserve(&s->shapes, &s->cap_shapes, s->n_shapes + 1, s->err) < 0 ||
	    hash_map_put(&s->by_mask, key, s->n_shapes, s->err) < 0)
		return NULL;
	x.n = (uint32_t)(s->n_candidates - x.first);
	s->shapes[s->n_shapes] = x;
	return &s->shapes[s->n_shapes++];
}

/* ---- content ---- */

static uint64_t word(const struct go_shapes *s, uint64_t at)
{
	return go_objects_word(s->claims->objects, at);
}

/* Do @bytes at @value lie in one object, or in memory that is no heap? */
static bool bytes_fit(struct go_shapes *s, uint64_t value, uint64_t bytes)
{
	const struct image_segment *in;
	size_t span = 0;
	uint32_t slot = go_objects_find(s->claims->objects, value, &span);
	const struct go_objects_span *x = &s->claims->objects->spans[span];

	if (slot != UINT32_MAX)
		return bytes <= go_objects_address(x, slot) + x->elemsize - value;
	in = image_find(s->claims->objects->image, value);
	return in && bytes <= in->end - value;
}

/* Does what the graph knows of an object contradict the claim? 1: it confirms it. */
static int compare(struct go_shapes *s, uint32_t slot, const struct go_claims_type *claimed)
{
	struct go_claims_type known = s->known(s->arg, slot);

	if (!known.layout || !claimed->layout)
		return 0;
	/* of a type that DWARF and a descriptor describe there may be two */
	return known.layout >> 1 == claimed->layout >> 1 ||
	                       go_types_get(s->claims->types, known.layout >> 1)->name ==
	                               go_types_get(s->claims->types, claimed->layout >> 1)->name
	               ? 1
	               : -1;
}

/* -1: it cannot be; 0: nothing follows; 1: it agrees. */
static int pointer_agrees(struct go_shapes *s, const struct go_types_slot *slot, uint64_t at,
                          uint64_t value)
{
	struct go_claims_type claimed;
	size_t span = 0;
	uint32_t to = go_objects_find(s->claims->objects, value, &span);
	int known;

	if (to == UINT32_MAX)
		return image_find(s->claims->objects->image, value) ? 0 : -1;
	switch (go_claims_judge(s->claims, slot, at, value, span, to, &claimed)) {
	case GO_CLAIMS_SILENT: return 0;
	case GO_CLAIMS_REFUSED: return -1;
	case GO_CLAIMS_AGREED: break;
	}
	known = compare(s, to, &claimed);
	return known < 0 ? -1 : 1;
}

static int word_agrees(struct go_shapes *s, const struct go_types_slot *slot, uint64_t at,
                       uint64_t value)
{
	uint64_t n;

	switch (slot->what) {
	case GO_TYPES_STRING:
		n = word(s, at + WORD);
		return !n ? 0 : bytes_fit(s, value, n) ? 1 : -1;
	case GO_TYPES_SLICE:
		n = word(s, at + 2 * WORD);
		if (word(s, at + WORD) > n ||
		    n > UINT64_MAX / 2 / (go_types_get(s->claims->types, slot->to)->size + 1) ||
		    !bytes_fit(s, value, n * go_types_get(s->claims->types, slot->to)->size))
			return -1;
		return n ? pointer_agrees(s, slot, at, value) : 0;
	case GO_TYPES_EFACE:
	case GO_TYPES_IFACE:
		if (!go_claims_interface(s->claims, slot->what, at))
			return -1;
		return pointer_agrees(s, slot, at, value) < 0 ? -1 : 1;
	default: return pointer_agrees(s, slot, at, value);
	}
}

/* Two words that are no pointers but say something of a nil pointer: a string of some bytes, an
 * interface with a type. -1: it cannot be. */
static int nil_agrees(struct go_shapes *s, const struct go_types_slot *slot, uint64_t at)
{
	switch (slot->what) {
	case GO_TYPES_STRING:
	case GO_TYPES_SLICE: return word(s, at + WORD) ? -1 : 0;
	case GO_TYPES_EFACE:
	case GO_TYPES_IFACE:
		return word(s, at - WORD) && !go_claims_interface(s->claims, slot->what, at) ? -1
		                                                                             : 0;
	default: return 0;
	}
}

/* -1: the object cannot be @k; else how much of it says that it is. */
static int content_agrees(struct go_shapes *s, const struct candidate *k, uint64_t address)
{
	int sum = 0;

	s->tries += 1 + (s->n_words < MAX_CONTENT ? s->n_words : MAX_CONTENT);
	for (size_t i = 0; i < s->n_words && i < MAX_CONTENT; i++) {
		const struct pointer_word *w = &s->words[i];
		const struct go_types_type *t = go_types_get(s->claims->types, k->type);
		const struct go_types_slot *found = go_types_slot_at(t, w->offset % t->size);
		struct go_types_slot slot;
		int r;

		if (!found)
			return -1;
		slot = *found; /* types may move */
		r = w->value ? word_agrees(s, &slot, address + w->offset, w->value)
		             : nil_agrees(s, &slot, address + w->offset);
		if (r < 0)
			return -1;
		sum += r;
	}
	return sum;
}

/* The object's shape; NULL: it has none to guess by. */
static const struct shape *look_at(struct go_shapes *s, size_t span, uint32_t slot)
{
	const struct go_objects_span *x = &s->claims->objects->spans[span];

	s->n_words = 0;
	if (x->no_scan || s->tries > s->max_tries ||
	    go_objects_scan(s->claims->objects, span, slot - x->first, note_word, s) != 0 ||
	    !s->n_words)
		return NULL;
	return shape_of(s, span, slot);
}

static uint64_t data_of(const struct go_shapes *s, size_t span, uint32_t slot)
{
	const struct go_objects_span *x = &s->claims->objects->spans[span];

	return go_objects_address(x, slot) + go_claims_header(x);
}

/* ---- closures ---- */

/* "main.(*rec).say-fm", which is the method value of a *main.rec: the type's name. */
static bool receiver_of(const char *function, char *buf, size_t size)
{
	const char *end = strstr(function, "-fm"), *star = strstr(function, ".(*"), *dot;

	if (!end || end[3])
		return false;
	if (star) {
		snprintf(buf, size, "*%.*s.%.*s", (int)(star - function), function,
		         (int)strcspn(star + 3, ")"), star + 3);
		return true;
	}
	for (dot = end; dot > function && *dot != '.'; dot--)
		;
	snprintf(buf, size, "%.*s", (int)(dot - function), function);
	return true;
}

/* struct { F uintptr; R T } for a method value, struct { F uintptr; X0 ...; } or, up to 1.20, with
 * the variables' names for others (closure.go of the compiler). What stands behind F; NULL: it is
 * none. */
static const char *captured_by(struct go_shapes *s, const struct candidate *k)
{
	const char *name = object_graph_name(s->claims->texts,
	                                     go_types_get(s->claims->types, k->type)->name);

	if (!strncmp(name, "noalg.", 6))
		name += 6;
	return k->n == 1 && !strncmp(name, "struct { F uintptr; ", 20) ? name + 20 : NULL;
}

static bool is_closure(struct go_shapes *s, const struct candidate *k, const char *receiver)
{
	const char *behind = captured_by(s, k);

	if (!behind || !receiver)
		return behind && strncmp(behind, "R ", 2) != 0;
	return !strncmp(behind, "R ", 2) && !strncmp(behind + 2, receiver, strlen(receiver)) &&
	       !strcmp(behind + 2 + strlen(receiver), " }");
}

/* What the variables of its function say of a closure's candidate. */
static enum go_captured captured(struct go_shapes *s, size_t span, uint32_t slot,
                                 const struct candidate *k, bool is_method)
{
	return s->captures && !is_method
	               ? go_captured_fits(s->captures, word(s, data_of(s, span, slot)), k->type)
	               : GO_CAPTURED_UNKNOWN;
}

/* One whose variables all have the names of the function's is it; one of which nothing is said is
 * as good as another. */
bool go_shapes_closure(struct go_shapes *s, size_t span, uint32_t slot, const char *function,
                       struct go_claims_type *ret, bool *sure)
{
	const struct shape *shape = look_at(s, span, slot);
	const struct candidate *best = NULL;
	char receiver[NAME_BYTES];
	bool is_method = receiver_of(function, receiver, sizeof(receiver));
	enum go_captured most = GO_CAPTURED_NO;
	unsigned n = 0, agree = 0;

	for (uint32_t i = 0; shape && i < shape->n; i++) {
		const struct candidate *k = &s->candidates[shape->first + i];
		enum go_captured is;

		if (!is_closure(s, k, is_method ? receiver : NULL))
			continue;
		n++;
		is = captured(s, span, slot, k, is_method);
		if (is < most || content_agrees(s, k, data_of(s, span, slot)) < 0)
			continue;
		agree = is > most ? 1 : agree + 1;
		most = is;
		best = k;
	}
	if (agree != 1)
		return false;
	*sure = n == 1 || most == GO_CAPTURED_BY_NAME;
	*ret = go_claims_name(s->claims, best->type, false);
	return ret->layout != 0;
}

/* ---- others ---- */

bool go_shapes_guess(struct go_shapes *s, size_t span, uint32_t slot, struct go_claims_type *ret)
{
	const struct shape *shape = look_at(s, span, slot);
	const struct candidate *best = NULL;

	for (uint32_t i = 0; shape && i < shape->n; i++) {
		const struct candidate *k = &s->candidates[shape->first + i];
		int sum = content_agrees(s, k, data_of(s, span, slot));

		if (sum < 0)
			continue;
		/* two that can be, or one of several of which nothing speaks for it */
		if (best || (!sum && shape->n > 1))
			return false;
		best = k;
	}
	if (!best || best->is_general)
		return false;
	*ret = go_claims_name(s->claims, best->type, best->n > 1);
	if (captured_by(s, best))
		go_claims_closure_name(s->claims, data_of(s, span, slot), ret);
	return ret->text != 0;
}
