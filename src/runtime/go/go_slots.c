/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_slots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/go/go_chain.h"
#include "runtime/go/go_machine.h"
#include "runtime/go/go_waiting.h"

enum {
	WORD = 8,
	LABEL_BYTES = 512,
	MAX_WORDS_LEAST = 4096,
	LEAST_RECORDS = 4096,
	WORK = 64,           /* slots of variables that are looked at for each word of the stack */
	MAX_ARGUMENTS = 256, /* bytes behind a frame, where arguments in registers are kept */
	LABELS = 4,          /* bytes of new labels for each byte of a stack */
	LABELS_LEAST = 1 << 20,
};

struct making {
	struct go_slots *s;
	const struct go_frames *f;
	const struct go_goroutine *g;
	struct image *image;
	size_t max;
	uint64_t records; /* that runtime keeps of it, at most */
	uint64_t work;    /* that may still be done */
	uint64_t labels;  /* bytes of new ones that may still be made */
	struct error *err;
};

void go_slots_clear(struct go_slots *s)
{
	free(s->words);
	free(s->values);
	hash_map_clear(&s->followed);
	hash_map_clear(&s->joined);
	*s = (struct go_slots){ 0 };
}

/* ---- words ---- */

static int add_word(struct making *m, const struct go_slots_word *w)
{
	struct go_slots *s = m->s;
	int r;

	if (w->at < m->g->sp || w->at >= m->g->high || w->at % WORD || s->n_words >= m->max)
		return 0;
	r = array_reserve(&s->words, &s->cap_words, s->n_words + 1, m->err);
	if (r == 0)
		s->words[s->n_words++] = *w;
	return r;
}

/* Of what there is too much, the rest is left out. */
static bool take_work(struct making *m, uint64_t n)
{
	m->work = m->work < n ? 0 : m->work - n;
	return m->work;
}

/* Words of @n of @type that lie at @at. */
static int add_pointed(struct making *m, uint64_t at, uint32_t type, uint64_t n, uint32_t label,
                       bool is_used)
{
	const struct go_types_type t = *go_types_get(m->s->claims->types, type);
	uint64_t room = m->g->high - at;
	int r = 0;

	if (!t.size || !t.n_slots || n > room / t.size)
		return 0;
	for (uint64_t k = 0; r == 0 && k < n && m->s->n_words < m->max; k++) {
		if (!take_work(m, t.n_slots))
			return 0;
		for (uint32_t i = 0; r == 0 && i < t.n_slots; i++)
			r = add_word(m, &(struct go_slots_word){ .at = at + k * t.size +
			                                               t.slots[i].offset,
			                                         .label = label,
			                                         .type = type,
			                                         .offset = t.slots[i].offset,
			                                         .is_used = is_used });
	}
	return r;
}

/* ---- variables ---- */

/* The address of a piece's byte @offset (of the variable): 1; 2: it is in a register, *ret its
 * number; 0: not known. */
static int place_of(const struct making *m, size_t frame, const struct go_locals_piece *p,
                    uint64_t offset, uint64_t *ret)
{
	const struct go_frames_frame *f = &m->f->frames[frame];

	if (p->where == GO_LOCALS_STACK) {
		*ret = f->cfa + (uint64_t)p->cfa + (offset - p->offset);
		return 1;
	}
	if (p->where != GO_LOCALS_REGISTER || offset - p->offset >= WORD)
		return 0;
	if (frame && m->f->codes[f[-1].code].spills) {
		*ret = go_machine_spilled(f[-1].sp, p->reg);
		return *ret != 0;
	}
	*ret = p->reg;
	return !frame && m->g->thread && m->g->is_exact && p->reg < IMAGE_REGISTERS ? 2 : 0;
}

static const struct go_locals_piece *piece_of(const struct making *m,
                                              const struct go_locals_variable *v, uint64_t offset)
{
	const struct go_locals_piece *p = go_locals_pieces(m->s->locals, v);

	for (uint32_t i = 0; i < v->n; i++) {
		if (offset >= p[i].offset && offset - p[i].offset + WORD <= p[i].bytes)
			return &p[i];
	}
	return NULL;
}

