/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_roots.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/lua/lua_refs.h"

enum { NAME_BYTES = 256, KEY_BYTES = 100, BASIC_TYPES = 9, TAG_STRING = 4 };

struct making {
	struct lua_heap *heap;
	struct lua_names *names;
	size_t number;
	const struct lua_roots_sink *sink;
	const char *kind, *prefix; /* of the entries of the table that is looked at */
	struct entry {
		uint64_t value;
		uint32_t name; /* text; 0: the key has none */
	} * entries;           /* of that table; owned */
	size_t n_entries, cap_entries;
};

static int add_root(struct making *m, const char *name, const char *kind, enum object_tier tier,
                    struct error *err)
{
	struct object_root root = { .tier = tier };
	char text[NAME_BYTES + 24];
	int r;

	if (m->number)
		snprintf(text, sizeof(text), "%s (state %zu)", name, m->number + 1);
	else
		snprintf(text, sizeof(text), "%s", name);
	r = lua_names_text(m->names, text, &root.name, err);
	if (r == 0)
		r = lua_names_text(m->names, kind, &root.kind, err);
	return r < 0 ? r : m->sink->root(m->sink->arg, &root, err);
}

static int add_reference(struct making *m, uint64_t to, const char *label, struct error *err)
{
	uint32_t text;
	int r = lua_names_text(m->names, label, &text, err);

	return r < 0 ? r : m->sink->reference(m->sink->arg, to, text, err);
}

/* ---- entries of the state's own tables ---- */

/* "_G.name", "registry[3]", "registry[\"FILE*\"]"; false: the key has no name. */
static bool entry_name(struct making *m, const struct lua_entry *e, char *buf, size_t size)
{
	char key[KEY_BYTES];
	const char *k = key;

	if (e->number) {
		snprintf(buf, size, "%s[%" PRIu64 "]", m->prefix, e->number);
		return true;
	}
	if (!e->key || (e->key_tag & 0x0f) != TAG_STRING ||
	    lua_heap_string(m->heap, e->key, key, sizeof(key)) < 0)
		return false;
	while (*k == '_' || (*k >= '0' && *k <= '9' && k > key) || (*k >= 'A' && *k <= 'Z') ||
	       (*k >= 'a' && *k <= 'z'))
		k++;
	if (!*k && key[0])
		snprintf(buf, size, "%s.%s", m->prefix, key);
	else
		snprintf(buf, size, "%s[\"%s\"]", m->prefix, key);
	return true;
}

static bool is_own(const struct lua_heap *h, uint64_t addr)
{
	const size_t i = lua_heap_find(h, addr);

	return i == SIZE_MAX || lua_heap_is_special(h, i);
}

/* An entry to be: they come in the order of hashes, and become roots in that of their names. */
static int note_entry(void *arg, const struct lua_entry *e, struct error *err)
{
	struct making *m = arg;
	struct entry *to;
	char name[NAME_BYTES];
	int r;

	if (!e->value || is_own(m->heap, e->value))
		return 0;
	r = array_reserve(&m->entries, &m->cap_entries, m->n_entries + 1, err);
	if (r < 0)
		return r;
	to = &m->entries[m->n_entries++];
	*to = (struct entry){ .value = e->value };
	return entry_name(m, e, name, sizeof(name)) ? lua_names_text(m->names, name, &to->name, err)
	                                            : 0;
}

static int by_name(const void *a, const void *b, void *graph)
{
	const struct entry *x = a, *y = b;

	return strcmp(object_graph_name(graph, x->name), object_graph_name(graph, y->name));
}

/* Those without a name, which come first, are one root. */
static int add_entries(struct making *m, struct error *err)
{
	char name[NAME_BYTES];
	size_t i = 0;
	int r = 0;

	if (m->n_entries)
		qsort_r(m->entries, m->n_entries, sizeof(*m->entries), by_name, m->names->graph);
	if (m->n_entries && !m->entries[0].name) {
		snprintf(name, sizeof(name), "%s[…]", m->prefix);
		r = add_root(m, name, m->kind, OBJECT_TIER_GLOBAL, err);
	}
	for (; r == 0 && i < m->n_entries && !m->entries[i].name; i++)
		r = m->sink->reference(m->sink->arg, m->entries[i].value, 0, err);
	for (; r == 0 && i < m->n_entries; i++) {
		r = add_root(m, object_graph_name(m->names->graph, m->entries[i].name), m->kind,
		             OBJECT_TIER_GLOBAL, err);
		if (r == 0)
			r = m->sink->reference(m->sink->arg, m->entries[i].value, 0, err);
	}
	return r;
}

/* The keys; they are the table's own, whatever they lead to. */
static int add_key(void *arg, const struct lua_entry *e, struct error *err)
{
	return e->key ? add_reference(arg, e->key, "[key]", err) : 0;
}

static int add_table(struct making *m, uint64_t table, const char *prefix, const char *kind,
                     struct error *err)
{
	struct lua_table t;
	int r;

