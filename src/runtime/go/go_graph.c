/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/spare.h"
#include "runtime/go/go_account.h"
#include "runtime/go/go_births.h"
#include "runtime/go/go_changes.h"
#include "runtime/go/go_check.h"
#include "runtime/go/go_claims.h"
#include "runtime/go/go_guess.h"
#include "runtime/go/go_map_holders.h"
#include "runtime/go/go_module.h"
#include "runtime/go/go_names.h"
#include "runtime/go/go_objects.h"
#include "runtime/go/go_queue.h"
#include "runtime/go/go_roots.h"
#include "runtime/go/go_shapes.h"

enum {
	WORD = 8,
	PROGRESS_EVERY = 1 << 16,
	MAX_LATE = 1 << 24,
	MARKED_BYTES = 1024,
	LABEL_BYTES = 512,
	MAX_ROUNDS = 4,        /* of guesses */
	TRIES_LEAST = 1 << 22, /* of types for words on stacks */
	TRIES_EACH = 64,
};

struct making {
	struct go_objects o;
	struct go_module module;
	struct object_graph g;
	const struct object_graph_options *options;
	uint32_t *node;   /* of each slot; UINT32_MAX: not met */
	uint32_t *layout; /* of each node, as go_claims_type; owned */
	struct go_queue queue;
	size_t cap;
	struct go_claims claims;
	struct go_guess guess;
	struct guessed { /* objects that only words without a type were seen to refer to */
		uint64_t candidates, value;
	} * guessed; /* owned */
	size_t n_guessed, cap_guessed;
	size_t n_looked;           /* of late */
	struct hash_map joined;    /* texts of a variable and a field -> text */
	struct hash_map described; /* span's size and descriptor -> text << 32 | layout */
	struct described {
		uint64_t key, value;
		bool is_known;
	} described_lately[64];
	uint32_t *late; /* nodes whose type was known only behind their turn; owned */
	size_t n_late, cap_late;
	uint64_t at; /* address of its data */
	uint32_t layout_of_from;
	struct go_types_type holder; /* its type, if layout_of_from */
	uint32_t next_slot;          /* of holder: behind the one that was looked at last */
	uint32_t layout_of_holder;
	uint32_t n_own;         /* nodes before this one are only referred to by the first root */
	uint32_t last_offset;   /* of the pointer word before */
	enum object_typed sure; /* of the types that are given now */
	bool was_walked;
	bool is_second;   /* another look, for types and labels alone */
	size_t edge, end; /* then: of the pointer that is looked at, and of the object's last */
	struct error *err;
};

static void making_clear(struct making *m)
{
	go_objects_close(&m->o);
	object_graph_clear(&m->g);
	free(m->node);
	free(m->layout);
	go_queue_close(&m->queue);
	free(m->late);
	go_guess_clear(&m->guess);
	free(m->guessed);
	hash_map_clear(&m->joined);
	hash_map_clear(&m->described);
	go_types_close(m->claims.types);
}

/* ---- nodes ---- */

/* An object that something points to. */
struct met {
	uint32_t node, slot; /* slot: its number within all */
	size_t span;
};

/* By malloc header or large span. */
static int set_described(struct making *m, uint32_t node, size_t span, uint32_t slot)
{
	const struct go_objects_span *s = &m->o.spans[span];
	uint64_t type = !go_objects_has_types(s) || (m->options && m->options->no_types)
	                        ? 0
	                        : go_objects_type(&m->o, span, slot - s->first);
	uint64_t key, *found;
	struct described *lately;
	struct go_claims_type t;
	int r = 0;

	m->layout[node] = 0;
	if (!type)
		return 0;
	key = hash_u64(type) ^ s->elemsize;
	lately = &m->described_lately[key % ARRAY_SIZE(m->described_lately)];
	found = lately->is_known && lately->key == key ? &lately->value
	                                               : hash_map_get(&m->described, key);
	if (found) {
		t = (struct go_claims_type){ (uint32_t)(*found >> 32), (uint32_t)*found };
	} else {
		go_claims_described(&m->claims, type, span, &t);
		r = hash_map_put(&m->described, key, (uint64_t)t.text << 32 | t.layout, m->err);
	}
	*lately = (struct described){ key, (uint64_t)t.text << 32 | t.layout, true };
	if (t.text)
		object_graph_set_type(&m->g, node, t.text, OBJECT_TYPED);
	m->layout[node] = t.layout;
	return r;
}

