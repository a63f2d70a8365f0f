/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { NAME_BYTES = 1024 };

enum form {
	ANGLES,   /* table<K,V> */
	BRACKETS, /* map.group[K]V */
	ONE,      /* hchan<T> */
};

static const struct inside {
	const char *before;
	enum form form;
	bool is_part;
} insides[] = {
	{ "map<", ANGLES, false },         { "hash<", ANGLES, false },
	{ "map.hdr[", BRACKETS, false },   { "table<", ANGLES, true },
	{ "bucket<", ANGLES, true },       { "map.group[", BRACKETS, true },
	{ "map.bucket[", BRACKETS, true }, { "map.table[", BRACKETS, true },
	{ "hchan<", ONE, false },
};

/* The comma that is within no brackets, or NULL. The arrow of a channel opens none. */
static const char *comma(const char *s, const char *end)
{
	int depth = 0;

	for (; s < end; s++) {
		if (s[0] == '<' && s + 1 < end && s[1] == '-')
			continue;
		if (strchr("<[({", *s))
			depth++;
		else if (strchr(">])}", *s))
			depth--;
		else if (*s == ',' && depth == 0)
			return s;
	}
	return NULL;
}

static bool write_name(enum form form, const char *inner, char *buf, size_t size)
{
	size_t len = strlen(inner);
	const char *middle;
	int n;

	if (form == BRACKETS) {
		n = snprintf(buf, size, "map[%s", inner);
	} else {
		if (!len || inner[len - 1] != '>')
			return false;
		middle = form == ONE ? NULL : comma(inner, inner + len - 1);
		if (form == ONE)
			n = snprintf(buf, size, "chan %.*s", (int)(len - 1), inner);
		else if (middle)
			n = snprintf(buf, size, "map[%.*s]%.*s", (int)(middle - inner), inner,
			             (int)(inner + len - 1 - middle - 1), middle + 1);
		else
			return false;
	}
	return n > 0 && (size_t)n < size;
}

bool go_names_shown(const char *type, char *buf, size_t size, bool *is_part)
{
	const char *name = type;

	/* arrays of buckets, directories of tables */
	while (!strncmp(name, "[]", 2) || *name == '*')
		name += *name == '*' ? 1 : 2;
	if (!strncmp(name, "noalg.", 6))
		name += 6;
	for (size_t i = 0; i < ARRAY_SIZE(insides); i++) {
		const size_t len = strlen(insides[i].before);

		if (strncmp(name, insides[i].before, len) != 0)
			continue;
		*is_part = insides[i].is_part;
		/* a []map<K,V> or *hchan<T> is the program's own */
		return (*is_part || name == type) &&
		       write_name(insides[i].form, name + len, buf, size);
	}
	return false;
}

/* ---- of a graph ---- */

struct shown {
	uint32_t text; /* 0: not looked up yet */
	bool is_part;
};

static int look_up(struct object_graph *g, uint32_t text, struct shown *ret, struct error *err)
{
	char name[NAME_BYTES + 1], type[NAME_BYTES];
	bool is_part = false, is_guess;

	*ret = (struct shown){ text, false };
	snprintf(type, sizeof(type), "%s", object_graph_name(g, text));
	/* the mark of a guess stays behind the name */
	is_guess = type[0] && type[strlen(type) - 1] == '?';
	if (is_guess)
		type[strlen(type) - 1] = '\0';
	if (!go_names_shown(type, name, NAME_BYTES, &is_part))
		return 0;
	if (is_guess)
		snprintf(name + strlen(name), 2, "?");
	ret->is_part = is_part;
	return object_graph_text(g, name, strlen(name), &ret->text, err);
}

int go_names_apply(struct object_graph *g, struct error *err)
{
	const size_t n = g->n_texts; /* those that are made here are shown as they are */
	cleanup_free struct shown *all = calloc(n + 1, sizeof(*all));
	int r = all ? 0 : error_oom(err);

	for (uint32_t v = 0; r == 0 && v < g->n_nodes; v++) {
		const uint32_t text = g->type[v] >> 2;
		enum object_typed how = g->type[v] & 3;

		if (!text || text >= n)
			continue;
		if (!all[text].text)
			r = look_up(g, text, &all[text], err);
		if (all[text].is_part && how == OBJECT_TYPED)
			how = OBJECT_TYPED_PART;
		if (r == 0)
			object_graph_set_type(g, v, all[text].text, how);
	}
	return r;
}
