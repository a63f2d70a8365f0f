/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_types_rules.h"

#include <stdio.h>
#include <string.h>

enum { NAME_BYTES = 512 };

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static bool is(const char *a, const char *b)
{
	return !strcmp(a, b);
}

static void point_to(struct go_types_field *f, uint32_t type)
{
	if (!type)
		return;
	f->what = GO_TYPES_POINTER;
	f->to = type;
}

/* sync/atomic/type.go (1.19+): struct { _ [0]*T; _ noCopy; v unsafe.Pointer }. */
static void apply_atomic(struct go_types_rules *r, struct go_types *t, struct go_types_field *f)
{
	const struct go_types_type *x = go_types_record(t, f->type);

	if (x->what == GO_TYPES_ARRAY && !x->count)
		r->atomic_to = go_types_pointed_at(t, x->elem);
	else if (is(f->label, ".v") && x->what == GO_TYPES_POINTER)
		point_to(f, r->atomic_to);
}

void go_types_rules_apply(struct go_types_rules *r, struct go_types *t, struct go_types_field *f)
{
	if (f->what != GO_TYPES_PLAIN)
		return;
	if (starts(r->in, "sync/atomic.Pointer[")) {
		apply_atomic(r, t, f);
	} else if (is(r->in, "sync.Pool")) {
		/* pool.go: actual type is [P]poolLocal */
		if (is(f->label, ".local") || is(f->label, ".victim"))
			point_to(f, go_types_named(t, "sync.poolLocal"));
	} else if (is(r->in, "sync.eface")) {
		/* poolqueue.go: an interface whose type is a pointer to the collector, too */
		if (is(f->label, ".val"))
			f->what = GO_TYPES_EFACE;
	} else if (is(r->in, "sync.entry")) {
		/* map.go, up to 1.19: p unsafe.Pointer // *interface{} */
		if (is(f->label, ".p") && go_types_record(t, f->type)->what == GO_TYPES_POINTER)
			point_to(f, go_types_named(t, "interface {}"));
	}
}

bool go_types_rules_is_node(const char *name)
{
	return starts(name, "internal/sync.node[");
}

uint32_t go_types_rules_node(struct go_types *t, uint32_t node, bool is_entry)
{
	const char *name = go_types_name(t, node), *of = strchr(name, '[');
	char text[NAME_BYTES];

	if (!of)
		return 0;
	snprintf(text, sizeof(text), "internal/sync.%s%s", is_entry ? "entry" : "indirect", of);
	return go_types_named(t, text);
}

const char *go_types_rules_made_as(const char *name)
{
	return is(name, "time.Timer") || is(name, "time.Ticker") ? "runtime.timeTimer" : NULL;
}

bool go_types_rules_repeats(const char *name)
{
	return is(name, "sync.poolLocal");
}
