/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_statics.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"

enum {
	WORD = 8,
	LABEL_BYTES = 512,
	MAX_STATICS = 1 << 17,
	MAX_STEPS = 32, /* from one to the next */
};

/* A pointer within data and bss to something that is no variable. */
struct reference {
	uint64_t at, value;
};

/* While they are found they stand in the order in which they were; a tree of them has them by
 * address, for there may be as many as there are words. */
struct finding {
	struct go_claims *claims;
	struct go_statics *to;
	void *tree;                   /* of to->items, which do not move */
	struct reference *references; /* owned */
	size_t n, cap;
	struct error *err;
};

void go_statics_clear(struct go_statics *s)
{
	free(s->items);
	*s = (struct go_statics){ 0 };
}

const struct go_static *go_statics_at(const struct go_statics *s, uint64_t addr)
{
	size_t behind = partition_point(s->n, i, s->items[i].start <= addr);

	return behind && addr < s->items[behind - 1].end ? &s->items[behind - 1] : NULL;
}

static bool is_data(const struct go_module *m, uint64_t addr)
{
	return (addr >= m->data[0].start && addr < m->data[0].end) ||
	       (addr >= m->data[1].start && addr < m->data[1].end);
}

static int note(struct finding *f, uint64_t at)
{
	const struct go_module *m = f->claims->objects->module;
	uint64_t value, start;
	int r;

	if (image_read(f->claims->objects->image, at, &value, sizeof(value)) < 0 ||
	    !is_data(m, value) || go_types_variable(f->claims->types, value, &start) ||
	    f->n >= MAX_STATICS)
		return 0;
	r = array_reserve(&f->references, &f->cap, f->n + 1, f->err);
	if (r == 0)
		f->references[f->n++] = (struct reference){ at, value };
	return r;
}

static int read_references(struct finding *f)
{
	const struct go_module *m = f->claims->objects->module;
	int r = 0;

	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &m->data[k];
		uint64_t words = d->end > d->start ? (d->end - d->start) / WORD : 0;
		const uint8_t *mask;

		if (words > d->mask_bits)
			words = d->mask_bits;
		mask = words ? image_at(m->image, d->mask, (words + 7) / 8) : NULL;
		for (uint64_t w = 0; r == 0 && mask && w < words; w++) {
			if (mask[w / 8] >> w % 8 & 1)
				r = note(f, d->start + w * WORD);
		}
	}
	return r;
}

/* 0: they overlap, which no two in the tree do. */
static int by_place(const void *a, const void *b)
{
	const struct go_static *x = a, *y = b;

	return x->end <= y->start ? -1 : x->start >= y->end;
}

static int by_start(const void *a, const void *b)
{
	const struct go_static *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void keep_item(void *item)
{
	(void)item;
}

/* @x, if nothing is known of its place: the first that is known stays. */
static int add(struct finding *f, const struct go_static *x)
{
	struct go_static *item = &f->to->items[f->to->n], **found;

	*item = *x;
	found = tsearch(item, &f->tree, by_place);
	if (!found)
		return error_oom(f->err);
	f->to->n += *found == item;
	return 0;
}

/* The holder of the word at @at, as far as it is known: @ret->start is where its type begins. */
static bool holder_of(struct finding *f, uint64_t at, struct go_static *ret)
{
	const struct go_static word = { .start = at, .end = at + 1 };
	struct go_static **known = tfind(&word, &f->tree, by_place);

	if (known) {
		*ret = **known;
		return true;
	}
	*ret = (struct go_static){ 0 };
	ret->type = go_types_variable(f->claims->types, at, &ret->start);
	ret->owner = ret->start;
	return ret->type != 0;
}

static int label_of(struct finding *f, const struct go_static *holder, uint32_t field, bool many,
                    uint32_t *ret)
{
	const char *a = object_graph_name(f->claims->texts, holder->label);
	const char *b = object_graph_name(f->claims->texts, field);
	char text[LABEL_BYTES];

	snprintf(text, sizeof(text), "%s%s%s", a, strcmp(b, "(*)") ? b : "", many ? "[…]" : "");
	return object_graph_text(f->claims->texts, text, strlen(text), ret, f->err);
}

/* 1: the reference was understood; 0: not yet. */
static int follow(struct finding *f, const struct reference *k)
{
	struct go_types *types = f->claims->types;
	struct go_static holder, x = { .start = k->value };
	const struct go_types_type *t;
	const struct go_types_slot *s;
	struct go_types_slot slot;
	uint64_t n, size;
	int r;

	if (!holder_of(f, k->at, &holder))
		return 0;
	t = go_types_get(types, holder.type);
	s = t->size ? go_types_slot_at(t, (k->at - holder.start) % t->size) : NULL;
	if (!s)
		return 1;
	slot = *s;
	if (!go_claims_target(f->claims, &slot, k->at, k->value, &x.type, &n))
		return 1;
	size = go_types_get(types, x.type)->size;
	if (!size || !n || n > UINT32_MAX || size > UINT32_MAX ||
	    !is_data(f->claims->objects->module, k->value + n * size - 1))
		return 1;
	x.end = k->value + n * size;
	x.owner = holder.owner;
	x.size = size;
	if (tfind(&x, &f->tree, by_place))
		return 1;
	r = label_of(f, &holder, slot.label, n > 1, &x.label);
	if (r == 0)
		r = add(f, &x);
	return r < 0 ? r : 1;
}

/* What is reached from variables, then from that, and so on. */
static int follow_all(struct finding *f)
{
	bool is_new = true;

	for (unsigned step = 0; is_new && step < MAX_STEPS; step++) {
		size_t rest = 0;

		is_new = false;
		for (size_t i = 0; i < f->n; i++) {
			int r = follow(f, &f->references[i]);

			if (r < 0)
				return r;
			if (r)
				is_new = true;
			else
				f->references[rest++] = f->references[i];
		}
		f->n = rest;
	}
	return 0;
}

int go_statics_find(struct go_claims *c, struct go_statics *ret, struct error *err)
{
	struct finding f = { .claims = c, .to = ret, .err = err };
	int r = 0;

	if (c->types && go_types_dwarf_of(c->types))
		r = read_references(&f);
	/* each reference leads to one at most */
	if (r == 0)
		r = array_reserve(&ret->items, &ret->cap, f.n + 1, err);
	if (r == 0)
		r = follow_all(&f);
	if (ret->n)
		qsort(ret->items, ret->n, sizeof(*ret->items), by_start);
	tdestroy(f.tree, keep_item);
	free(f.references);
	return r;
}
