/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "refs/refs.h"
#include "refs/refs_births.h"
#include "render/escape.h"

/* The next line of *at, malloc'ed; NULL at the end. */
static char *next_line(const char **at)
{
	size_t len = strcspn(*at, "\n");
	char *line = **at ? strndup(*at, len) : NULL;

	if (**at)
		*at += len + ((*at)[len] == '\n');
	return line;
}

static void put_lines(const char *text, const char *indent, FILE *to)
{
	while (*text) {
		cleanup_free char *line = next_line(&text);

		if (!line)
			return;
		fputs(indent, to);
		escape_text(to, line, 0);
		fputc('\n', to);
	}
}

static void put_birth(const struct object_graph *g, uint32_t node, const char *indent, FILE *to)
{
	const struct object_birth *b = refs_births_of(g, node);
	const struct object_birth_stack *s;

	if (!b)
		return;
	s = &g->birth_stacks[b->stack];
	fprintf(to, "%sborn in ", indent);
	for (uint32_t i = 0; i < s->n; i++) {
		if (i)
			fputs(" \xe2\x86\x90 ", to);
		escape_text(to, object_graph_name(g, g->birth_frames[s->first + i]), 0);
	}
	fputc('\n', to);
}

int why_print(const struct object_graph *g, uint32_t node, const char *indent, FILE *to,
              struct error *err)
{
	cleanup(refs_chains_clear) struct refs_chains shortest = { 0 }, widest = { 0 };
	cleanup_free char *near = NULL, *wide = NULL;
	int r = refs_why(g, node, WHY_CHAINS, &shortest, err);

	if (r == 0)
		r = refs_widest(g, node, &widest, err);
	if (r == 0)
		r = refs_chains_text(&shortest, g, &near, err);
	if (r == 0)
		r = refs_chains_text(&widest, g, &wide, err);
	if (r < 0)
		return r;
	put_birth(g, node, indent, to);
	put_lines(near, indent, to);
	fprintf(to, "%swidest, each alone keeps what is below it:\n", indent);
	put_lines(wide, indent, to);
	return 0;
}

int why_find(const struct object_graph *g, uint64_t address, uint32_t *ret, struct error *err)
{
	uint32_t node = object_graph_find(g, address);

	if (node != UINT32_MAX) {
		*ret = node;
		return 0;
	}
	error_set(err, ENOENT, "no live object is at 0x%" PRIx64, address);
	return error_hint(err,
	                  "it is garbage, no object of this heap, or moved; `memwho what` says "
	                  "what the memory there is");
}

void why_all_clear(struct why_all *a)
{
	refs_chain_ways_clear(&a->widest);
	refs_chains_clear(&a->nearest);
}

int why_all(const struct object_graph *g, const char *re, struct why_all *ret, struct error *err)
{
	cleanup_free uint32_t *nodes = NULL;
	int r = refs_widest_nodes(g, re, &nodes, &ret->n, err);

	if (r == 0)
		r = refs_widest_of(g, nodes, ret->n, WHY_CHAINS, &ret->widest, err);
	if (r == 0)
		r = refs_why_any(g, nodes, ret->n, WHY_CHAINS, &ret->nearest, err);
	for (size_t i = 0; r == 0 && i < ret->n; i++)
		ret->bytes += object_graph_size(g, nodes[i]);
	return r;
}

int why_type(const struct object_graph *g, const char *re, FILE *to, struct error *err)
{
	cleanup(why_all_clear) struct why_all all = { 0 };
	cleanup_free char *widest = NULL, *shortest = NULL;
	int r = why_all(g, re, &all, err);

	if (r == 0)
		r = refs_chain_ways_text(&all.widest, &widest, err);
	if (r == 0)
		r = refs_chains_text(&all.nearest, g, &shortest, err);
	if (r < 0)
		return r;
	fprintf(to, "%zu object%s, %" PRIu64 " bytes; the widest ways to them:\n", all.n,
	        all.n == 1 ? "" : "s", all.bytes);
	put_lines(widest, "", to);
	fputs("the shortest way from each root:\n", to);
	put_lines(shortest, "", to);
	return 0;
}