/* What is guessed is shown with a mark. */
static int set_type(struct making *m, uint32_t node, uint32_t text)
{
	char name[MARKED_BYTES];
	uint32_t marked = text;
	int r = 0;

	if (m->sure == OBJECT_TYPED_SHAPE) {
		snprintf(name, sizeof(name), "%s?", object_graph_name(&m->g, text));
		r = object_graph_text(&m->g, name, strlen(name), &marked, m->err);
	}
	if (r == 0)
		object_graph_set_type(&m->g, node, marked, m->sure);
	return r;
}

/* A descriptor that DWARF does not know (map.bucket of 1.22) gives the name alone. */
static bool wants_type(const struct making *m, const struct met *to)
{
	const struct go_objects_span *in = &m->o.spans[to->span];

	return !m->layout[to->node] && (!m->g.type[to->node] || go_objects_has_types(in));
}

static int give_type(struct making *m, const struct met *to, const struct go_claims_type *t)
{
	const uint32_t node = to->node;
	int r = m->g.type[node] ? 0 : set_type(m, node, t->text);

	if (r < 0)
		return r;
	m->layout[node] = t->layout;
	if (!t->layout || m->o.spans[to->span].no_scan || m->n_late >= MAX_LATE ||
	    (!m->is_second && !go_queue_was_taken(&m->queue, node)))
		return 0;
	r = array_reserve(&m->late, &m->cap_late, m->n_late + 1, m->err);
	if (r == 0)
		m->late[m->n_late++] = node;
	return r;
}

/* An object with a type is told another one: by a pointer or slice, for that is seen at a glance.
 */
static void count_conflict(struct making *m, const struct met *to, const struct go_types_slot *s,
                           uint64_t at, uint64_t value)
{
	const uint32_t has = m->layout[to->node] >> 1;
	struct go_claims_type t;

	if (m->is_second || s->to == has ||
	    (s->what != GO_TYPES_POINTER && s->what != GO_TYPES_SLICE) ||
	    go_claims_judge(&m->claims, s, at, value, to->span, to->slot, &t) != GO_CLAIMS_AGREED ||
	    !t.layout || t.layout >> 1 == has)
		return;
	m->claims.conflicting += go_types_get(m->claims.types, t.layout >> 1)->name !=
	                         go_types_get(m->claims.types, has)->name;
}

/* By what refers to it: the pointer word at @at, @s of its holder's type; NULL: that has none. */
static int set_claimed(struct making *m, const struct met *to, const struct go_types_slot *s,
                       uint64_t at, uint64_t value)
{
	struct go_claims *c = &m->claims;
	struct go_claims_type t;

	if (c->types && s && m->layout[to->node])
		count_conflict(m, to, s, at, value);
	if (!c->types || !wants_type(m, to) ||
	    !(s ? go_claims_follow(c, s, at, value, to->span, to->slot, &t)
	        : go_claims_beside(c, at, value, to->span, to->slot, &t)))
		return 0;
	return give_type(m, to, &t);
}

static int reserve(struct making *m)
{
	size_t cap;
	uint32_t *layout;

	if (m->g.n_nodes < m->cap)
		return 0;
	cap = m->cap ? m->cap + m->cap / 2 : m->g.cap_nodes;
	if (cap < 1024)
		cap = 1024;
	layout = reallocarray(m->layout, cap, sizeof(*layout));
	if (!layout)
		return error_oom(m->err);
	m->layout = layout;
	m->cap = cap;
	return 0;
}