	if (!lua_heap_table(m->heap, table, &t))
		return 0;
	m->prefix = prefix;
	m->kind = kind;
	m->n_entries = 0;
	r = add_root(m, prefix, kind, OBJECT_TIER_GLOBAL, err);
	if (r == 0)
		r = m->sink->reference(m->sink->arg, table, 0, err);
	if (r == 0 && t.metatable)
		r = add_reference(m, t.metatable, "[metatable]", err);
	if (r == 0)
		r = lua_refs_entries(m->heap, table, add_key, m, err);
	if (r == 0)
		r = lua_refs_entries(m->heap, table, note_entry, m, err);
	return r < 0 ? r : add_entries(m, err);
}

/* ---- the others ---- */

static int add_basic_types(struct making *m, struct error *err)
{
	static const char *const names[BASIC_TYPES] = { "nil",      "boolean",  "light userdata",
		                                        "number",   "string",   "table",
		                                        "function", "userdata", "thread" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < BASIC_TYPES; i++) {
		const uint64_t meta = peek_word(
			m->heap->peek, m->heap->global + m->heap->layout->basic_types + 8 * i);
		char name[64];

		if (!meta)
			continue;
		snprintf(name, sizeof(name), "metatable of %s", names[i]);
		r = add_root(m, name, "metatable", OBJECT_TIER_GLOBAL, err);
		if (r == 0)
			r = m->sink->reference(m->sink->arg, meta, 0, err);
	}
	return r;
}

/* The state's block, its table of strings, strings that are never freed. */
static int add_own(struct making *m, struct error *err)
{
	struct lua_heap *h = m->heap;
	int r = add_root(m, "Lua", "runtime", OBJECT_TIER_GLOBAL, err);

	for (size_t i = 0; r == 0 && i < h->n_objects; i++) {
		const uint64_t at = lua_heap_address(h, i);

		if (lua_heap_is_special(h, i) && at != h->globals && at != h->registry &&
		    at != h->loaded && at != h->main_thread)
			r = m->sink->reference(m->sink->arg, at, 0, err);
	}
	return r;
}

static int add_waiting(struct making *m, struct error *err)
{
	int r = m->heap->n_waiting ? add_root(m, "waiting for finalizers", "finalizer",
	                                      OBJECT_TIER_GLOBAL, err)
	                           : 0;

	for (size_t i = 0; r == 0 && i < m->heap->n_waiting; i++)
		r = m->sink->reference(m->sink->arg, m->heap->waiting[i], 0, err);
	return r;
}

static int add_main_thread(struct making *m, struct error *err)
{
	const struct lua_refs refs = {
		.heap = m->heap,
		.names = m->names,
		.reference = m->sink->reference,
		.arg = m->sink->arg,
	};
	int r = add_root(m, "main thread", "stack", OBJECT_TIER_STACK, err);

	if (r == 0)
		r = m->sink->reference(m->sink->arg, m->heap->main_thread, 0, err);
	return r < 0 ? r : lua_refs_each(&refs, m->heap->main_thread, LUA_COROUTINE, err);
}

int lua_roots_each(struct lua_heap *h, struct lua_names *names, size_t number,
                   const struct lua_roots_sink *sink, struct error *err)
{
	struct making m = { .heap = h, .names = names, .number = number, .sink = sink };
	int r = add_table(&m, h->globals, "_G", "global", err);

	if (r == 0)
		r = add_table(&m, h->loaded, "package.loaded", "module", err);
	if (r == 0)
		r = add_table(&m, h->registry, "registry", "registry", err);
	if (r == 0)
		r = add_basic_types(&m, err);
	if (r == 0)
		r = add_own(&m, err);
	if (r == 0)
		r = add_waiting(&m, err);
	if (r == 0)
		r = add_main_thread(&m, err);
	free(m.entries);
	return r;
}

/* By its first frame's function: the first slot behind the thread's own. */
int lua_roots_coroutine(struct lua_names *names, uint64_t thread, size_t number,
                        struct object_root *ret, struct error *err)
{
	struct lua_heap *h = names->heap;
	const uint64_t stack = peek_word(h->peek, thread + h->layout->stack);
	const uint16_t each = h->layout->value_bytes;
	uint8_t value[LUA_VALUE_MOST] = { 0 };
	char place[NAME_BYTES - 64], text[NAME_BYTES];
	uint64_t closure;
	int r;

	*ret = (struct object_root){ .tier = OBJECT_TIER_HELD };
	peek_read(h->peek, stack + each, value, each);
	closure = (lua_heap_tag(h, value) & 0x3f) == 6 ? lua_heap_value(h, value) : 0;
	if (closure)
		lua_names_place(names, peek_word(h->peek, closure + 24), place, sizeof(place));
	snprintf(text, sizeof(text), "coroutine%s%s", closure ? " " : "", closure ? place : "");
	if (number)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " (state %zu)",
		         number + 1);
	r = lua_names_text(names, text, &ret->name, err);
	return r < 0 ? r : lua_names_text(names, "coroutine", &ret->kind, err);
}
