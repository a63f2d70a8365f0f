/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/why_json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "cli/why.h"
#include "refs/refs.h"
#include "refs/refs_births.h"

static void put_uint(struct json *j, const char *key, uint64_t v)
{
	json_key(j, key);
	json_uint(j, v);
}

/* "" is null: not known. */
static void put_text(struct json *j, const char *key, const char *text)
{
	json_key(j, key);
	if (*text)
		json_string(j, text);
	else
		json_null(j);
}

static void put_node(struct json *j, const struct object_graph *g, uint32_t node,
                     const char *bytes_key)
{
	char address[32];

	snprintf(address, sizeof(address), "0x%" PRIx64, g->address[node]);
	json_key(j, "address");
	json_string(j, address);
	put_uint(j, bytes_key, object_graph_size(g, node));
	put_text(j, "type", object_graph_name(g, g->type[node] >> 2));
}

static void put_step(struct json *j, const struct refs_chains *c, const struct refs_step *s,
                     const struct object_graph *g)
{
	json_object(j);
	if (!c->shows_kept)
		put_text(j, "label", object_graph_name(g, s->label));
	put_node(j, g, s->node, "bytes");
	if (c->shows_kept)
		put_uint(j, "retained_bytes", s->kept_bytes);
	json_object_end(j);
}

static void put_root(struct json *j, const struct refs_chain *c, const struct object_graph *g)
{
	const struct object_root *r = c->root == REFS_CHAIN_NO_ROOT ? NULL : &g->roots[c->root];
	char name[1024];

	if (r)
		snprintf(name, sizeof(name), "%s%s%s", object_graph_name(g, r->name),
		         r->type ? " " : "", object_graph_name(g, r->type));
	json_key(j, "root");
	json_string(j, r ? name : c->shared_by);
	put_text(j, "kind", r ? object_graph_name(g, r->kind) : "shared");
}

static void put_chain(struct json *j, const struct refs_chains *c, const struct refs_chain *chain,
                      const struct object_graph *g)
{
	json_object(j);
	put_root(j, chain, g);
	if (c->shows_kept && chain->root != REFS_CHAIN_NO_ROOT)
		put_uint(j, "retained_bytes", chain->kept_bytes);
	json_key(j, "steps");
	json_array(j);
	for (size_t i = 0; i < chain->n_steps; i++)
		put_step(j, c, &chain->steps[i], g);
	json_array_end(j);
	put_uint(j, "left_out", chain->left_out);
	json_key(j, "left_out_from");
	if (chain->left_out)
		json_uint(j, chain->left_out_from);
	else
		json_null(j);
	json_object_end(j);
}

static void put_shortest(struct json *j, const struct refs_chains *c, const struct object_graph *g)
{
	json_key(j, "shortest");
	json_array(j);
	for (size_t i = 0; i < c->n_items; i++)
		put_chain(j, c, &c->items[i], g);
	json_array_end(j);
	put_uint(j, "more_roots", c->more);
}

static void put_birth(struct json *j, const struct object_graph *g, uint32_t node)
{
	const struct object_birth *b = refs_births_of(g, node);

	json_key(j, "born_in");
	if (!b) {
		json_null(j);
		return;
	}
	json_array(j);
	for (uint32_t i = 0; i < g->birth_stacks[b->stack].n; i++)
		json_string(j, object_graph_name(
				       g, g->birth_frames[g->birth_stacks[b->stack].first + i]));
	json_array_end(j);
}

int why_json(struct json *j, const struct object_graph *g, uint32_t node, struct error *err)
{
	cleanup(refs_chains_clear) struct refs_chains shortest = { 0 }, widest = { 0 };
	int r = refs_why(g, node, WHY_CHAINS, &shortest, err);

	if (r == 0)
		r = refs_widest(g, node, &widest, err);
	if (r < 0)
		return r;
	put_node(j, g, node, "size_bytes");
	put_birth(j, g, node);
	put_shortest(j, &shortest, g);
	json_key(j, "widest");
	if (widest.n_items)
		put_chain(j, &widest, &widest.items[0], g);
	else
		json_null(j);
	return 0;
}

static void put_ways(struct json *j, const struct refs_ways *w)
{
	json_key(j, "widest");
	json_array(j);
	for (size_t i = 0; i < w->n_items; i++) {
		json_object(j);
		json_key(j, "frames");
		json_array(j);
		for (size_t k = 0; k < w->items[i].n_frames; k++)
			json_string(j, w->items[i].frames[k]);
		json_array_end(j);
		put_uint(j, "objects", w->items[i].objects);
		put_uint(j, "bytes", w->items[i].bytes);
		json_object_end(j);
	}
	json_array_end(j);
	put_uint(j, "more_ways", w->more);
	put_uint(j, "unreached", w->unreached);
}

int why_json_type(struct json *j, const struct object_graph *g, const char *re, struct error *err)
{
	cleanup(why_all_clear) struct why_all all = { 0 };
	int r = why_all(g, re, &all, err);

	if (r < 0)
		return r;
	put_uint(j, "objects", all.n);
	put_uint(j, "bytes", all.bytes);
	put_ways(j, &all.widest);
	put_shortest(j, &all.nearest, g);
	return 0;
}
