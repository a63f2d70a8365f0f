/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "refs/dominators.h"
#include "refs/paths.h"
#include "refs/refs.h"
#include "refs/shared.h"

enum { SHOWN = 20, NAME_BYTES = 1024 };

/* ---- one object ---- */

/* The dominators of an object that are shown, from the root on. */
struct chain {
	uint32_t vertex[2 * SHOWN];
	uint64_t kept[2 * SHOWN];
	size_t n, left_out; /* of a long one the middle, behind the first SHOWN */
};

static size_t depth_of(const struct dominators *d, uint32_t v)
{
	size_t n = 0;

	for (; v != d->n - 1; v = d->idom[v])
		n++;
	return n;
}

static void fill_chain(const struct dominators *d, uint32_t node, struct chain *ret)
{
	size_t depth = depth_of(d, node), k = depth;

	ret->left_out = depth > 2 * SHOWN ? depth - 2 * SHOWN : 0;
	ret->n = depth - ret->left_out;
	for (uint32_t v = node; v != d->n - 1; v = d->idom[v]) {
		k--;
		if (k < SHOWN)
			ret->vertex[k] = v;
		else if (k >= SHOWN + ret->left_out)
			ret->vertex[k - ret->left_out] = v;
	}
}

/* What each keeps, in one pass over the tree: they lie in each other. */
static void sum_chain(const struct object_graph *g, const struct dominators *d, struct chain *c)
{
	size_t next = 0, open = 0;
	uint32_t end[2 * SHOWN];
	uint64_t sum = 0;

	for (size_t i = 0; i <= d->n_order && (next < c->n || open); i++) {
		while (open && end[open - 1] == i) {
			open--;
			c->kept[open] = sum - c->kept[open];
		}
		if (i == d->n_order)
			break;
		if (next < c->n && d->order[i] == c->vertex[next]) {
			c->kept[next++] = sum;
			end[open++] = d->end[i];
		}
		if (d->order[i] < d->n_nodes)
			sum += object_graph_size(g, d->order[i]);
	}
}

static void print_vertex(const struct object_graph *g, uint32_t v, uint64_t kept, FILE *to)
{
	const struct object_root *root = v >= g->n_nodes ? &g->roots[v - g->n_nodes] : NULL;
	const char *type;

	if (root) {
		fprintf(to, "%s%s%s (%s), keeps %" PRIu64 " bytes\n",
		        object_graph_name(g, root->name), root->type ? " " : "",
		        object_graph_name(g, root->type), object_graph_name(g, root->kind), kept);
		return;
	}
	type = object_graph_name(g, g->type[v] >> 2);
	fprintf(to, "  %s at 0x%" PRIx64 ", keeps %" PRIu64 " bytes\n",
	        *type ? type : "[unknown type]", g->address[v], kept);
}

static int print_shared(const struct object_graph *g, const struct dominators *d, uint32_t top,
                        FILE *to, struct error *err)
{
	cleanup(shared_clear) struct shared s = { 0 };
	char name[NAME_BYTES];
	int r = shared_compute(g, d, &s, err);

	if (r < 0)
		return r;
	shared_name(&s, g, s.set[top], name, sizeof(name));
	fprintf(to, "%s\n", name);
	return 0;
}

static int print_widest(const struct object_graph *g, const struct dominators *d, uint32_t node,
                        FILE *to, struct error *err)
{
	struct chain c;
	int r = 0;

	fill_chain(d, node, &c);
	sum_chain(g, d, &c);
	if (c.n && c.vertex[0] < d->n_nodes)
		r = print_shared(g, d, c.vertex[0], to, err);
	for (size_t i = 0; i < c.n; i++) {
		if (i == SHOWN && c.left_out)
			fprintf(to, "  ... %zu more ...\n", c.left_out);
		print_vertex(g, c.vertex[i], c.kept[i], to);
	}
	return r;
}

int refs_widest(const struct object_graph *g, uint32_t node, char **ret, struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup_free char *text = NULL;
	size_t bytes;
	FILE *to;
	int r = node < g->n_nodes ? dominators_compute(g, &d, err)
	                          : error_set(err, EINVAL, "no such object");

	if (r < 0)
		return r;
	to = open_memstream(&text, &bytes);
	if (!to)
		return error_oom(err);
	if (d.idom[node] == DOMINATORS_NONE)
		fprintf(to, "nothing refers to it any more\n");
	else
		r = print_widest(g, &d, node, to, err);
	if (fclose(to) || !text)
		return error_oom(err);
	if (r == 0)
		*ret = take_ptr(text);
	return r;
}

