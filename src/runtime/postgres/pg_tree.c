/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/postgres/pg_blocks.h"

enum {
	MAX_CONTEXTS = 1 << 20,
	MAX_LEVEL = 4096,
	MAX_HEADER_BYTES = 256,
	NAME_BYTES = 128,
	IDENT_BYTES = 1100, /* the server itself cuts at 1024 */
};

struct walk {
	struct pg_memory *m;
	const struct pg_layout *l;
	struct pg_tree *t;
	struct pg_blocks blocks;
	struct error *err;
};

static void walk_clear(struct walk *w)
{
	pg_blocks_clear(&w->blocks);
}

void pg_tree_clear(struct pg_tree *t)
{
	free(t->items);
	free(t->strings);
	*t = (struct pg_tree){ 0 };
}

const char *pg_tree_name(const struct pg_tree *t, const struct pg_context *c)
{
	return t->strings + c->name;
}

const char *pg_tree_ident(const struct pg_tree *t, const struct pg_context *c)
{
	return t->strings + c->ident;
}

const struct pg_context *pg_tree_find(const struct pg_tree *t, uint64_t address)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->items[i].address == address)
			return &t->items[i];
	return NULL;
}

void pg_tree_path(const struct pg_tree *t, const struct pg_context *c, char *buf, size_t size)
{
	uint32_t chain[MAX_LEVEL + 1];
	size_t n = 0, used = 0;

	buf[0] = '\0';
	for (uint32_t i = c - t->items; i != UINT32_MAX && n <= MAX_LEVEL; i = t->items[i].parent)
		chain[n++] = i;
	while (n-- > 0 && used < size) {
		used += snprintf(buf + used, size - used, "%s%s", used ? "/" : "",
		                 pg_tree_name(t, &t->items[chain[n]]));
	}
}

static int add_string(struct walk *w, const char *s, uint32_t *at)
{
	size_t len = strlen(s) + 1;
	int r;

	if (len == 1 && w->t->n_strings) { /* offset 0 is "" */
		*at = 0;
		return 0;
	}
	if (w->t->n_strings + len > UINT32_MAX)
		return error_oom(w->err);
	r = array_reserve(&w->t->strings, &w->t->cap_strings, w->t->n_strings + len, w->err);
	if (r < 0)
		return r;
	*at = w->t->n_strings;
	memcpy(w->t->strings + *at, s, len);
	w->t->n_strings += len;
	return 0;
}

static int read_names(struct walk *w, struct pg_context *c)
{
	const struct pg_layout *l = w->l;
	char name[NAME_BYTES], ident[IDENT_BYTES] = "";
	int r;

	pg_memory_string(w->m, pg_memory_word(w->m, c->address + l->at_name), name, sizeof(name));
	if (l->at_ident)
		pg_memory_string(w->m, pg_memory_word(w->m, c->address + l->at_ident), ident,
		                 sizeof(ident));
	if (strcmp(name, "dynahash") == 0 && ident[0]) {
		snprintf(name, sizeof(name), "%s", ident);
		ident[0] = '\0';
	}
	r = add_string(w, name, &c->name);
	return r < 0 ? r : add_string(w, ident, &c->ident);
}

static int torn(struct walk *w, const struct pg_context *c, const char *why)
{
	return error_set(w->err, EAGAIN, "context at 0x%" PRIx64 " (level %u): %s", c->address,
	                 c->level, why);
}