/* The object that @value points into: 1, *ret; 0: none. */
static int meet(struct making *m, uint64_t value, struct met *ret)
{
	const struct go_objects_span *s;
	int r;

	ret->slot = go_objects_find(&m->o, value, &ret->span);
	if (ret->slot == UINT32_MAX)
		return 0;
	ret->node = m->node[ret->slot];
	if (ret->node != UINT32_MAX)
		return 1;
	if (m->is_second) /* of a process that runs */
		return 0;
	s = &m->o.spans[ret->span];
	ret->node = m->node[ret->slot] = (uint32_t)m->g.n_nodes;
	r = reserve(m);
	if (r == 0)
		r = object_graph_node(&m->g, go_objects_address(s, ret->slot), s->elemsize, m->err);
	if (r == 0)
		r = go_queue_add(&m->queue, ret->node,
		                 go_objects_offset(&m->o, m->g.address[ret->node]), !s->no_scan,
		                 m->err);
	if (r == 0)
		r = set_described(m, ret->node, ret->span, ret->slot);
	return r < 0 ? r : 1;
}

/* ---- roots ---- */

static int walk(struct making *m);

static int add_root(void *arg, const struct object_root *root, uint64_t at, struct error *err)
{
	struct making *m = arg;
	struct object_root typed = *root;
	uint64_t start;
	uint32_t type = at && m->claims.types ? go_types_variable(m->claims.types, at, &start) : 0;

	if (type)
		typed.type = go_types_get(m->claims.types, type)->name;
	/* what a word on a stack leads to has no type: first all that has one */
	if (root->tier == OBJECT_TIER_STACK && !m->was_walked) {
		int r = walk(m);

		if (r < 0)
			return r;
		m->was_walked = true;
	}
	return object_graph_root(&m->g, &typed, err);
}

static int add_root_pointer(void *arg, uint64_t value, uint64_t at, const char *label,
                            struct error *err)
{
	struct making *m = arg;
	const struct go_types_slot *s = NULL;
	uint64_t start = 0;
	uint32_t text, type;
	struct met to;
	int r = meet(m, value, &to);

	if (r <= 0)
		return r;
	type = at && m->claims.types ? go_types_variable(m->claims.types, at, &start) : 0;
	if (type)
		s = go_types_slot_at(go_types_get(m->claims.types, type), at - start);
	if (s) {
		const struct go_types_slot copy = *s;

		text = copy.label;
		/* the variable's own pointer: its name says it already */
		if (!strcmp(object_graph_name(&m->g, text), "(*)"))
			text = 0;
		r = set_claimed(m, &to, &copy, at, value);
	} else {
		r = object_graph_text(&m->g, label, strlen(label), &text, err);
		if (r == 0 && at && !type)
			r = set_claimed(m, &to, NULL, at, value);
	}
	return r < 0 || to.node < m->n_own ? r : object_graph_root_edge(&m->g, to.node, text, err);
}

static int add_own(void *arg, uint64_t value, struct error *err)
{
	struct making *m = arg;
	struct met to;
	int r = meet(m, value, &to);

	if (r <= 0 || to.node < m->n_own)
		return r < 0 ? r : 0;
	m->n_own = to.node + 1;
	return object_graph_root_edge(&m->g, to.node, 0, err);
}

/* "main.hold.conn" and ".buf"; "(*)" is what the variable itself points to. */
static int join_labels(struct making *m, uint32_t variable, uint32_t field, uint32_t *ret)
{
	const uint64_t key = (uint64_t)variable << 32 | field;
	uint64_t *found = hash_map_get(&m->joined, key);
	char text[LABEL_BYTES];
	int r;

	*ret = found ? (uint32_t)*found : variable;
	if (found || !strcmp(object_graph_name(&m->g, field), "(*)"))
		return 0;
	snprintf(text, sizeof(text), "%s%s", object_graph_name(&m->g, variable),
	         object_graph_name(&m->g, field));
	r = object_graph_text(&m->g, text, strlen(text), ret, m->err);
	return r < 0 ? r : hash_map_put(&m->joined, key, *ret, m->err);
}

