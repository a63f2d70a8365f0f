/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_tree.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	NODE_BYTES = 40,  /* named, name, nchildren, children, ctl */
	INDEX_BYTES = 16, /* named, index */
	MOST_CHILDREN = 256,
	MOST_LEAVES = 4096,
	MOST_DEPTH = 10,
	LEAST_LEAVES = 100, /* 5.2 without its profiler has more than 200 */
	MOST_SEGMENT = 256 << 20,
	NAME = 48,
};

void jemalloc_tree_clear(struct jemalloc_tree *t)
{
	free(t->leaves);
	*t = (struct jemalloc_tree){ 0 };
}

struct node {
	uint64_t named, name, n_children, children, ctl;
};

static bool read_node(struct elf_file *f, uint64_t at, struct node *ret)
{
	uint64_t words[NODE_BYTES / 8];
	struct error ignored;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (elf_file_word(f, at + 8 * i, &words[i], &ignored) < 0)
			return false;
	}
	memcpy(ret, words, sizeof(words));
	return ret->named == 1 && ret->n_children <= MOST_CHILDREN;
}

/* A name of the tree: small letters, digits, underscores. "": none, or something else. */
static void read_name(struct elf_file *f, uint64_t at, char ret[NAME])
{
	struct error ignored;
	size_t n = 0;

	for (; n + 1 < NAME; n++) {
		if (elf_file_read_vaddr(f, at + n, &ret[n], 1, &ignored) < 0)
			break;
		if (!ret[n])
			return;
		if (!(ret[n] >= 'a' && ret[n] <= 'z') && !(ret[n] >= '0' && ret[n] <= '9') &&
		    ret[n] != '_')
			break;
	}
	ret[0] = '\0';
}

/* ---- the root ---- */

static bool is_root(struct elf_file *f, uint64_t at)
{
	static const char *const first[] = { "version", "epoch" };
	struct node n;
	char name[NAME];

	for (size_t i = 0; i < ARRAY_SIZE(first); i++) {
		if (!read_node(f, at + NODE_BYTES * i, &n) || n.n_children || !n.ctl)
			return false;
		read_name(f, n.name, name);
		if (strcmp(name, first[i]) != 0)
			return false;
	}
	return true;
}

static uint64_t word_at(const uint8_t *bytes)
{
	uint64_t v;

	memcpy(&v, bytes, sizeof(v));
	return v;
}

/* Two nodes without children, as far as the file's own bytes say: what no relocation fills. Spares
 * a look at every 1 of a module's data. */
static bool may_be_leaves(const uint8_t *bytes, uint64_t left)
{
	return left >= 2 * NODE_BYTES && word_at(bytes) == 1 && !word_at(bytes + 16) &&
	       word_at(bytes + NODE_BYTES) == 1 && !word_at(bytes + NODE_BYTES + 16);
}

/* Call @each for the places in data where @value is. @relocated: a place that a relocation fills
 * counts as what it is filled with; else the place must look like the tree's first nodes. */
