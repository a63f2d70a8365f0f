/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_captured.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_locals.h"

enum { WORD = 8, LAST_MINOR = 22 };

struct go_captures {
	struct go_types *types;
	struct object_graph *texts;
	struct go_locals *locals;
	struct hash_map known; /* entry and type -> enum go_captured */
	struct error *err;
};

struct go_captures *go_captured_close(struct go_captures *c)
{
	if (!c)
		return NULL;
	go_locals_close(c->locals);
	hash_map_clear(&c->known);
	free(c);
	return NULL;
}

int go_captured_open(const struct go_module *m, struct go_types *types, struct object_graph *texts,
                     struct go_captures **ret, struct error *err)
{
	struct go_captures *c;
	int r;

	*ret = NULL;
	if (m->layout->minor > LAST_MINOR || !go_types_dwarf_of(types))
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return error_oom(err);
	*c = (struct go_captures){ types, texts, .err = err };
	r = go_locals_open(types, m, texts, &c->locals, err);
	if (r < 0)
		go_captured_close(c);
	else
		*ret = c;
	return r;
}

/* A pointer word of a closure's type, and what the function's variables say of it. */
struct word {
	struct go_captures *c;
	struct go_types_slot slot;
	const char *field; /* "conn" */
	size_t field_len;
	enum go_captured found;
	unsigned n_variables;
};

/* Types of DWARF and of descriptors are two numbers of one. */
static bool leads_alike(struct go_captures *c, const struct go_types_slot *a,
                        const struct go_types_slot *b)
{
	if (a->what != b->what || !a->to != !b->to)
		return false;
	return a->to == b->to ||
	       go_types_get(c->types, a->to)->name == go_types_get(c->types, b->to)->name;
}

/* "&x" is what an x that lies in the heap is captured by. */
static int compare(void *arg, const char *name, uint32_t type)
{
	struct word *w = arg;
	const struct go_types_type t = *go_types_get(w->c->types, type);
	enum go_captured by;

	w->n_variables++;
	name += name[0] == '&';
	by = strlen(name) == w->field_len && !memcmp(name, w->field, w->field_len)
	             ? GO_CAPTURED_BY_NAME
	             : GO_CAPTURED_BY_TYPE;
	for (uint32_t i = 0; by > w->found && i < t.n_slots; i++) {
		const struct go_types_slot slot = t.slots[i];

		if (leads_alike(w->c, &slot, &w->slot))
			w->found = by;
	}
	return w->found == GO_CAPTURED_BY_NAME;
}

static enum go_captured look(struct go_captures *c, uint64_t entry, uint32_t type)
{
	enum go_captured least = GO_CAPTURED_BY_NAME;
	const struct go_types_type t = *go_types_get(c->types, type);

	for (uint32_t i = 0; i < t.n_slots && least; i++) {
		struct word w = { .c = c, .slot = t.slots[i] };

		w.field = object_graph_name(c->texts, w.slot.label);
		w.field += w.field[0] == '.';
		w.field_len = strcspn(w.field, ".[");
		if (go_locals_each(c->locals, entry, compare, &w) < 0 || !w.n_variables)
			return GO_CAPTURED_UNKNOWN;
		least = w.found < least ? w.found : least;
	}
	return least;
}

enum go_captured go_captured_fits(struct go_captures *c, uint64_t entry, uint32_t type)
{
	const uint64_t key = hash_u64(entry) ^ type;
	uint64_t *found = hash_map_get(&c->known, key);
	enum go_captured is;

	if (found)
		return (enum go_captured) * found;
	is = look(c, entry, type);
	/* without memory it is looked up again */
	hash_map_put(&c->known, key, is, c->err);
	return is;
}