static int note_guess(struct making *m, uint64_t candidates, uint64_t value)
{
	int r;

	if (m->n_guessed >= MAX_LATE)
		return 0;
	r = array_reserve(&m->guessed, &m->cap_guessed, m->n_guessed + 1, m->err);
	if (r == 0)
		m->guessed[m->n_guessed++] = (struct guessed){ candidates, value };
	return r;
}

static int add_local(void *arg, uint64_t value, const struct go_roots_local *l, struct error *err)
{
	struct making *m = arg;
	const struct go_types_slot taken = { .what = l->what }, *s = NULL;
	uint32_t label = l->label;
	struct met to;
	int r = meet(m, value, &to);

	if (r <= 0)
		return r;
	r = 0;
	if (l->type)
		s = go_types_slot_at(go_types_get(m->claims.types, l->type), l->offset);
	else if (l->what != GO_TYPES_PLAIN && m->claims.types)
		s = &taken;
	if (s) {
		const struct go_types_slot copy = *s;

		if (copy.label)
			r = join_labels(m, l->label, copy.label, &label);
		go_claims_look_into(&m->claims, l->value, l->value_bytes);
		if (r == 0)
			r = set_claimed(m, &to, &copy,
			                l->value ? GO_CLAIMS_VALUE + l->offset : l->at, value);
		go_claims_look_into(&m->claims, NULL, 0);
	} else if ((uint32_t)l->candidates) {
		r = note_guess(m, l->candidates, value);
	}
	return r < 0 || to.node < m->n_own ? r : object_graph_root_edge(&m->g, to.node, label, err);
}

/* ---- the walk ---- */

/* The object's pointers come again as they came at first, unless the process runs. */
static int add_label(struct making *m, uint32_t to, uint32_t label)
{
	if (m->edge >= m->end || m->g.to[m->edge] != to) {
		m->edge = m->end;
		return 0;
	}
	return object_graph_set_label(&m->g, m->edge++, label, m->err);
}

/* The pointers of an object come in the order of its type's. */
static const struct go_types_slot *slot_at(struct making *m, uint32_t offset)
{
	const struct go_types_type *t = &m->holder;
	const uint64_t at = offset < t->size ? offset : offset % t->size;
	const uint32_t next = m->next_slot < t->n_slots ? m->next_slot : 0;
	const struct go_types_slot *s = next < t->n_slots && t->slots[next].offset == at
	                                        ? &t->slots[next]
	                                        : go_types_slot_at(t, at);

	if (s)
		m->next_slot = (uint32_t)(s - t->slots) + 1;
	return s;
}

static int add_pointer(void *arg, uint32_t offset, uint64_t value)
{
	struct making *m = arg;
	const struct go_types_slot *s = NULL;
	uint32_t label = 0;
	struct met to;
	/* two pointers side by side are no interface: its type is no pointer to the collector */
	bool beside = offset && m->last_offset + WORD != offset && !m->layout_of_from;
	int r = value ? meet(m, value, &to) : 0;

	m->last_offset = offset;
	if (r <= 0)
		return r;
	if (m->layout_of_from)
		s = slot_at(m, offset);
	if (s)
		label = m->layout_of_from & 1 ? s->many : s->label;
	if (s || beside)
		r = set_claimed(m, &to, s, m->at + offset, value);
	if (r < 0 || to.node < m->n_own)
		return r;
	if (m->is_second)
		return add_label(m, to.node, label);
	return object_graph_edge(&m->g, m->queue.n_taken - 1, to.node, label, m->err);
}