static int put_together(struct making *m, size_t frame, const struct go_locals_variable *v,
                        uint32_t *ret)
{
	struct go_slots *s = m->s;
	const struct go_locals_piece *p = go_locals_pieces(s->locals, v);
	struct go_slots_value *to;
	int r = array_reserve(&s->values, &s->cap_values, s->n_values + 1, m->err);

	if (r < 0)
		return r;
	to = &s->values[s->n_values++];
	*ret = (uint32_t)s->n_values;
	memset(to, 0xff, sizeof(*to));
	for (uint32_t i = 0; i < v->n; i++) {
		uint64_t at;
		int where = place_of(m, frame, &p[i], p[i].offset, &at);

		if (p[i].offset > sizeof(to->bytes) || p[i].bytes > sizeof(to->bytes) - p[i].offset)
			continue;
		if (where == 1)
			image_read(m->image, at, to->bytes + p[i].offset, p[i].bytes);
		else if (where == 2 && p[i].bytes <= WORD)
			memcpy(to->bytes + p[i].offset, &m->g->thread->regs[at], p[i].bytes);
	}
	return 0;
}

static int add_variable(struct making *m, size_t frame, const struct go_locals_variable *v)
{
	const struct go_types_type t = *go_types_get(m->s->claims->types, v->type);
	const struct go_locals_piece *first = go_locals_pieces(m->s->locals, v);
	bool is_whole = v->n == 1 && first->where == GO_LOCALS_STACK && !first->offset;
	uint32_t value = 0;
	int r = 0;

	if (!take_work(m, t.n_slots + 1))
		return 0;
	if (t.n_slots && !is_whole) {
		if (t.size > GO_SLOTS_VALUE_BYTES || m->s->n_values >= m->max)
			return 0;
		r = put_together(m, frame, v, &value);
	}
	for (uint32_t i = 0; r == 0 && i < t.n_slots; i++) {
		uint32_t offset = t.slots[i].offset;
		const struct go_locals_piece *p = piece_of(m, v, offset);
		struct go_slots_word w = { .label = v->label,
			                   .type = v->type,
			                   .offset = offset,
			                   .value = value,
			                   .rank = v->rank };
		int where = p ? place_of(m, frame, p, offset, &w.at) : 0;

		if (where == 1)
			r = add_word(m, &w);
		else if (where == 2 &&
		         (!m->s->registers[w.at].label || m->s->registers[w.at].rank < w.rank))
			m->s->registers[w.at] = w;
	}
	return r;
}

/* The dictionary of a generic function, somewhere in its frame or where its arguments are put; 0.
 */
static int dictionary_of(struct making *m, const struct go_frames_frame *f, uint64_t *ret)
{
	const struct go_frames_code *c = &m->f->codes[f->code];
	struct go_locals_generic generic;
	int r = go_locals_generic(m->s->locals, c->entry, &generic);

	*ret = 0;
	if (r <= 0 || f->cfa > m->g->high)
		return r < 0 ? r : 0;
	*ret = go_dictionaries_find(
		m->s->dictionaries, generic.name, generic.parameters, generic.n, f->sp,
		m->g->high - f->cfa < MAX_ARGUMENTS ? m->g->high : f->cfa + MAX_ARGUMENTS);
	return 0;
}

/* Its type is what the dictionary of its function says, if one is found. *dictionary: UINT64_MAX,
 * not looked for yet. */
static int resolve(struct making *m, const struct go_frames_frame *f, struct go_locals_variable *v,
                   uint64_t *dictionary)
{
	uint32_t type;
	int r = *dictionary == UINT64_MAX ? dictionary_of(m, f, dictionary) : 0;

	if (r < 0 || !*dictionary)
		return r;
	type = go_dictionaries_type(m->s->dictionaries, *dictionary, v->parameter - 1);
	if (type)
		v->type = type;
	return 0;
}

