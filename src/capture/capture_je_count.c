/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "capture/capture_je.h"

/* jemalloc 5, src/ctl.c: 4096 stands for all arenas (MALLCTL_ARENAS_ALL), of which figures are
 * summed. */
#define ALL "stats.arenas.4096."

void capture_je_counts_clear(struct capture_je_counts *c)
{
	free(c->items);
	*c = (struct capture_je_counts){ 0 };
}

/* A jemalloc without config.stats has none of them: ENOENT. */
static int add(struct capture_je *c, struct capture_je_counts *to, const char *name,
               struct error *err)
{
	uint64_t value = 0;
	int r = jemalloc_control_get(&c->control, name, &value, sizeof(value), err);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = array_reserve(&to->items, &to->cap, to->n + 1, err);
	if (r < 0)
		return r;
	snprintf(to->items[to->n].name, sizeof(to->items[to->n].name), "%s", name);
	to->items[to->n++].value = value;
	return 0;
}

static void name_of(unsigned size_class, const char *what, char ret[64])
{
	if (size_class < JEMALLOC_LAYOUT_SMALL)
		snprintf(ret, 64, ALL "bins.%u.%s", size_class, what);
	else
		snprintf(ret, 64, ALL "lextents.%u.%s", size_class - JEMALLOC_LAYOUT_SMALL, what);
}

static int add_class(struct capture_je *c, struct capture_je_counts *to, unsigned size_class,
                     struct error *err)
{
	static const char *const what[] = { "nmalloc", "ndalloc" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(what); i++) {
		char name[64];

		name_of(size_class, what[i], name);
		r = add(c, to, name, err);
	}
	return r;
}

int capture_je_count(struct capture_je *c, const struct jemalloc_stats *of,
                     struct capture_je_counts *ret, struct error *err)
{
	static const char *const sums[] = { "stats.allocated", "stats.active", "stats.metadata",
		                            "stats.resident",  "stats.mapped", "stats.retained" };
	const uint64_t epoch = 1;
	int r = jemalloc_control_set(&c->control, "epoch", &epoch, sizeof(epoch), err);

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(sums); i++)
		r = add(c, ret, sums[i], err);
	for (unsigned i = 0; r == 0 && i < JEMALLOC_LAYOUT_CLASSES; i++) {
		if (of->classes[i].active_bytes)
			r = add_class(c, ret, i, err);
	}
	return r;
}

static const struct capture_je_count *find(const struct capture_je_counts *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		if (!strcmp(c->items[i].name, name))
			return &c->items[i];
	}
	return NULL;
}

int capture_je_counts_find(const struct capture_je_counts *c, unsigned size_class,
                           uint64_t *nmalloc, uint64_t *ndalloc)
{
	const struct capture_je_count *a, *b;
	char name[64];

	name_of(size_class, "nmalloc", name);
	a = find(c, name);
	name_of(size_class, "ndalloc", name);
	b = find(c, name);
	if (!a || !b)
		return 0;
	*nmalloc = a->value;
	*ndalloc = b->value;
	return 1;
}
