/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/lua/lua_find.h"
#include "runtime/lua/lua_graph.h"
#include "runtime/peek.h"

static int add_state(const struct lua_state *s, size_t number, struct regions *to,
                     struct error *err)
{
	const struct regions_heap *around = regions_owner(to, s->global);
	const char *inside = around ? around->kind : "";
	struct regions_heap *h;
	int r = regions_add_heap(to, REGIONS_LUA, &h, NULL, err);

	if (r < 0)
		return r;
	snprintf(h->name, sizeof(h->name), number ? "Lua state %zu" : "Lua state", number + 1);
	snprintf(h->inside, sizeof(h->inside), "%s", inside);
	snprintf(h->detail, sizeof(h->detail), "Lua %s, %" PRIu64 " short strings",
	         s->layout->version, s->strings);
	snprintf(h->evidence, sizeof(h->evidence),
	         "lua_State 0x%" PRIx64 " and global_State 0x%" PRIx64 " name each other; %" PRIu64
	         " strings looked at are in the bucket of their hash",
	         s->main_thread, s->global, s->checked - s->inconsistent - 1);
	h->in_use_bytes = s->bytes;
	h->checked = s->checked;
	h->inconsistent = s->inconsistent;
	regions_figure(h, "strings", "short strings", s->strings);
	regions_figure(h, "string_table_bytes", "table of strings", 8 * s->buckets);
	return 0;
}

static int label_regions(const struct runtime_view *v, const struct regions_input *in,
                         struct regions *to, struct error *err)
{
	cleanup(lua_find_clear) struct lua_find found = { 0 };
	cleanup(peek_close) struct peek p = { 0 };
	int r = peek_open(&p, v->target, err);

	if (r == 0)
		r = lua_find_all(v, in, &p, &found, err);
	for (size_t i = 0; i < found.n_items && r == 0; i++)
		r = add_state(&found.items[i], i, to, err);
	return r;
}

const struct runtime_ops lua_runtime = {
	.name = "lua",
	.title = "Lua",
	.label_regions = label_regions,
	.object_graph = lua_graph_make,
	.has_objects = lua_graph_is_there,
};