/* ---- all of a type ---- */

int refs_widest_nodes(const struct object_graph *g, const char *re, uint32_t **ret, size_t *ret_n,
                      struct error *err)
{
	cleanup_free uint8_t *matches = calloc(g->n_texts + 1, 1); /* 1 yes, 2 no, 0 not tried */
	cleanup_free uint32_t *nodes = malloc((g->n_nodes + 1) * sizeof(*nodes));
	size_t n = 0;
	regex_t compiled;

	if (!matches || !nodes)
		return error_oom(err);
	if (regcomp(&compiled, re, REG_EXTENDED | REG_NOSUB))
		return error_set(err, EINVAL, "'%s' is no regular expression", re);
	for (uint32_t v = 0; v < g->n_nodes; v++) {
		uint32_t type = g->type[v] >> 2;

		if (!matches[type])
			matches[type] = type && !regexec(&compiled, object_graph_name(g, type), 0,
			                                 NULL, 0)
			                        ? 1
			                        : 2;
		if (matches[type] == 1)
			nodes[n++] = v;
	}
	regfree(&compiled);
	if (!n) {
		error_set(err, ENOENT, "no live object is of a type that matches '%s'", re);
		return error_hint(err, "--view types lists them");
	}
	*ret = take_ptr(nodes);
	*ret_n = n;
	return 0;
}

struct way {
	uint32_t place;
	uint64_t objects, bytes;
};

static int wider(const void *a, const void *b)
{
	const struct way *x = a, *y = b;

	return x->bytes > y->bytes ? -1 : x->bytes < y->bytes;
}

/* From the root down. */
static void print_way(const struct paths *p, const struct way *w, FILE *to)
{
	uint32_t places[PATHS_MAX_DEPTH + 1];
	size_t n = 0;

	for (uint32_t at = w->place; at != UINT32_MAX && n <= PATHS_MAX_DEPTH;
	     at = p->places[at].parent)
		places[n++] = at;
	fprintf(to, "%s: %" PRIu64 " object%s, %" PRIu64 " bytes\n",
	        object_graph_name(&p->texts, p->places[places[n - 1]].frame), w->objects,
	        w->objects == 1 ? "" : "s", w->bytes);
	for (size_t i = n - 1; i-- > 0;)
		fprintf(to, "  %s\n", object_graph_name(&p->texts, p->places[places[i]].frame));
}

static void print_ways(const struct object_graph *g, const struct paths *p, struct way *ways,
                       const uint32_t *nodes, size_t n_nodes, size_t max_ways, FILE *to)
{
	uint64_t unreached = 0;
	size_t n = 0;

	for (size_t i = 0; i < n_nodes; i++) {
		uint32_t place = p->place[nodes[i]];

		if (place == UINT32_MAX) {
			unreached++;
			continue;
		}
		ways[place].place = place;
		ways[place].objects++;
		ways[place].bytes += object_graph_size(g, nodes[i]);
	}
	qsort(ways, p->n_places, sizeof(*ways), wider);
	while (n < p->n_places && ways[n].objects)
		n++;
	for (size_t i = 0; i < n && i < max_ways; i++)
		print_way(p, &ways[i], to);
	if (n > max_ways)
		fprintf(to, "... and %zu more ways\n", n - max_ways);
	if (unreached)
		fprintf(to, "... and %" PRIu64 " that nothing refers to\n", unreached);
}

int refs_widest_of(const struct object_graph *g, const uint32_t *nodes, size_t n, size_t max_ways,
                   char **ret, struct error *err)
{
	cleanup(dominators_clear) struct dominators d = { 0 };
	cleanup(shared_clear) struct shared s = { 0 };
	cleanup(paths_clear) struct paths p = { 0 };
	cleanup_free struct way *ways = NULL;
	cleanup_free char *text = NULL;
	size_t bytes;
	FILE *to;
	int r = dominators_compute(g, &d, err);

	if (r == 0)
		r = shared_compute(g, &d, &s, err);
	if (r == 0)
		r = paths_compute(g, &d, &s, REFS_RETAINED, NULL, &p, err);
	if (r < 0)
		return r;
	ways = calloc(p.n_places + 1, sizeof(*ways));
	if (!ways)
		return error_oom(err);
	to = open_memstream(&text, &bytes);
	if (!to)
		return error_oom(err);
	print_ways(g, &p, ways, nodes, n, max_ways, to);
	if (fclose(to) || !text)
		return error_oom(err);
	*ret = take_ptr(text);
	return 0;
}
