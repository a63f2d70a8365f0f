/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_types.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "runtime/go/go_rtypes.h"
#include "runtime/go/go_types_dwarf.h"
#include "runtime/go/go_types_rules.h"
#include "runtime/go/go_types_source.h"

enum {
	WORD = 8,
	MAX_DEPTH = 16,
	MAX_SLOTS = 4096,
	MAX_TYPES = 1 << 22,
	MAX_WORK = 1 << 16, /* fields that are looked at for one type */
	MAX_WORK_LEAST = 1 << 22,
	MAX_WORK_EACH = 256,
	TEXT_BYTES = 2048,
};

struct go_types {
	const struct go_module *module;
	struct object_graph *texts;
	const struct go_types_source *source[GO_TYPES_SOURCES];
	void *self[GO_TYPES_SOURCES];               /* owned; NULL: there is no such source */
	struct hash_map by_entry[GO_TYPES_SOURCES]; /* entry -> type */
	struct go_types_type *types;                /* [0] is none */
	size_t n_types, cap_types;
	struct error *err;
	int depth;     /* of types within types */
	uint64_t work; /* fields that were looked at */
};

struct go_types *go_types_close(struct go_types *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_types; i++)
		free(t->types[i].slots);
	free(t->types);
	for (size_t k = 0; k < GO_TYPES_SOURCES; k++) {
		hash_map_clear(&t->by_entry[k]);
		if (t->self[k])
			t->source[k]->close(t->self[k]);
	}
	free(t);
	return NULL;
}

static void closep(struct go_types **t)
{
	go_types_close(*t);
}

static int open_dwarf(struct go_types *t, const struct go_module *m)
{
	struct go_types_dwarf *d = NULL;
	int r = go_types_dwarf_open(m, t, &d, t->err);

	t->source[GO_TYPES_DWARF] = &go_types_dwarf_source;
	t->self[GO_TYPES_DWARF] = d;
	return r;
}

static int open_descriptors(struct go_types *t)
{
	struct go_rtypes *d = NULL;
	int r = go_rtypes_open(t->module, t, &d, t->err);

	t->source[GO_TYPES_DESCRIPTORS] = &go_rtypes_source;
	t->self[GO_TYPES_DESCRIPTORS] = d;
	return r;
}

int go_types_open(const struct go_module *m, struct object_graph *texts, struct go_types **ret,
                  struct error *err)
{
	cleanup(closep) struct go_types *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	*t = (struct go_types){ .module = m, .texts = texts, .err = err };
	r = array_reserve(&t->types, &t->cap_types, 1, err);
	if (r < 0)
		return r;
	t->types[t->n_types++] = (struct go_types_type){ .is_flat = true };
	r = open_dwarf(t, m);
	if (r == 0)
		r = open_descriptors(t);
	if (r <= 0)
		return r;
	*ret = take_ptr(t);
	return 1;
}

/* ---- types ---- */

const struct go_types_type *go_types_record(const struct go_types *t, uint32_t type)
{
	return &t->types[type < t->n_types ? type : 0];
}

const char *go_types_name(const struct go_types *t, uint32_t type)
{
	return object_graph_name(t->texts, go_types_record(t, type)->name);
}

uint32_t go_types_named(struct go_types *t, const char *name)
{
	const struct go_rtypes *d = go_types_descriptors(t);
	uint64_t at = d ? go_rtypes_named(d, name) : 0;

	return at ? go_types_of_descriptor(t, at) : 0;
}

uint32_t go_types_trie_node(struct go_types *t, uint32_t type, bool first_byte)
{
	return go_types_rules_node(t, type, first_byte);
}

uint32_t go_types_made_as(struct go_types *t, uint32_t type)
{
	uint32_t whole, made;
	struct go_types_type x;

	if (!t->types[type].made_as) {
		whole = go_types_named(t, go_types_rules_made_as(go_types_name(t, type)));
		made = (uint32_t)t->n_types;
		if (!whole || made >= MAX_TYPES ||
		    array_reserve(&t->types, &t->cap_types, t->n_types + 1, t->err) < 0)
			return type;
		x = (struct go_types_type){ .size = t->types[whole].size,
			                    .entry = t->types[whole].entry,
			                    .name = t->types[type].name,
			                    .what = t->types[whole].what,
			                    .source = t->types[whole].source };
		t->types[t->n_types++] = x;
		t->types[type].made_as = made;
	}
	return t->types[type].made_as;
}

int go_types_text(struct go_types *t, const char *a, const char *b, uint32_t *ret)
{
	char buf[TEXT_BYTES];

	snprintf(buf, sizeof(buf), "%s%s", a, b);
	return object_graph_text(t->texts, buf, strlen(buf), ret, t->err);
}