static int scan(struct making *m, size_t span, uint32_t slot)
{
	struct go_objects_span *s = &m->o.spans[span];
	const uint8_t *memory = s->bits ? go_objects_memory(&m->o, s) : NULL;
	int r;

	if (!memory)
		return go_objects_scan(&m->o, span, slot, add_pointer, m);
	s->pins++;
	r = go_objects_scan_small(s, memory, slot, add_pointer, m);
	s->pins--;
	return r;
}

static int look_at(struct making *m, uint32_t node)
{
	const uint64_t address = m->g.address[node];
	size_t span = 0;
	const uint32_t slot = go_objects_find(&m->o, address, &span);
	const struct go_objects_span *s = &m->o.spans[span];

	m->next_slot = 0;
	m->last_offset = UINT32_MAX - WORD;
	m->at = address + (s->has_header ? WORD : 0);
	/* most often its type is the last one's */
	if (m->layout[node] && m->layout[node] != m->layout_of_holder) {
		m->holder = *go_types_get(m->claims.types, m->layout[node] >> 1);
		m->layout_of_holder = m->layout[node];
	}
	m->layout_of_from = m->layout[node] && m->holder.size ? m->layout[node] : 0;
	return scan(m, span, slot - s->first);
}

/* Objects whose type was found out too late to be of use to what they refer to. */
static int look_again(struct making *m)
{
	int r = 0;

	m->is_second = true;
	for (; r == 0 && m->n_looked < m->n_late; m->n_looked++) {
		const uint32_t node = m->late[m->n_looked], turn = m->queue.turn[node];

		if (!go_queue_was_taken(&m->queue, node)) /* the walk was ended */
			continue;
		m->edge = m->g.first_edge[turn];
		m->end = m->g.first_edge[turn + 1];
		r = look_at(m, node);
	}
	return r;
}

/* ---- guesses ---- */

static struct go_claims_type known(void *arg, uint32_t slot)
{
	const struct making *m = arg;
	uint32_t node = m->node[slot];

	if (node == UINT32_MAX)
		return (struct go_claims_type){ 0 };
	return (struct go_claims_type){ m->g.type[node] >> 2, m->layout[node] };
}

/* Of closures the name is known, but not always what is in them. */
static bool guess_one(struct making *m, struct go_shapes *s, const struct met *at,
                      struct go_claims_type *ret)
{
	const char *name = object_graph_name(&m->g, m->g.type[at->node] >> 2);
	bool sure = false;

	m->sure = OBJECT_TYPED_SHAPE;
	if (!m->g.type[at->node])
		return go_shapes_guess(s, at->span, at->slot, ret);
	if (m->layout[at->node] || strncmp(name, "func ", 5) ||
	    !go_shapes_closure(s, at->span, at->slot, name + 5, ret, &sure))
		return false;
	if (sure)
		m->sure = OBJECT_TYPED;
	return true;
}

/* One look at all that has no type; each guess may tell what others are. */
static int guess(struct making *m, struct go_shapes *s, size_t *ret_n)
{
	int r = 0;

	*ret_n = 0;
	for (uint32_t node = 0; r == 0 && node < m->g.n_nodes; node++) {
		struct met at = { .node = node };
		struct go_claims_type t;

		/* one without pointers has no turn, and no shape */
		if (m->layout[node] || (!m->g.partial && !go_queue_was_taken(&m->queue, node)))
			continue;
		at.slot = go_objects_find(&m->o, m->g.address[node], &at.span);
		if (m->o.spans[at.span].no_scan || !guess_one(m, s, &at, &t))
			continue;
		++*ret_n;
		r = give_type(m, &at, &t);
		if (r == 0)
			r = look_again(m);
	}
	return r;
}

