/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "refs/refs_chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

void refs_chains_clear(struct refs_chains *c)
{
	for (size_t i = 0; i < c->n_items; i++) {
		free(c->items[i].steps);
		free(c->items[i].shared_by);
	}
	free(c->items);
	*c = (struct refs_chains){ 0 };
}

struct refs_chain *refs_chains_add(struct refs_chains *c, uint32_t root, struct error *err)
{
	if (array_reserve(&c->items, &c->cap_items, c->n_items + 1, err) < 0)
		return NULL;
	c->items[c->n_items] = (struct refs_chain){ .root = root };
	return &c->items[c->n_items++];
}

int refs_chain_step(struct refs_chain *c, uint32_t node, uint32_t label, uint64_t kept_bytes,
                    struct error *err)
{
	int r = array_reserve(&c->steps, &c->cap_steps, c->n_steps + 1, err);

	if (r == 0)
		c->steps[c->n_steps++] = (struct refs_step){ node, label, kept_bytes };
	return r;
}

/* ---- text ---- */

static void print_root(const struct refs_chains *c, const struct refs_chain *chain,
                       const struct object_graph *g, FILE *to)
{
	const struct object_root *r;

	if (chain->root == REFS_CHAIN_NO_ROOT) {
		fprintf(to, "%s\n", chain->shared_by);
		return;
	}
	r = &g->roots[chain->root];
	fprintf(to, "%s%s%s (%s)", object_graph_name(g, r->name), r->type ? " " : "",
	        object_graph_name(g, r->type), object_graph_name(g, r->kind));
	if (c->shows_kept)
		fprintf(to, ", keeps %" PRIu64 " bytes", chain->kept_bytes);
	fputc('\n', to);
}

static void print_step(const struct refs_chains *c, const struct refs_step *s,
                       const struct object_graph *g, FILE *to)
{
	const char *type = object_graph_name(g, g->type[s->node] >> 2);

	if (!*type)
		type = "[unknown type]";
	fprintf(to, "  %s%s%s at 0x%" PRIx64, object_graph_name(g, s->label), s->label ? " " : "",
	        type, g->address[s->node]);
	if (c->shows_kept)
		fprintf(to, ", keeps %" PRIu64 " bytes\n", s->kept_bytes);
	else
		fprintf(to, ", %" PRIu64 " bytes\n", object_graph_size(g, s->node));
}

static void print_chain(const struct refs_chains *c, const struct refs_chain *chain,
                        const struct object_graph *g, FILE *to)
{
	print_root(c, chain, g, to);
	for (size_t i = 0; i < chain->n_steps; i++) {
		if (chain->left_out && i == chain->left_out_from)
			fprintf(to, "  ... %zu more ...\n", chain->left_out);
		print_step(c, &chain->steps[i], g, to);
	}
}

int refs_chains_text(const struct refs_chains *c, const struct object_graph *g, char **ret,
                     struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return error_oom(err);
	for (size_t i = 0; i < c->n_items; i++)
		print_chain(c, &c->items[i], g, to);
	if (c->more)
		fprintf(to, "... and from %zu more roots\n", c->more);
	if (!c->n_items)
		fputs("nothing refers to it any more\n", to);
	if (fclose(to) || !text)
		return error_oom(err);
	*ret = take_ptr(text);
	return 0;
}

/* ---- ways ---- */

void refs_chain_ways_clear(struct refs_ways *w)
{
	for (size_t i = 0; i < w->n_items; i++) {
		for (size_t k = 0; k < w->items[i].n_frames; k++)
			free(w->items[i].frames[k]);
		free(w->items[i].frames);
	}
	free(w->items);
	*w = (struct refs_ways){ 0 };
}

static void print_way(const struct refs_way *w, FILE *to)
{
	fprintf(to, "%s: %" PRIu64 " object%s, %" PRIu64 " bytes\n", w->frames[0], w->objects,
	        w->objects == 1 ? "" : "s", w->bytes);
	for (size_t i = 1; i < w->n_frames; i++)
		fprintf(to, "  %s\n", w->frames[i]);
}

int refs_chain_ways_text(const struct refs_ways *w, char **ret, struct error *err)
{
	cleanup_free char *text = NULL;
	size_t bytes;
	FILE *to = open_memstream(&text, &bytes);

	if (!to)
		return error_oom(err);
	for (size_t i = 0; i < w->n_items; i++)
		print_way(&w->items[i], to);
	if (w->more)
		fprintf(to, "... and %" PRIu64 " more ways\n", w->more);
	if (w->unreached)
		fprintf(to, "... and %" PRIu64 " that nothing refers to\n", w->unreached);
	if (fclose(to) || !text)
		return error_oom(err);
	*ret = take_ptr(text);
	return 0;
}