/* The record is filled behind the number, for types go round in circles. */
uint32_t go_types_number(struct go_types *t, enum go_types_source_index source, uint64_t entry)
{
	uint64_t *found = hash_map_get(&t->by_entry[source], entry);
	uint64_t same = source == GO_TYPES_DESCRIPTORS && t->self[GO_TYPES_DWARF]
	                        ? go_types_dwarf_descriptor(t->self[GO_TYPES_DWARF], entry)
	                        : 0;
	struct go_types_type x = { .entry = entry, .source = (uint8_t)source };
	uint32_t id = (uint32_t)t->n_types;

	if (same)
		return go_types_number(t, GO_TYPES_DWARF, same);
	if (found)
		return (uint32_t)*found;
	if (id >= MAX_TYPES || t->depth > MAX_DEPTH || !entry ||
	    array_reserve(&t->types, &t->cap_types, t->n_types + 1, t->err) < 0 ||
	    hash_map_put(&t->by_entry[source], entry, id, t->err) < 0)
		return 0;
	t->types[t->n_types++] = x;
	t->depth++;
	if (!t->source[source]->read(t->self[source], entry, &x))
		x = (struct go_types_type){ .entry = entry, .source = (uint8_t)source };
	t->depth--;
	x.is_trie_node = go_types_rules_is_node(object_graph_name(t->texts, x.name));
	x.is_made_as = go_types_rules_made_as(object_graph_name(t->texts, x.name)) != NULL;
	x.repeats |= go_types_rules_repeats(object_graph_name(t->texts, x.name));
	t->types[id] = x;
	return id;
}

bool go_types_spend(struct go_types *t)
{
	if (t->work > MAX_WORK_LEAST + MAX_WORK_EACH * t->n_types)
		return false;
	t->work++;
	return true;
}

/* ---- pointer words ---- */

struct flattening {
	struct go_types *t;
	uint64_t end_of_work;
	struct go_types_slot *slots;
	size_t n, cap;
	bool is_cut;
	char label[GO_TYPES_LABEL_BYTES];
	/* where fields that are listed go */
	uint64_t offset, size;
	size_t label_bytes;
	int depth;
	struct go_types_rules rules;
};

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

/* Maps are shown as maps: "[key].name", not ".slots[].key.name". */
static const char *without_insides(const char *label)
{
	const char *key = strstr(label, "[key]"), *val = strstr(label, "[val]");

	return key ? key : val ? val : label;
}

static void add_slot(struct flattening *f, uint64_t offset, enum go_types_what what, uint32_t to)
{
	struct go_types_slot s = { .offset = (uint32_t)offset, .to = to, .what = what };
	const char *label = without_insides(f->label);

	if (f->n >= MAX_SLOTS || array_reserve(&f->slots, &f->cap, f->n + 1, f->t->err) < 0 ||
	    go_types_text(f->t, label[0] ? label : "(*)", "", &s.label) < 0 ||
	    go_types_text(f->t, starts(label, "[key]") || starts(label, "[val]") ? "" : "[…]",
	                  label, &s.many) < 0) {
		f->is_cut = true;
		return;
	}
	f->slots[f->n++] = s;
}

static void flatten(struct flattening *f, uint32_t type, uint64_t offset, int depth);

static void append(struct flattening *f, const char *label)
{
	size_t len = strlen(f->label);

	snprintf(f->label + len, sizeof(f->label) - len, "%s", label);
}

static uint32_t pointed_at(struct go_types *t, uint32_t type)
{
	const struct go_types_type x = t->types[type];

	if (!x.elem && x.entry) {
		uint32_t elem = t->source[x.source]->pointed_at(t->self[x.source], &x);

		t->types[type].elem = elem;
	}
	return t->types[type].elem;
}

uint32_t go_types_pointed_at(struct go_types *t, uint32_t type)
{
	return type < t->n_types && t->types[type].what == GO_TYPES_POINTER ? pointed_at(t, type)
	                                                                    : 0;
}

static bool flatten_field(void *arg, const struct go_types_field *field)
{
	struct flattening *f = arg;
	struct go_types_field x = *field;

	if (field->offset >= f->size)
		return true;
	go_types_rules_apply(&f->rules, f->t, &x);
	const struct flattening outer = *f;

	append(f, x.label);
	if (x.what != GO_TYPES_PLAIN)
		add_slot(f, f->offset + x.offset, x.what, x.to);
	else
		flatten(f, x.type, f->offset + x.offset, f->depth + 1);
	f->rules = outer.rules;
	f->offset = outer.offset;
	f->size = outer.size;
	f->depth = outer.depth;
	f->label_bytes = outer.label_bytes;
	f->label[f->label_bytes] = '\0';
	return !f->is_cut;
}

static void flatten_fields(struct flattening *f, const struct go_types_type *x, uint64_t offset,
                           int depth)
{
	char in[GO_TYPES_LABEL_BYTES]; /* texts move when one is added */

	f->offset = offset;
	f->size = x->size;
	f->depth = depth;
	f->label_bytes = strlen(f->label);
	snprintf(in, sizeof(in), "%s", object_graph_name(f->t->texts, x->name));
	f->rules = (struct go_types_rules){ .in = in };
	f->t->source[x->source]->each_field(f->t->self[x->source], x, flatten_field, f);
}