/* What is the only type that it can be. */
static int guess_types(struct making *m)
{
	const struct go_rtypes *types = m->claims.types ? go_types_descriptors(m->claims.types)
	                                                : NULL;
	struct go_shapes *s = NULL;
	size_t n = 1;
	/* a type that only a plugin has is none of those that it would be told from */
	int r = types && !m->module.n_others
	                ? go_shapes_open(&m->claims, types, known, m, &s, m->err)
	                : 0;

	for (unsigned i = 0; s && r == 0 && n && i < MAX_ROUNDS; i++)
		r = guess(m, s, &n);
	go_shapes_close(s);
	return r;
}

/* What only words on stacks lead to that no variable names. */
static int guess_locals(struct making *m)
{
	uint64_t tries = TRIES_LEAST + TRIES_EACH * (uint64_t)m->g.n_nodes;
	int r = 0;

	m->sure = OBJECT_TYPED_SHAPE;
	for (size_t i = 0; r == 0 && i < m->n_guessed; i++) {
		const struct guessed *k = &m->guessed[i];
		struct go_claims_type t;
		struct met to;

		if (meet(m, k->value, &to) <= 0 || m->g.type[to.node] ||
		    tries < (uint32_t)k->candidates)
			continue;
		tries -= (uint32_t)k->candidates;
		if (go_guess_type(&m->guess, k->candidates, &m->claims, k->value, to.span, to.slot,
		                  &t))
			r = give_type(m, &to, &t);
	}
	return r == 0 ? look_again(m) : r;
}

static int ask_for(void *arg, uint32_t offset, uint64_t value)
{
	struct making *m = arg;
	size_t span;
	const uint32_t slot = value ? go_objects_find(&m->o, value, &span) : UINT32_MAX;

	(void)offset;
	if (slot == UINT32_MAX)
		return 0;
	__builtin_prefetch(&m->node[slot], 1);
	__builtin_prefetch(&m->o.spans[span]);
	return 0;
}

/* What the next object leads to, and what is known of the one behind it: they lie anywhere, so they
 * are asked for from memory early. */
static void look_ahead(struct making *m)
{
	const uint32_t next = go_queue_next(&m->queue);
	const struct go_objects_span *s;
	size_t span = 0;
	uint32_t behind, slot;

	if (!next)
		return;
	behind = m->queue.turn[next - 1];
	if (behind) {
		__builtin_prefetch(&m->g.address[behind - 1]);
		__builtin_prefetch(&m->layout[behind - 1]);
		__builtin_prefetch(&m->queue.turn[behind - 1], 1);
	}
	slot = go_objects_find(&m->o, m->g.address[next - 1], &span);
	s = &m->o.spans[span];
	if (s->bits && s->memory)
		go_objects_scan_small(s, s->memory, slot - s->first, ask_for, m);
}

static int walk(struct making *m)
{
	const struct object_graph_options *o = m->options;
	uint32_t node;

	while (!m->g.partial && go_queue_take(&m->queue, &node)) {
		int r;

		look_ahead(m);
		r = look_at(m, node);
		if (r < 0)
			return r;
		if (m->queue.n_taken % PROGRESS_EVERY == 0 && o && o->progress &&
		    o->progress(o->arg, (double)m->g.n_nodes / (double)(m->o.taken_objects + 1)))
			m->g.partial = true;
	}
	return 0;
}

/* In the order of their turns. */
static int reorder(struct making *m)
{
	/* only what is wanted at once: the most memory of all is in use while nodes move */
	free(take_ptr(m->node));
	spare_give(take_ptr(m->layout));
	go_span_memory_drop(&m->o.memory);
	if (!m->g.n_nodes)
		return 0;
	return object_graph_reorder(&m->g, go_queue_turns(&m->queue, (uint32_t)m->g.n_nodes),
	                            m->err);
}

