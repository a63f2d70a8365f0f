/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/why.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "refs/refs.h"
#include "refs/refs_births.h"
#include "render/escape.h"

enum { CHAINS = 10 };

/* ---- text ---- */

/* The next line of *at, malloc'ed; NULL at the end. */
static char *next_line(const char **at)
{
	size_t len = strcspn(*at, "\n");
	char *line = **at ? strndup(*at, len) : NULL;

	if (**at)
		*at += len + ((*at)[len] == '\n');
	return line;
}

static void put_lines(const char *text, const char *indent)
{
	while (*text) {
		cleanup_free char *line = next_line(&text);

		if (!line)
			return;
		fputs(indent, stdout);
		escape_text(stdout, line, 0);
		putchar('\n');
	}
}

static void put_birth(const struct object_graph *g, uint32_t node, const char *indent)
{
	const struct object_birth *b = refs_births_of(g, node);
	const struct object_birth_stack *s;

	if (!b)
		return;
	s = &g->birth_stacks[b->stack];
	printf("%sborn in ", indent);
	for (uint32_t i = 0; i < s->n; i++) {
		if (i)
			fputs(" \xe2\x86\x90 ", stdout);
		escape_text(stdout, object_graph_name(g, g->birth_frames[s->first + i]), 0);
	}
	putchar('\n');
}

int why_print(const struct object_graph *g, uint32_t node, const char *indent, struct error *err)
{
	cleanup_free char *shortest = NULL, *widest = NULL;
	int r = refs_why(g, node, CHAINS, &shortest, err);

	if (r == 0)
		r = refs_widest(g, node, &widest, err);
	if (r < 0)
		return r;
	put_birth(g, node, indent);
	put_lines(shortest, indent);
	printf("%swidest, each alone keeps what is below it:\n", indent);
	put_lines(widest, indent);
	return 0;
}

int why_address(const struct object_graph *g, uint64_t address, struct error *err)
{
	uint32_t node = object_graph_find(g, address);

	if (node != UINT32_MAX)
		return why_print(g, node, "", err);
	error_set(err, ENOENT, "no live object is at 0x%" PRIx64, address);
	return error_hint(err,
	                  "it is garbage, no object of this heap, or moved; `memwho what` says "
	                  "what the memory there is");
}

int why_type(const struct object_graph *g, const char *re, struct error *err)
{
	cleanup_free uint32_t *nodes = NULL;
	cleanup_free char *widest = NULL, *shortest = NULL;
	uint64_t bytes = 0;
	size_t n = 0;
	int r = refs_widest_nodes(g, re, &nodes, &n, err);

	if (r == 0)
		r = refs_widest_of(g, nodes, n, CHAINS, &widest, err);
	if (r == 0)
		r = refs_why_any(g, nodes, n, CHAINS, &shortest, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		bytes += object_graph_size(g, nodes[i]);
	printf("%zu object%s, %" PRIu64 " bytes; the widest ways to them:\n", n, n == 1 ? "" : "s",
	       bytes);
	put_lines(widest, "");
	puts("the shortest way from each root:");
	put_lines(shortest, "");
	return 0;
}

/* ---- JSON ---- */

/* Lines without a blank in front begin a chain. */
static void write_chains(struct json *j, const char *text)
{
	bool is_open = false;

	json_array(j);
	while (*text) {
		cleanup_free char *line = next_line(&text);

		if (!line)
			break;
		if (line[0] != ' ') {
			if (is_open)
				json_array_end(j);
			json_array(j);
			is_open = true;
		}
		json_string(j, line + strspn(line, " "));
	}
	if (is_open)
		json_array_end(j);
	json_array_end(j);
}

static void write_birth(struct json *j, const struct object_graph *g, uint32_t node)
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
	cleanup_free char *shortest = NULL, *widest = NULL;
	char address[32];
	int r = refs_why(g, node, CHAINS, &shortest, err);

	if (r == 0)
		r = refs_widest(g, node, &widest, err);
	if (r < 0)
		return r;
	snprintf(address, sizeof(address), "0x%" PRIx64, g->address[node]);
	json_key(j, "address");
	json_string(j, address);
	json_key(j, "size_bytes");
	json_uint(j, object_graph_size(g, node));
	json_key(j, "type");
	json_string(j, object_graph_name(g, g->type[node] >> 2));
	write_birth(j, g, node);
	json_key(j, "shortest");
	write_chains(j, shortest);
	json_key(j, "widest");
	write_chains(j, widest);
	return 0;
}
