/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_emit.h"

#include <string.h>

#include "runtime/go/go_code.h"

int go_emit_root(struct go_emit *e, const char *name, const char *kind, enum object_tier tier)
{
	int r;

	e->root = (struct object_root){ .tier = tier };
	e->waits = true;
	r = object_graph_text(e->texts, name, strlen(name), &e->root.name, e->err);
	return r < 0 ? r : object_graph_text(e->texts, kind, strlen(kind), &e->root.kind, e->err);
}

int go_emit_word(struct go_emit *e, uint64_t value, uint64_t at, enum go_types_what what,
                 const char *label)
{
	struct go_roots_local local = { .what = what, .at = at };
	size_t span;
	uint32_t slot = value ? go_objects_find(e->o, value, &span) : UINT32_MAX;
	int r = 0;

	if (slot == UINT32_MAX || go_objects_is_free(e->o, span, slot))
		return 0;
	if (e->waits)
		r = e->to->root(e->to->arg, &e->root, 0, e->err);
	e->waits = false;
	if (r == 0)
		r = object_graph_text(e->texts, label, strlen(label), &local.label, e->err);
	return r < 0 ? r : e->to->local(e->to->arg, value, &local, e->err);
}

int go_emit_at(struct go_emit *e, uint64_t at, enum go_types_what what, const char *label)
{
	return go_emit_word(e, go_objects_word(e->o, at), at, what, label);
}

void go_emit_function(const struct go_emit *e, uint64_t closure, char *buf, size_t size)
{
	go_code_name_at(e->o->module, closure ? go_objects_word(e->o, closure) : 0, buf, size);
}
