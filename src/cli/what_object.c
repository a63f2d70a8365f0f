/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/what_object.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "capture/capture_refs.h"
#include "cli/cli.h"
#include "cli/why.h"
#include "render/escape.h"
#include "runtime/regions.h"

void what_object_close(struct what_object *o)
{
	object_graph_clear(&o->graph);
}

/* Its heap's block, if it is one of those that references are known of. */
static const struct regions_block *block_of(const struct what *w)
{
	const struct regions_block *b = w->n_blocks ? &w->blocks[w->n_blocks - 1] : NULL;

	return b && !strcmp(b->kind, REGIONS_GO) && b->state == REGIONS_BLOCK_LIVE ? b : NULL;
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
	if (!block_of(w))
		return UINT32_MAX;
	read_graph(o);
	return o->has ? object_graph_find(&o->graph, w->address) : UINT32_MAX;
}

int what_object_print(struct what_object *o, const struct what *w, struct error *err)
{
	uint32_t node = node_of(o, w);
	const char *type;

	if (!block_of(w) || !o->has)
		return 0;
	if (node == UINT32_MAX) {
		puts("  nothing refers to it: garbage that is not swept yet, or no object");
		return 0;
	}
	type = object_graph_name(&o->graph, o->graph.type[node] >> 2);
	fputs("  ", stdout);
	escape_text(stdout, *type ? type : "[unknown type]", 0);
	putchar('\n');
	return why_print(&o->graph, node, "  ", err);
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