static void account(struct making *m, const char *version)
{
	uint64_t bytes = 0;

	for (uint32_t v = 0; v < m->g.n_nodes; v++)
		bytes += object_graph_size(&m->g, v);
	m->g.own_live_bytes = m->o.taken_bytes;
	m->g.own_live_objects = m->o.taken_objects;
	if (m->o.taken_bytes > bytes && !m->g.partial) {
		m->g.garbage_bytes = m->o.taken_bytes - bytes;
		m->g.garbage_objects = m->o.taken_objects > m->g.n_nodes
		                               ? m->o.taken_objects - m->g.n_nodes
		                               : 0;
	}
	snprintf(m->g.runtime, sizeof(m->g.runtime), "%s", version);
}

/* How much changed while it was read. */
static int compare(struct making *m)
{
	cleanup(go_objects_close) struct go_objects after = { 0 };
	cleanup(image_closep) struct image *i = NULL;
	int r = m->options->fresh(m->options->fresh_arg, &i, m->err);

	if (r == 0)
		r = go_objects_open(i, &m->module, &after, m->err);
	if (r == 0)
		m->g.changed_bytes = go_changes_bytes(&m->o, &after);
	m->g.is_moving = true;
	return r;
}

/* What else the memory is, and whether it all agrees. */
static int check(struct making *m, struct graph_account *to)
{
	struct go_check_reached reached = { .objects = m->g.n_nodes, .node = m->node };
	int r = go_account_make(&m->o, m->node, to, m->err);

	for (uint32_t v = 0; v < m->g.n_nodes; v++)
		reached.bytes += object_graph_size(&m->g, v);
	return r < 0 ? r : go_check_make(&m->o, &m->claims, &reached, to, m->err);
}

static int make(struct making *m, struct image *i, const char *version)
{
	const struct go_roots_sink sink = { add_root, add_root_pointer, add_own, add_local, m };
	int r = go_objects_open(i, &m->module, &m->o, m->err);

	if (r < 0)
		return r;
	m->node = malloc(((size_t)m->o.n_slots + 1) * sizeof(*m->node));
	if (!m->node)
		return error_oom(m->err);
	memset(m->node, 0xff, ((size_t)m->o.n_slots + 1) * sizeof(*m->node));
	m->claims.objects = &m->o;
	m->claims.texts = &m->g;
	m->claims.err = m->err;
	m->sure = OBJECT_TYPED;
	r = 0;
	if (!m->options || !m->options->no_types)
		r = go_types_open(&m->module, &m->g, &m->claims.types, m->err);
	if (r < 0)
		return r;
	object_graph_expect(&m->g, m->o.taken_objects + m->o.taken_objects / 64);
	r = go_queue_open(&m->queue, 0, m->o.bytes, m->g.cap_nodes, m->err);
	if (r == 0)
		r = go_roots_each(&m->o, &m->claims, &m->guess, &sink, m->err);
	if (r == 0)
		r = walk(m);
	if (r == 0)
		r = object_graph_finish(&m->g, m->err);
	if (r == 0)
		r = look_again(m);
	if (r == 0)
		r = guess_locals(m);
	if (r == 0)
		r = guess_types(m);
	if (r == 0)
		r = go_names_apply(&m->g, m->err);
	if (r == 0 && m->options && m->options->account && !m->g.partial)
		r = check(m, m->options->account);
	if (r == 0)
		r = go_births_add(&m->o, m->node, &m->g, m->err);
	if (r == 0)
		r = reorder(m);
	if (r == 0) {
		go_map_holders_apply(&m->g);
		account(m, version);
	}
	if (r == 0 && m->options && m->options->fresh)
		r = compare(m);
	return r;
}

int go_graph_make(struct image *i, const struct object_graph_options *o, struct object_graph *ret,
                  struct error *err)
{
	cleanup(making_clear) struct making m = { .options = o, .err = err };
	char version[64] = "";
	int r = go_module_open(i, &m.module, version, sizeof(version), err);

	if (r == -ENOTSUP && !version[0])
		return 0; /* another runtime's */
	if (r == 0)
		r = make(&m, i, version);
	if (r < 0)
		return r;
	*ret = m.g;
	m.g = (struct object_graph){ 0 };
	return 1;
}