static int measure(struct walk *w, struct pg_context *c)
{
	struct pg_blocks *b = &w->blocks;
	uint64_t headers = 0;
	int r = pg_blocks_read(w->m, w->l, c->class, c->address, b, w->err);

	if (r == -EAGAIN)
		return torn(w, c, b->torn);
	if (r < 0)
		return r;
	c->blocks = b->n;
	for (size_t i = 0; i < b->n; i++) {
		const struct pg_block *k = &b->items[i];

		if (c->class == PG_SLAB) {
			c->total += b->block_bytes;
			c->free += k->n_free * b->chunk_stride;
			c->chunk_bytes += (k->n_chunks - k->n_free) * b->chunk_stride;
			c->free_chunks += k->n_free;
			continue;
		}
		c->total += k->end - k->address;
		c->free += k->end - k->fill;
		c->free_chunks += k->n_free;
		headers += k->data - k->address;
	}
	c->total += b->node_bytes; /* Bump has 0: BumpStats() leaves it out */
	c->total += b->empty_blocks * b->block_bytes;
	c->free += b->free_bytes;
	c->free_chunks += b->free_chunks;
	if (c->free > c->total || c->total - c->free < headers + b->node_bytes)
		return torn(w, c, "more free than there is");
	c->used = c->total - c->free;
	if (c->class != PG_SLAB)
		c->chunk_bytes = c->used - b->node_bytes - headers;
	return 0;
}

/* Add the context at @address as child of @parent, after sibling @prev. */
static int visit(struct walk *w, uint64_t address, uint32_t parent, uint64_t prev)
{
	const struct pg_layout *l = w->l;
	struct pg_tree *t = w->t;
	struct pg_context c = { .address = address, .parent = parent };
	uint8_t head[MAX_HEADER_BYTES];
	uint64_t methods, up, before;
	int class, r;

	if (parent != UINT32_MAX)
		c.level = t->items[parent].level + 1;
	if (t->n >= MAX_CONTEXTS || c.level > MAX_LEVEL)
		return torn(w, &c, "too many contexts");
	if ((address & 7) || pg_memory_read(w->m, address, head, l->header) < 0)
		return torn(w, &c, "not readable");
	memcpy(&methods, head + l->at_methods, sizeof(methods));
	memcpy(&up, head + l->at_parent, sizeof(up));
	memcpy(&before, head + l->at_prev, sizeof(before));
	class = pg_layout_class(l, methods);
	if (class < 0)
		return torn(w, &c, "its method table is not a known one");
	if (up != (parent == UINT32_MAX ? 0 : t->items[parent].address) || before != prev)
		return torn(w, &c, "its parent or sibling link");
	c.class = class;
	r = read_names(w, &c);
	if (r == 0)
		r = measure(w, &c);
	if (r == 0)
		r = array_reserve(&t->items, &t->cap, t->n + 1, w->err);
	if (r < 0)
		return r;
	if (parent != UINT32_MAX)
		t->items[parent].n_children++;
	t->total += c.total;
	t->used += c.used;
	t->chunk_bytes += c.chunk_bytes;
	t->items[t->n++] = c;
	return 0;
}

static int walk_all(struct walk *w)
{
	struct pg_tree *t = w->t;
	uint32_t at = 0; /* the context whose relatives come next */
	bool down = true;
	uint32_t unused;
	int r = add_string(w, "", &unused);

	if (r == 0)
		r = visit(w, w->l->top, UINT32_MAX, 0);
	while (r == 0) {
		uint64_t address = t->items[at].address;
		uint64_t child = down ? pg_memory_word(w->m, address + w->l->at_first_child) : 0;
		uint64_t next;

		if (child) {
			r = visit(w, child, at, 0);
			at = t->n - 1;
			continue;
		}
		if (t->items[at].parent == UINT32_MAX)
			break;
		next = pg_memory_word(w->m, address + w->l->at_next);
		down = next != 0;
		if (next)
			r = visit(w, next, t->items[at].parent, address);
		at = next ? t->n - 1 : t->items[at].parent;
	}
	return r;
}

int pg_tree_read(struct pg_memory *m, const struct pg_layout *l, struct pg_tree *ret,
                 struct error *err)
{
	cleanup(pg_tree_clear) struct pg_tree t = { 0 };
	cleanup(walk_clear) struct walk w = { .m = m, .l = l, .t = &t, .err = err };
	int r;

	if (l->header > MAX_HEADER_BYTES)
		return error_set(err, ENOTSUP, "a context's header of %u bytes", l->header);
	r = walk_all(&w);
	if (r < 0)
		return r;
	pg_tree_clear(ret);
	*ret = t;
	t = (struct pg_tree){ 0 };
	return 0;
}