static void flatten_array(struct flattening *f, const struct go_types_type *x, uint64_t offset,
                          int depth)
{
	uint64_t size = f->t->types[x->elem].size;
	size_t len = strlen(f->label);

	/* the arrays of a map's bucket are its keys and values, not arrays to the reader */
	if (len < 5 || (strcmp(f->label + len - 5, "[key]") && strcmp(f->label + len - 5, "[val]")))
		append(f, "[…]");
	for (uint64_t i = 0; i < x->count && size && !f->is_cut; i++) {
		size_t before = f->n;

		flatten(f, x->elem, offset + i * size, depth + 1);
		if (f->n == before)
			break;
	}
	f->label[len] = '\0';
}

static void flatten(struct flattening *f, uint32_t type, uint64_t offset, int depth)
{
	const struct go_types_type x = f->t->types[type]; /* a copy: the array may move */

	if (depth > MAX_DEPTH || offset > UINT32_MAX - WORD || !go_types_spend(f->t) ||
	    f->t->work > f->end_of_work) {
		f->is_cut = true;
		return;
	}
	switch (x.what) {
	case GO_TYPES_PLAIN:
	case GO_TYPES_CHAN_BUFFER:
	case GO_TYPES_MAP_DIRECTORY: return;
	case GO_TYPES_POINTER: return add_slot(f, offset, x.what, pointed_at(f->t, type));
	case GO_TYPES_SLICE: return add_slot(f, offset, x.what, x.elem);
	case GO_TYPES_STRING:
	case GO_TYPES_FUNC: return add_slot(f, offset, x.what, 0);
	case GO_TYPES_EFACE:
	case GO_TYPES_IFACE: return add_slot(f, offset + WORD, x.what, 0);
	case GO_TYPES_ARRAY: return flatten_array(f, &x, offset, depth);
	case GO_TYPES_CLOSURE:
	case GO_TYPES_STRUCT: return flatten_fields(f, &x, offset, depth);
	}
}

static int by_offset(const void *a, const void *b)
{
	const struct go_types_slot *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static const struct go_types_type *read_slots(struct go_types *t, uint32_t type)
{
	struct flattening f = { .t = t, .end_of_work = t->work + MAX_WORK };
	struct go_types_type *x;

	flatten(&f, type, 0, 0);
	if (f.n)
		qsort(f.slots, f.n, sizeof(*f.slots), by_offset);
	x = &t->types[type];
	x->slots = f.slots;
	x->n_slots = (uint32_t)f.n;
	x->is_whole = !f.is_cut;
	x->is_flat = true;
	if (x->what == GO_TYPES_ARRAY && !x->size)
		x->size = x->count * t->types[x->elem].size;
	return x;
}

const struct go_types_type *go_types_get(struct go_types *t, uint32_t type)
{
	if (type >= t->n_types)
		type = 0;
	return t->types[type].is_flat ? &t->types[type] : read_slots(t, type);
}

const struct go_types_slot *go_types_slot_at(const struct go_types_type *t, uint64_t offset)
{
	size_t at = partition_point(t->n_slots, i, t->slots[i].offset < offset);

	return at < t->n_slots && t->slots[at].offset == offset ? &t->slots[at] : NULL;
}

/* ---- what the walk asks ---- */

struct go_types_dwarf *go_types_dwarf_of(struct go_types *t)
{
	return t->self[GO_TYPES_DWARF];
}

const struct go_rtypes *go_types_descriptors(struct go_types *t)
{
	if (!t->self[GO_TYPES_DESCRIPTORS] && open_descriptors(t) < 0)
		return NULL;
	return t->self[GO_TYPES_DESCRIPTORS];
}

uint32_t go_types_variable(struct go_types *t, uint64_t addr, uint64_t *start)
{
	struct go_types_dwarf *d = t->self[GO_TYPES_DWARF];
	uint64_t entry = d ? go_types_dwarf_variable(d, addr, start) : 0;
	uint32_t type = entry ? go_types_number(t, GO_TYPES_DWARF, entry) : 0;

	return type && addr - *start < go_types_get(t, type)->size ? type : 0;
}

const char *go_types_variable_name(struct go_types *t, uint64_t addr, uint64_t *start)
{
	return go_types_variable(t, addr, start)
	               ? go_types_dwarf_variable_name(t->self[GO_TYPES_DWARF], addr)
	               : "";
}

uint32_t go_types_of_descriptor(struct go_types *t, uint64_t addr)
{
	struct go_types_dwarf *d = t->self[GO_TYPES_DWARF];
	uint64_t entry = d ? go_types_dwarf_descriptor(d, addr) : 0;

	if (!entry && t->self[GO_TYPES_DESCRIPTORS] &&
	    go_rtypes_has(t->self[GO_TYPES_DESCRIPTORS], addr))
		return go_types_number(t, GO_TYPES_DESCRIPTORS, addr);
	return entry ? go_types_number(t, GO_TYPES_DWARF, entry) : 0;
}

uint32_t go_types_closure(struct go_types *t, uint64_t pc)
{
	struct go_types_dwarf *d = t->self[GO_TYPES_DWARF];
	uint64_t entry = d ? go_types_dwarf_closure(d, pc) : 0;

	return entry ? go_types_number(t, GO_TYPES_DWARF, entry) : 0;
}
