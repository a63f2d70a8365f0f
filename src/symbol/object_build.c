/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/object_build.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/hash.h"

void object_build_clear(struct object_build *b)
{
	free(b->sections);
	free(b->masks);
	free(b->refs);
	free(b->symbols);
	free(b->strings);
	*b = (struct object_build){ 0 };
}

static int too_many(struct error *err)
{
	return error_set(err, EFBIG, "too much in one library");
}

int object_build_name(struct object_build *b, const char *name, size_t len, uint32_t *ret,
                      struct error *err)
{
	size_t at = b->n_strings ? b->n_strings : 1;
	int r;

	if (!len) {
		*ret = 0;
		return 0;
	}
	if (at + len + 1 > OBJECT_BUILD_MANY * 16u)
		return too_many(err);
	r = array_reserve(&b->strings, &b->cap_strings, at + len + 1, err);
	if (r < 0)
		return r;
	b->strings[0] = '\0';
	memcpy(b->strings + at, name, len);
	b->strings[at + len] = '\0';
	b->n_strings = at + len + 1;
	*ret = at;
	return 0;
}

int object_build_add_mask(struct object_build *b, uint32_t from, uint32_t to, struct error *err)
{
	int r = b->n_masks >= OBJECT_BUILD_MANY ? too_many(err) : 0;

	if (r == 0)
		r = array_reserve(&b->masks, &b->cap_masks, b->n_masks + 1, err);
	if (r == 0)
		b->masks[b->n_masks++] = (struct object_mask){ from, to };
	return r;
}

int object_build_add_ref(struct object_build *b, const struct object_ref *ref, struct error *err)
{
	int r = b->n_refs >= OBJECT_BUILD_MANY ? too_many(err) : 0;

	if (r == 0)
		r = array_reserve(&b->refs, &b->cap_refs, b->n_refs + 1, err);
	if (r == 0)
		b->refs[b->n_refs++] = *ref;
	return r;
}

int object_build_add_symbol(struct object_build *b, const struct object_symbol *s,
                            struct error *err)
{
	int r = b->n_symbols >= OBJECT_BUILD_MANY ? too_many(err) : 0;

	if (r == 0)
		r = array_reserve(&b->symbols, &b->cap_symbols, b->n_symbols + 1, err);
	if (r == 0)
		b->symbols[b->n_symbols++] = *s;
	return r;
}

static int by_place(const void *a, const void *b)
{
	const struct object_mask *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* What was added since @first, by address and apart; inside @size. */
static void join_masks(struct object_build *b, size_t first, uint32_t size)
{
	size_t kept = first;

	if (b->n_masks > first)
		qsort(b->masks + first, b->n_masks - first, sizeof(*b->masks), by_place);
	for (size_t i = first; i < b->n_masks; i++) {
		struct object_mask m = b->masks[i];

		if (m.to > size)
			m.to = size;
		if (m.from >= m.to)
			continue;
		if (kept > first && m.from <= b->masks[kept - 1].to) {
			if (m.to > b->masks[kept - 1].to)
				b->masks[kept - 1].to = m.to;
		} else {
			b->masks[kept++] = m;
		}
	}
	b->n_masks = kept;
}

uint64_t object_build_anchor_hash(const uint8_t *bytes)
{
	uint64_t a, b;

	memcpy(&a, bytes, 8);
	memcpy(&b, bytes + 8, 8);
	a = (a ^ b >> 32 ^ b << 32) * 0x9e3779b97f4a7c15ULL + b;
	return (a ^ a >> 29) * 0xbf58476d1ce4e5b9ULL;
}

static unsigned n_distinct(const uint8_t *bytes)
{
	uint64_t seen[4] = { 0 };
	unsigned n = 0;

	for (int i = 0; i < OBJECT_BUILD_ANCHOR_BYTES; i++)
		seen[bytes[i] >> 6] |= 1ULL << (bytes[i] & 63);
	for (int i = 0; i < 4; i++)
		n += __builtin_popcountll(seen[i]);
	return n;
}

/* The window of unmasked bytes that is least like what is everywhere (padding, prologues):
 * the one with most different bytes, the first of those. */
static void choose_anchor(const struct object_build *b, struct object_section *s,
                          const uint8_t *bytes)
{
	uint32_t from = 0;
	unsigned best = 0;

	s->anchor = OBJECT_BUILD_NO_ANCHOR;
	for (uint32_t i = 0; i <= s->n_masks; i++) {
		const struct object_mask *m = i < s->n_masks ? &b->masks[s->first_mask + i] : NULL;
		uint32_t end = m ? m->from : s->size;

		for (; from + OBJECT_BUILD_ANCHOR_BYTES <= end && best < OBJECT_BUILD_ANCHOR_BYTES;
		     from++) {
			if (n_distinct(bytes + from) <= best)
				continue;
			best = n_distinct(bytes + from);
			s->anchor = from;
		}
		from = m ? m->to : s->size;
	}
	if (best < OBJECT_BUILD_ANCHOR_BYTES / 2)
		s->anchor = OBJECT_BUILD_NO_ANCHOR;
	else
		s->anchor_hash = object_build_anchor_hash(bytes + s->anchor);
}

void object_build_hash(const struct object_build *b, const struct object_section *s, uint8_t *bytes,
                       uint64_t ret[2])
{
	for (uint32_t i = 0; i < s->n_masks; i++) {
		const struct object_mask *m = &b->masks[s->first_mask + i];

		memset(bytes + m->from, 0, m->to - m->from);
	}
	ret[0] = hash_bytes(bytes, s->size, 0);
	ret[1] = hash_bytes(bytes, s->size, 0x6d656d77686f3031ULL);
}

/* "jmp rel32", perhaps behind an endbr64. */
static bool is_jump(const struct object_build *b, const struct object_section *s,
                    const uint8_t *bytes)
{
	static const uint8_t endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	uint32_t at = s->size > 5 ? sizeof(endbr) : 0;

	return s->n_refs == 1 && s->size == at + 5 && !memcmp(bytes, endbr, at) &&
	       bytes[at] == 0xe9 && b->refs[s->first_ref].at == at + 1 &&
	       b->refs[s->first_ref].kind == OBJECT_REF_DIRECT &&
	       b->refs[s->first_ref].addend == -4;
}

int object_build_add_section(struct object_build *b, uint8_t *bytes, uint32_t size,
                             struct error *err)
{
	const struct object_section *last = b->n_sections ? &b->sections[b->n_sections - 1]
	                                                  : &(struct object_section){ 0 };
	struct object_section s = {
		.size = size,
		.unmasked = size,
		.first_mask = last->first_mask + last->n_masks,
		.first_ref = last->first_ref + last->n_refs,
	};
	int r = b->n_sections >= OBJECT_BUILD_MANY ? too_many(err) : 0;

	if (r == 0)
		r = array_reserve(&b->sections, &b->cap_sections, b->n_sections + 1, err);
	if (r < 0)
		return r;
	join_masks(b, s.first_mask, size);
	s.n_masks = b->n_masks - s.first_mask;
	s.n_refs = b->n_refs - s.first_ref;
	for (uint32_t i = 0; i < s.n_masks; i++)
		s.unmasked -= b->masks[s.first_mask + i].to - b->masks[s.first_mask + i].from;
	s.is_jump = is_jump(b, &s, bytes);
	choose_anchor(b, &s, bytes);
	object_build_hash(b, &s, bytes, s.hash);
	b->sections[b->n_sections++] = s;
	return 0;
}
