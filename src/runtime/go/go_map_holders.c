/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_map_holders.h"

#include <stdbool.h>
#include <string.h>

enum {
	MAP_BYTES = 48, /* of hmap (runtime/map.go), of maps.Map (internal/runtime/maps) */
	DEPTH = 4,      /* map, directory, table, groups */
};

/* The type of the map whose insides are all that @v refers to; 0: none. */
static uint32_t map_of(const struct object_graph *g, uint32_t v)
{
	uint32_t map = 0;

	for (uint32_t e = g->first_edge[v]; e < g->first_edge[v + 1]; e++) {
		const uint32_t type = g->type[g->to[e]];

		if ((type & 3) != OBJECT_TYPED_PART || (map && map != type >> 2))
			return 0;
		map = type >> 2;
	}
	return map && !strncmp(object_graph_name(g, map), "map[", 4) ? map : 0;
}

static bool look(struct object_graph *g)
{
	bool is_any = false;

	for (uint32_t v = 0; v < g->n_nodes; v++) {
		const uint32_t map = g->type[v] ? 0 : map_of(g, v);

		if (!map)
			continue;
		object_graph_set_type(g, v, map,
		                      object_graph_size(g, v) == MAP_BYTES ? OBJECT_TYPED
		                                                           : OBJECT_TYPED_PART);
		is_any = true;
	}
	return is_any;
}

void go_map_holders_apply(struct object_graph *g)
{
	for (unsigned i = 0; i < DEPTH && look(g); i++)
		;
}
