/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_code.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/code.h"
#include "runtime/code_graph.h"
#include "runtime/jemalloc/jemalloc_tree.h"

enum {
	MOST_FUNCTIONS = 1800, /* 5.2: some 950; 5.3: some 1,250; more is somebody else's, too */
	LEAST_FUNCTIONS = 300,
	GAP = 8,     /* so many functions between two of the allocator's are its, too */
	SITES = 16,  /* calls with a name; stats.c of 5.2 and 5.3 has some hundred */
	WINDOW = 16, /* instructions from a name to the call that it is for */
	DEPTH = 3,   /* calls from mallctl() to who names the root (ctl_lookup) */
	RSI = 6,
	RDI = 7,
	R8 = 8,
	R9 = 9,
};

void jemalloc_code_clear(struct jemalloc_code *c)
{
	free(c->ranges);
	*c = (struct jemalloc_code){ 0 };
}

/* ---- the module ---- */

struct search {
	struct elf_file *f;
	struct code_graph graph;
	struct jemalloc_tree tree;
	struct code_graph_ref *by_addr; /* the graph's, of private data */
	size_t n_by_addr;
	bool *is_own;    /* by function: the allocator's */
	uint32_t *queue; /* of those to be looked at */
	size_t n_queue, n_own;
	struct error *err;
};

static void search_clear(struct search *s)
{
	code_graph_clear(&s->graph);
	jemalloc_tree_clear(&s->tree);
	free(s->by_addr);
	free(s->is_own);
	free(s->queue);
}

static int by_addr(const void *a, const void *b)
{
	const struct code_graph_ref *x = a, *y = b;

	return x->addr < y->addr ? -1 : x->addr > y->addr;
}

static int index_refs(struct search *s)
{
	const struct code_graph *g = &s->graph;

	s->by_addr = malloc((g->n_refs + 1) * sizeof(*s->by_addr));
	s->is_own = calloc(g->n + 1, sizeof(*s->is_own));
	s->queue = malloc((g->n + 1) * sizeof(*s->queue));
	if (!s->by_addr || !s->is_own || !s->queue)
		return error_oom(s->err);
	for (size_t i = 0; i < g->n_refs; i++) {
		if (code_graph_is_variable(s->f, g->refs[i].addr))
			s->by_addr[s->n_by_addr++] = g->refs[i];
	}
	qsort(s->by_addr, s->n_by_addr, sizeof(*s->by_addr), by_addr);
	return 0;
}

/* ---- what is the allocator's ---- */

static void own(struct search *s, size_t function)
{
	if (function >= s->graph.n || s->is_own[function])
		return;
	s->is_own[function] = true;
	s->queue[s->n_queue++] = (uint32_t)function;
	s->n_own++;
}

/* All that name the variable @addr; and, of a variable that holds a function at first, that. */
static void own_users(struct search *s, uint64_t addr)
{
	size_t at = partition_point(s->n_by_addr, i, s->by_addr[i].addr < addr);
	struct error ignored;
	uint64_t word = 0;

	if (addr % 8 == 0 && elf_file_word(s->f, addr, &word, &ignored) < 0)
		word = 0;
	if (word == addr) /* __dso_handle, which whoever calls atexit() names */
		return;
	own(s, code_graph_at(&s->graph, word));
	for (; at < s->n_by_addr && s->by_addr[at].addr == addr; at++)
		own(s, s->by_addr[at].function);
}

/* From who answers for the tree's names: who is called, and who shares data with them. */
static void close_over(struct search *s)
{
	const struct code_graph *g = &s->graph;

	for (size_t i = 0; i < s->tree.n; i++)
		own(s, code_graph_at(g, s->tree.leaves[i].function));
	for (size_t at = 0; at < s->n_queue && s->n_own <= MOST_FUNCTIONS; at++) {
		const struct code_graph_function *c = &g->functions[s->queue[at]];

		for (uint32_t i = c->calls; i < c[1].calls; i++)
			own(s, g->calls[i]);
		for (uint32_t i = c->refs; i < c[1].refs; i++) {
			if (code_graph_is_variable(s->f, g->refs[i].addr))
				own_users(s, g->refs[i].addr);
		}
	}
}