static int each_word(struct elf_file *f, uint64_t value, bool relocated,
                     int (*each)(struct elf_file *f, uint64_t at, void *arg), void *arg,
                     struct error *err)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);
		cleanup_free uint8_t *bytes = NULL;
		int r;

		if (s.type != PT_LOAD || s.flags & PF_X || !s.filesz || s.filesz > MOST_SEGMENT)
			continue;
		bytes = malloc(s.filesz);
		if (!bytes)
			return error_oom(err);
		r = elf_file_read_vaddr(f, s.vaddr, bytes, s.filesz, err);
		if (r < 0)
			return r;
		for (uint64_t at = -s.vaddr & 7; at + 8 <= s.filesz; at += 8) {
			uint64_t word = word_at(bytes + at);

			if (!relocated && !may_be_leaves(bytes + at, s.filesz - at))
				continue;
			if (word != value && relocated &&
			    elf_file_word(f, s.vaddr + at, &word, err) < 0)
				continue;
			if (word != value)
				continue;
			r = each(f, s.vaddr + at, arg);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

struct found {
	uint64_t at, other;
	size_t n;
};

static int look_for_root(struct elf_file *f, uint64_t at, void *arg)
{
	struct found *to = arg;

	if (is_root(f, at)) {
		to->at = at;
		to->n++;
	}
	return 0;
}

int jemalloc_tree_root(struct elf_file *f, uint64_t *ret, struct error *err)
{
	struct found found = { 0 };
	int r = each_word(f, 1, false, look_for_root, &found, err);

	if (r < 0 || found.n != 1)
		return r < 0 ? r : 0;
	*ret = found.at;
	return 1;
}

bool jemalloc_tree_leaf_at(struct elf_file *f, uint64_t root, const char *name, uint64_t *ret)
{
	char part[NAME];

	for (unsigned i = 0, depth = 0; i < MOST_CHILDREN && depth < MOST_DEPTH; i++) {
		const size_t len = strcspn(name, ".");
		struct node n;

		if (!read_node(f, root + i * NODE_BYTES, &n))
			return false;
		read_name(f, n.name, part);
		if (strlen(part) != len || strncmp(part, name, len) != 0)
			continue;
		*ret = n.ctl;
		if (!name[len])
			return !n.n_children && n.ctl;
		if (!n.n_children)
			return false;
		root = n.children;
		name += len + 1;
		i = -1u;
		depth++;
	}
	return false;
}

/* { true, "", number of nodes, root_node, NULL } */
static int look_for_super(struct elf_file *f, uint64_t at, void *arg)
{
	struct found *to = arg;
	struct node n;
	uint8_t first = 1;
	struct error ignored;

	if (!read_node(f, at - 24, &n) || n.children != to->other || n.ctl || n.n_children < 8 ||
	    elf_file_read_vaddr(f, n.name, &first, 1, &ignored) < 0 || first)
		return 0;
	to->at = at - 24;
	to->n++;
	return 0;
}

/* ---- the rest ---- */

struct walk {
	struct elf_file *f;
	const struct code_graph *g;
	struct jemalloc_tree *to;
	struct error *err;
	bool is_wrong; /* something that no tree has */
};

static int add_leaf(struct walk *w, const char *path, uint64_t function)
{
	struct jemalloc_tree *to = w->to;
	int r;

	if (code_graph_at(w->g, function) == w->g->n || to->n >= MOST_LEAVES) {
		w->is_wrong = true;
		return 0;
	}
	r = array_reserve(&to->leaves, &to->cap, to->n + 1, w->err);
	if (r < 0)
		return r;
	snprintf(to->leaves[to->n].name, sizeof(to->leaves[to->n].name), "%s", path);
	to->leaves[to->n++].function = function;
	return 0;
}

static int walk_children(struct walk *w, const struct node *of, const char *path, unsigned depth);

struct returned {
	struct walk *walk;
	struct node node;
	bool has;
};

static int look_for_node(const struct code_insn *in, const uint64_t names[2], void *arg)
{
	struct returned *to = arg;
	struct node n;
	char first;
	struct error ignored;

	(void)in;
	for (unsigned i = 0; i < 2; i++) {
		if (!names[i] || !read_node(to->walk->f, names[i], &n) || !n.n_children || n.ctl ||
		    elf_file_read_vaddr(to->walk->f, n.name, &first, 1, &ignored) < 0 || first)
			continue;
		to->node = n;
		to->has = true;
	}
	return 0;
}

/* { false, function that returns the node for a number } */
static int walk_index(struct walk *w, uint64_t at, unsigned depth)
{
	struct returned found = { .walk = w };
	uint64_t function = 0;
	size_t there;
	int r;

	if (elf_file_word(w->f, at + 8, &function, w->err) < 0)
		function = 0;
	there = code_graph_at(w->g, function);
	if (there == w->g->n) {
		w->is_wrong = true;
		return 0;
	}
	r = add_leaf(w, "", function);
	if (r == 0)
		r = code_graph_each(w->f, w->g, there, look_for_node, &found, w->err);
	return r < 0 || !found.has ? r : walk_children(w, &found.node, "", depth + 1);
}

static int walk_named(struct walk *w, uint64_t at, const char *path, bool is_below_index,
                      unsigned depth)
{
	char name[NAME], full[JEMALLOC_TREE_NAME];
	struct node n;

	if (!read_node(w->f, at, &n)) {
		w->is_wrong = true;
		return 0;
	}
	read_name(w->f, n.name, name);
	if (!name[0] || (n.n_children ? !n.children : !n.ctl)) {
		w->is_wrong = true;
		return 0;
	}
	snprintf(full, sizeof(full), "%s%s%s", path, path[0] ? "." : "", name);
	if (is_below_index)
		full[0] = '\0';
	if (!n.n_children)
		return add_leaf(w, full, n.ctl);
	return walk_children(w, &n, full, depth + 1);
}

static int walk_children(struct walk *w, const struct node *of, const char *path, unsigned depth)
{
	uint64_t named = 2;
	int r = 0;

	if (depth > MOST_DEPTH || elf_file_word(w->f, of->children, &named, w->err) < 0)
		named = 2;
	if (named == 0)
		return walk_index(w, of->children, depth);
	if (named != 1)
		w->is_wrong = true;
	for (uint64_t i = 0; r == 0 && !w->is_wrong && i < of->n_children; i++)
		r = walk_named(w, of->children + i * NODE_BYTES, path, depth && !path[0], depth);
	return r;
}

int jemalloc_tree_find(struct elf_file *f, const struct code_graph *g, struct jemalloc_tree *ret,
                       struct error *err)
{
	cleanup(jemalloc_tree_clear) struct jemalloc_tree t = { 0 };
	struct walk w = { f, g, &t, err, false };
	struct found super = { 0 };
	struct node n;
	int r = jemalloc_tree_root(f, &t.root, err);

	if (r <= 0)
		return r;
	super.other = t.root;
	r = each_word(f, t.root, true, look_for_super, &super, err);
	if (r < 0 || super.n != 1 || !read_node(f, super.at, &n))
		return r < 0 ? r : 0;
	t.super = super.at;
	r = walk_children(&w, &n, "", 0);
	if (r < 0 || w.is_wrong || t.n < LEAST_LEAVES)
		return r < 0 ? r : 0;
	*ret = t;
	t = (struct jemalloc_tree){ 0 };
	return 1;
}
