/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/what_object.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "capture/capture_refs.h"
#include "cli/cli.h"
#include "cli/why.h"
#include "cli/why_json.h"
#include "render/escape.h"
#include "runtime/regions.h"

void what_object_close(struct what_object *o)
{
	object_graph_clear(&o->graph);
}

static const struct regions_block *innermost(const struct what *w)
{
	return w->n_blocks ? &w->blocks[w->n_blocks - 1] : NULL;
}

static bool is_go(const struct what *w)
{
	const struct regions_block *b = innermost(w);

	return b && !strcmp(b->kind, REGIONS_GO) && b->state == REGIONS_BLOCK_LIVE;
}

/* Lua has its objects in whatever memory its allocation function gives it. */
static bool may_be_lua(const struct what_object *o, const struct what *w)
{
	const struct regions_block *b = innermost(w);

	return o->has_lua && w->present && w->prot[1] == 'w' &&
	       (!b || b->state == REGIONS_BLOCK_LIVE);
}

/* What cannot be told is no failure of what can be. */
static void read_graph(struct what_object *o)
{
	const struct capture_refs_options options = { .how = CAPTURE_REFS_RUNNING };
	cleanup(capture_refs_facts_clear) struct capture_refs_facts facts = { 0 };
	struct error err;

	if (o->tried)
		return;
	o->tried = true;
	o->has = capture_refs_process(o->pid, &options, &o->graph, &facts, &err) >= 0;
	if (!o->has)
		cli_say("what refers to it cannot be told: %s", err.message);
}

/* Its node; UINT32_MAX: nothing leads to it, or that is not known. */
static uint32_t node_of(struct what_object *o, const struct what *w)
{
	const struct regions_block *b = innermost(w);
	uint32_t node;

	if (!is_go(w) && !may_be_lua(o, w))
		return UINT32_MAX;
	read_graph(o);
	if (!o->has)
		return UINT32_MAX;
	node = object_graph_find(&o->graph, w->address);
	/* the middle of one that has a block of its own */
	return node == UINT32_MAX && b && !is_go(w) ? object_graph_find(&o->graph, b->start) : node;
}

int what_object_print(struct what_object *o, const struct what *w, struct error *err)
{
	uint32_t node = node_of(o, w);
	const char *type;

	if (node == UINT32_MAX && (!is_go(w) || !o->has))
		return 0;
	if (node == UINT32_MAX) {
		puts("  nothing refers to it: garbage that is not swept yet, or no object");
		return 0;
	}
	type = object_graph_name(&o->graph, o->graph.type[node] >> 2);
	fputs("  ", stdout);
	escape_text(stdout, *type ? type : "[unknown type]", 0);
	putchar('\n');
	return why_print(&o->graph, node, "  ", stdout, err);
}

int what_object_json(struct what_object *o, struct json *j, const struct what *w, struct error *err)
{
	uint32_t node = node_of(o, w);
	int r;

	json_key(j, "object");
	if (node == UINT32_MAX) {
		json_null(j);
		return 0;
	}
	json_object(j);
	r = why_json(j, &o->graph, node, err);
	json_object_end(j);
	return r;
}