/* ---- mallctl ---- */

static int by_name(const void *a, const void *b)
{
	const struct jemalloc_tree_leaf *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* A name of more than one part: those of one are other functions' texts, too. */
static bool is_leaf(const struct search *s, uint64_t vaddr)
{
	struct jemalloc_tree_leaf key = { .function = 0 };
	struct error ignored;

	for (size_t i = 0; i + 1 < sizeof(key.name); i++) {
		if (elf_file_read_vaddr(s->f, vaddr + i, &key.name[i], 1, &ignored) < 0)
			return false;
		if (!key.name[i])
			return strchr(key.name, '.') &&
			       bsearch(&key, s->tree.leaves, s->tree.n, sizeof(key), by_name);
	}
	return false;
}

struct sites {
	struct search *s;
	uint32_t *counts; /* by function */
	unsigned since;   /* instructions since a name of a leaf was loaded */
};

static int look_for_sites(const struct code_insn *in, const uint64_t names[2], void *arg)
{
	struct sites *to = arg;
	size_t callee;

	if (to->since < WINDOW)
		to->since++;
	for (unsigned i = 0; i < 2; i++) {
		if (names[i] && is_leaf(to->s, names[i]))
			to->since = 0;
	}
	if (in->flow != CODE_CALL)
		return 0;
	callee = in->direct ? code_graph_at(&to->s->graph, in->target) : to->s->graph.n;
	if (to->since < WINDOW && callee < to->s->graph.n)
		to->counts[callee]++;
	to->since = WINDOW;
	return 0;
}

/* How a function begins: which arguments it has is in the registers that it reads. */
struct arguments {
	unsigned reads, writes; /* bits, as struct code_insn has them */
};

static int look_at_arguments(const struct code_insn *in, const uint64_t names[2], void *arg)
{
	struct arguments *a = arg;

	(void)names;
	a->reads |= in->gpr_reads & ~a->writes;
	a->writes |= in->gpr_writes;
	return in->flow == CODE_NEXT || in->flow == CODE_BRANCH ? 0 : 1;
}

/* mallctl() has five; its neighbours three (nametomib), six (bymib), or a thread's state first
 * (ctl_byname(), of six). */
static int has_five_arguments(struct search *s, size_t function)
{
	struct arguments a = { 0 };
	int r = code_graph_each(s->f, &s->graph, function, look_at_arguments, &a, s->err);

	return r < 0 ? r : (a.reads >> R8 & 1) && !(a.reads >> R9 & 1);
}

/* Does it name the root, or do those that it calls? */
static bool leads_to_root(const struct search *s, size_t function, unsigned depth)
{
	const struct code_graph *g = &s->graph;
	const struct code_graph_function *c = &g->functions[function];

	for (uint32_t i = c->refs; i < c[1].refs; i++) {
		if (g->refs[i].addr == s->tree.super)
			return true;
	}
	for (uint32_t i = c->calls; depth && i < c[1].calls; i++) {
		if (leads_to_root(s, g->calls[i], depth - 1))
			return true;
	}
	return false;
}

static int no_proof(const struct search *s, const char *what, struct error *err)
{
	error_set(err, ENOTSUP,
	          "%s has a jemalloc without symbols, and %s: nothing is called on a guess",
	          elf_file_name(s->f), what);
	return error_hint(err, "its figures are read from outside (je stats); a build with symbols "
	                       "can be driven");
}

/* Exactly one function is all that mallctl() is. */
static int choose(struct search *s, const uint32_t *counts, struct jemalloc_code *to)
{
	size_t n = 0;

	for (size_t i = 0; i < s->graph.n; i++) {
		int r = 0;

		if (counts[i] >= SITES && s->is_own[i] && leads_to_root(s, i, DEPTH))
			r = has_five_arguments(s, i);
		if (r < 0)
			return r;
		if (!r)
			continue;
		n++;
		to->mallctl = s->graph.functions[i].start;
		to->sites = counts[i];
	}
	return n == 1 ? 0
	              : no_proof(s,
	                         n ? "more than one function could be its mallctl"
	                           : "no function proves to be its mallctl",
	                         s->err);
}

static int find_mallctl(struct search *s, struct jemalloc_code *to)
{
	cleanup_free uint32_t *counts = calloc(s->graph.n + 1, sizeof(*counts));
	struct sites sites = { s, counts, WINDOW };
	int r = counts ? 0 : error_oom(s->err);

	qsort(s->tree.leaves, s->tree.n, sizeof(*s->tree.leaves), by_name);
	for (size_t i = 0; r == 0 && i < s->graph.n; i++) {
		sites.since = WINDOW;
		if (s->is_own[i])
			r = code_graph_each(s->f, &s->graph, i, look_for_sites, &sites, s->err);
	}
	return r < 0 ? r : choose(s, counts, to);
}

/* ---- its code ---- */

static int add_range(struct search *s, struct jemalloc_code *to, size_t first, size_t last)
{
	const struct code_graph *g = &s->graph;
	int r = array_reserve(&to->ranges, &to->cap_ranges, to->n_ranges + 1, s->err);

	if (r == 0)
		to->ranges[to->n_ranges++] = (struct inject_range){ g->functions[first].start,
			                                            g->functions[last].end };
	return r;
}

/* The program's own first function, and what that names (main), are no allocator's. */
static bool is_programs(const struct search *s, size_t function)
{
	const struct code_graph *g = &s->graph;
	const size_t entry = code_graph_find(g, elf_file_entry(s->f));

	if (entry == g->n || function == entry)
		return function == entry;
	for (uint32_t i = g->functions[entry].calls; i < g->functions[entry + 1].calls; i++) {
		if (g->calls[i] == function)
			return true;
	}
	return false;
}

/* Few between two of the allocator's are its, too: an archive's parts lie side by side, and those
 * that touch no data are called by nobody but through a table. */
static bool is_gap(const struct search *s, size_t after, size_t before)
{
	if (before - after > GAP + 1)
		return false;
	for (size_t i = after + 1; i < before; i++) {
		if (is_programs(s, i))
			return false;
	}
	return true;
}

static int make_ranges(struct search *s, struct jemalloc_code *to)
{
	size_t first = s->graph.n, last = s->graph.n;
	int r = 0;

	for (size_t i = 0; r == 0 && i < s->graph.n; i++) {
		if (!s->is_own[i])
			continue;
		if (first < s->graph.n && !is_gap(s, last, i)) {
			r = add_range(s, to, first, last);
			first = s->graph.n;
		}
		if (first == s->graph.n)
			first = i;
		last = i;
	}
	return r < 0 || first == s->graph.n ? r : add_range(s, to, first, last);
}

static int prove(struct search *s, struct jemalloc_code *to)
{
	const size_t entry = code_graph_find(&s->graph, elf_file_entry(s->f));
	int r = index_refs(s);

	if (r < 0)
		return r;
	close_over(s);
	if (s->n_own > MOST_FUNCTIONS || s->n_own < LEAST_FUNCTIONS ||
	    (entry < s->graph.n && s->is_own[entry]))
		return no_proof(s, "its code cannot be told from the program's", s->err);
	r = find_mallctl(s, to);
	return r < 0 ? r : make_ranges(s, to);
}

int jemalloc_code_find(struct elf_file *f, struct jemalloc_code *ret, struct error *err)
{
	cleanup(search_clear) struct search s = { .f = f, .err = err };
	cleanup(jemalloc_code_clear) struct jemalloc_code c = { 0 };
	uint64_t root;
	int r = jemalloc_tree_root(f, &root, err);

	if (r <= 0)
		return r;
	r = code_graph_read(f, &s.graph, err);
	if (r < 0 && r != -ENOMEM)
		return no_proof(&s, "its code has no table that says where functions are", err);
	if (r == 0)
		r = jemalloc_tree_find(f, &s.graph, &s.tree, err);
	if (r == 0)
		r = no_proof(&s, "its control tree contradicts itself", err);
	if (r > 0)
		r = prove(&s, &c);
	if (r < 0)
		return r;
	c.leaves = s.tree.n;
	c.functions = s.n_own;
	*ret = c;
	c = (struct jemalloc_code){ 0 };
	return 1;
}