static int variables(struct making *m)
{
	for (size_t i = 0; i < m->f->n_frames; i++) {
		const struct go_frames_frame *f = &m->f->frames[i];
		const struct go_locals_variable *v = NULL;
		uint64_t dictionary = UINT64_MAX;
		size_t n = 0;
		int r = go_locals_at(m->s->locals, m->f->codes[f->code].entry, f->pc, &v, &n);

		for (size_t k = 0; r == 0 && k < n && m->work; k++) {
			struct go_locals_variable one = v[k];

			if (one.parameter && m->s->dictionaries)
				r = resolve(m, f, &one, &dictionary);
			if (r == 0)
				r = add_variable(m, i, &one);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- what the runtime keeps there ---- */

/* "main.f defer": of the function that has the word at @at. */
static int label_at(struct making *m, uint64_t at, const char *what, uint32_t *ret)
{
	const struct go_frames_frame *f = go_frames_at(m->f, at);
	struct object_graph *texts = m->s->claims->texts;
	char text[LABEL_BYTES];

	snprintf(text, sizeof(text), "%s%s%s",
	         f ? object_graph_name(texts, m->f->codes[f->code].name) : "", f ? " " : "", what);
	return object_graph_text(texts, text, strlen(text), ret, m->err);
}

/* Records of deferred calls (runtime2.go, _defer). */
static int defers(struct making *m)
{
	const struct go_layout *l = m->s->claims->objects->module->layout;
	uint64_t at = go_objects_word(m->s->claims->objects, m->g->at + l->g_defer);
	struct go_chain chain = { .left = &m->records };
	int r = 0;

	while (r == 0 && go_chain_goes_on(&chain, at)) {
		struct go_slots_word w = { .at = at + l->defer_fn,
			                   .what = GO_TYPES_FUNC,
			                   .is_used = true };

		r = label_at(m, go_objects_word(m->s->claims->objects, at + l->defer_sp), "defer",
		             &w.label);
		if (r == 0)
			r = add_word(m, &w);
		at = go_objects_word(m->s->claims->objects, at + l->defer_link);
	}
	return r;
}

/* Since 1.26 a pointer that the collector may not see has a copy behind it (maybeTraceablePtr). */
static uint64_t traceable(const struct making *m, uint64_t at)
{
	struct go_objects *o = m->s->claims->objects;
	uint64_t value = go_objects_word(o, at);

	return value || o->module->layout->minor < 26 ? value : go_objects_word(o, at + WORD);
}

/* What is sent, or where what is received goes (runtime2.go, sudog): an element of the channel. */
static int blocked(struct making *m, const char *what)
{
	struct go_claims *c = m->s->claims;
	const struct go_layout *l = c->objects->module->layout;
	uint64_t at = go_objects_word(c->objects, m->g->at + l->g_waiting);
	struct go_chain chain = { .left = &m->records };
	int r = 0;

	while (r == 0 && go_chain_goes_on(&chain, at)) {
		uint64_t elem = traceable(m, at + l->sudog_elem), type;
		uint32_t number, label;

		type = traceable(m, at + l->sudog_c);
		type = type ? go_objects_word(c->objects, type + l->hchan_elemtype) : 0;
		number = type && c->types ? go_types_of_descriptor(c->types, type) : 0;
		if (number && elem >= m->g->sp && elem < m->g->high && elem % WORD == 0) {
			r = label_at(m, elem, what, &label);
			if (r == 0)
				r = add_pointed(m, elem, number, 1, label, true);
		}
		at = go_objects_word(c->objects, at + l->sudog_waitlink);
	}
	return r;
}

/* ---- what they point to on the same stack ---- */

static uint64_t value_of(const struct making *m, const struct go_slots_word *w)
{
	uint64_t v = 0;

	if (w->value)
		memcpy(&v, m->s->values[w->value - 1].bytes + w->offset, sizeof(v));
	else
		image_read(m->image, w->at, &v, sizeof(v));
	return v;
}

/* A list that lies on the stack has a new one for each of its elements, up to LABEL_BYTES. Where
 * they would be more than the stack is worth, what a word points to is called as the word itself.
 */
static int label_of(struct making *m, uint32_t label, uint32_t field, uint32_t *ret)
{
	struct object_graph *texts = m->s->claims->texts;
	const uint64_t key = (uint64_t)label << 32 | field, *found;
	char text[LABEL_BYTES];
	size_t len;
	int r;

	found = hash_map_get(&m->s->joined, key);
	*ret = found ? (uint32_t)*found : label;
	if (found || !strcmp(object_graph_name(texts, field), "(*)"))
		return 0;
	snprintf(text, sizeof(text), "%s%s", object_graph_name(texts, label),
	         object_graph_name(texts, field));
	len = strlen(text);
	if (m->labels < len)
		return 0;
	m->labels -= len;
	r = object_graph_text(texts, text, len, ret, m->err);
	return r < 0 ? r : hash_map_put(&m->s->joined, key, *ret, m->err);
}

static int follow(struct making *m, const struct go_slots_word w)
{
	static const struct go_types_slot func = { .what = GO_TYPES_FUNC };
	struct go_claims *c = m->s->claims;
	const struct go_types_slot *found = go_types_slot_at(go_types_get(c->types, w.type),
	                                                     w.offset);
	uint64_t value = value_of(m, &w), n, key;
	struct go_types_slot slot;
	uint32_t type, label;
	int r;

	if (!found && w.what == GO_TYPES_FUNC)
		found = &func;
	if (!found || value < m->g->sp || value >= m->g->high || value % WORD)
		return 0;
	slot = *found;
	if (w.value)
		go_claims_look_into(c, m->s->values[w.value - 1].bytes, GO_SLOTS_VALUE_BYTES);
	r = go_claims_target(c, &slot, w.value ? GO_CLAIMS_VALUE + w.offset : w.at, value, &type,
	                     &n);
	go_claims_look_into(c, NULL, 0);
	key = hash_u64(value) ^ type;
	if (!r || hash_map_get(&m->s->followed, key))
		return 0;
	r = hash_map_put(&m->s->followed, key, 1, m->err);
	if (r == 0)
		r = label_of(m, w.label, slot.label, &label);
	return r < 0 ? r : add_pointed(m, value, type, n, label, w.is_used);
}

static int pointed(struct making *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < IMAGE_REGISTERS; i++) {
		struct go_slots_word w = m->s->registers[i];

		/* a register's value is always at hand as a variable in pieces */
		if (w.label && w.value)
			r = follow(m, w);
	}
	for (size_t i = 0; r == 0 && i < m->s->n_words; i++)
		r = follow(m, m->s->words[i]);
	return r;
}

/* ---- one word, one variable ---- */

static int by_address(const void *a, const void *b)
{
	const struct go_slots_word *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return x->rank > y->rank ? -1 : x->rank < y->rank;
}

static bool is_same(const struct go_slots_word *a, const struct go_slots_word *b)
{
	return a->type == b->type && a->offset == b->offset && a->what == b->what;
}

static void settle(struct go_slots *s)
{
	size_t n = 0;

	if (s->n_words)
		qsort(s->words, s->n_words, sizeof(*s->words), by_address);
	for (size_t i = 0; i < s->n_words;) {
		struct go_slots_word w = s->words[i];
		size_t k = i + 1;

		for (; k < s->n_words && s->words[k].at == w.at; k++) {
			if (s->words[k].rank == w.rank && w.rank < GO_LOCALS_RANK_LIST &&
			    !is_same(&s->words[k], &w))
				w.label = 0;
		}
		i = k;
		if (w.label)
			s->words[n++] = w;
	}
	s->n_words = n;
}

int go_slots_make(struct go_slots *s, const struct go_frames *f, const struct go_goroutine *g,
                  struct error *err)
{
	struct making m = { .s = s,
		            .f = f,
		            .g = g,
		            .image = s->claims->objects->image,
		            .max = (g->high - g->sp) / WORD * 4 + MAX_WORDS_LEAST,
		            /* those of deferred calls are on the stack, or one each in the heap */
		            .records = (g->high - g->low) / WORD + LEAST_RECORDS,
		            .err = err };
	int r;

	m.work = m.max * WORK;
	m.labels = (g->high - g->sp) * LABELS + LABELS_LEAST;
	s->n_words = s->n_values = 0;
	memset(s->registers, 0, sizeof(s->registers));
	hash_map_clear(&s->followed);
	r = s->locals ? variables(&m) : 0;
	if (r == 0)
		r = defers(&m);
	if (r == 0)
		r = blocked(&m, go_waiting_text(s->claims->objects->module->layout->minor,
		                                g->status, g->reason));
	if (r == 0 && s->claims->types)
		r = pointed(&m);
	settle(s);
	return r;
}
