/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/je_stats.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/je_counts.h"
#include "cli/je_write.h"
#include "render/escape.h"
#include "render/units.h"

enum { TITLE = 24, NUMBER = 12, PAGE = 4096, NAME = 96 };

static void number(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	json_int(j, v);
}

/* ---- whose the resident bytes are ---- */

typedef void row_fn(const char *kind, const char *part, int64_t bytes, void *arg);

/* jemalloc's by what they are in it. What the two looks at it differ by, on a running process, is a
 * row of its own, so that the sum is the process's. */
static void each_of_jemalloc(const struct je_stats *s, int64_t all, row_fn *row, void *arg)
{
	struct jemalloc_stats_resident sum = { 0 };
	const struct {
		const char *part;
		const uint64_t *bytes;
	} rows[] = {
		{ "active", &sum.active },     { "dirty", &sum.dirty },
		{ "muzzy", &sum.muzzy },       { "retained", &sum.retained },
		{ "changing", &sum.changing }, { "metadata", &sum.metadata },
	};

	for (size_t i = 0; i < s->list->n; i++) {
		const struct jemalloc_stats_resident *r = &s->list->items[i].resident;

		sum.active += r->active;
		sum.dirty += r->dirty;
		sum.muzzy += r->muzzy;
		sum.retained += r->retained;
		sum.changing += r->changing;
		sum.metadata += r->metadata;
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (*rows[i].bytes)
			row(CAPTURE_JE_HEAP, rows[i].part, (int64_t)*rows[i].bytes, arg);
		all -= (int64_t)*rows[i].bytes;
	}
	if (all)
		row(CAPTURE_JE_HEAP, "changed between two looks", all, arg);
}

/* Of all kinds of rows of the ladder: they divide the address space, so their sum is the
 * process's. */
static void each_resident(const struct je_stats *s, row_fn *row, void *arg)
{
	const struct ladder *l = &s->heaps->ladder;

	for (size_t i = 0; i < l->n_parts;) {
		const char *kind = l->parts[i].heap.kind;
		uint64_t bytes = 0;

		/* kinds stand together */
		for (; i < l->n_parts && !strcmp(l->parts[i].heap.kind, kind); i++)
			bytes += l->parts[i].resident_bytes;
		if (!strcmp(kind, REGIONS_JEMALLOC))
			each_of_jemalloc(s, (int64_t)bytes, row, arg);
		else if (bytes)
			row(kind, "", (int64_t)bytes, arg);
	}
}

/* ---- for people ---- */

static void put_row(const char *kind, const char *part, int64_t bytes, void *arg)
{
	char name[NAME], a[UNITS_BYTES];

	snprintf(name, sizeof(name), "  %s%s%s", kind, part[0] ? ", " : "", part);
	fprintf(arg, "%-*s%*s\n", TITLE, name, NUMBER, units_bytes(bytes, a, sizeof(a)));
}

static void put_sums(const struct je_stats *s, FILE *to)
{
	const struct heaps_heap *one = heaps_find(s->heaps, CAPTURE_JE_HEAP);
	char a[UNITS_BYTES];

	fprintf(to, "%-*s%*s, of which\n", TITLE, "resident, process", NUMBER,
	        units_bytes(s->heaps->resident_bytes, a, sizeof(a)));
	each_resident(s, put_row, to);
	fputc('\n', to);
	for (size_t i = 0; one && i < one->n_figures; i++) {
		const struct regions_figure *f = &one->figures[i];

		fprintf(to, "%-*s%*s\n", TITLE, f->title, NUMBER,
		        units_value(f->value, strstr(f->key, "_bytes") != NULL, false, a,
		                    sizeof(a)));
	}
}

static void put_arenas(const struct jemalloc_stats *s, FILE *to)
{
	char a[5][UNITS_BYTES];

	fprintf(to, "\n%8s%*s%*s%*s%*s%*s%10s%10s\n", "ARENA", NUMBER, "ALLOCATED", NUMBER,
	        "ACTIVE", NUMBER, "DIRTY", NUMBER, "MUZZY", NUMBER, "RETAINED", "SLABS", "LARGE");
	for (size_t i = 0; i < s->n_arenas; i++) {
		const struct jemalloc_stats_arena *k = &s->arenas[i];

		fprintf(to, "%8u%*s%*s%*s%*s%*s%10" PRIu64 "%10" PRIu64 "\n", k->arena, NUMBER,
		        units_bytes((int64_t)k->allocated, a[0], UNITS_BYTES), NUMBER,
		        units_bytes((int64_t)k->active, a[1], UNITS_BYTES), NUMBER,
		        units_bytes((int64_t)k->dirty, a[2], UNITS_BYTES), NUMBER,
		        units_bytes((int64_t)k->muzzy, a[3], UNITS_BYTES), NUMBER,
		        units_bytes((int64_t)k->retained, a[4], UNITS_BYTES), k->slabs, k->large);
	}
}

static void put_class(const struct jemalloc_stats_class *k, FILE *to)
{
	char a[3][UNITS_BYTES], used[UNITS_BYTES];

	fprintf(to, "%12s%12" PRIu64 "%*s%*s%10" PRIu64 "%10s\n",
	        units_bytes((int64_t)k->size_bytes, a[0], UNITS_BYTES), k->blocks, NUMBER,
	        units_bytes((int64_t)k->active_bytes, a[1], UNITS_BYTES), NUMBER,
	        units_bytes((int64_t)k->free_bytes, a[2], UNITS_BYTES), k->slabs,
	        units_percent((double)(k->blocks * k->size_bytes), (double)k->active_bytes, used,
	                      sizeof(used)));
}

static void put_classes(const struct jemalloc_stats_class *classes, FILE *to)
{
	fprintf(to, "\n%12s%12s%*s%*s%10s%10s\n", "CLASS", "BLOCKS", NUMBER, "ACTIVE", NUMBER,
	        "FREE IN IT", "SLABS", "USED");
	for (unsigned i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		if (classes[i].active_bytes)
			put_class(&classes[i], to);
	}
}

void je_stats_write(const struct je_stats *s, FILE *to)
{
	const struct jemalloc_stats_list *l = s->list;

	escape_text(to, s->c->heaps.target->comm, 0);
	fprintf(to, " (%d): ", (int)s->c->heaps.target->pid);
	if (s->c->control.n_calls)
		fprintf(to, "read from outside, and by %u calls\n", s->c->control.n_calls);
	else
		fprintf(to, "read from outside, nothing was called\n");
	put_sums(s, to);
	for (size_t i = 0; i < l->n; i++) {
		if (l->n > 1)
			fprintf(to, "\n%s, number %zu\n", l->items[i].name, i + 1);
		put_arenas(&l->items[i], to);
		put_classes(l->items[i].classes, to);
	}
	if (s->counts->n)
		je_counts_write(s->counts, to);
}

/* ---- for scripts ---- */

static void json_classes(struct json *j, const struct jemalloc_stats_class *classes)
{
	json_key(j, "classes");
	json_array(j);
	for (size_t i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		const struct jemalloc_stats_class *k = &classes[i];

		if (!k->active_bytes)
			continue;
		json_object(j);
		number(j, "size_bytes", (int64_t)k->size_bytes);
		number(j, "blocks", (int64_t)k->blocks);
		number(j, "slabs", (int64_t)k->slabs);
		number(j, "regions", (int64_t)k->regions);
		number(j, "active_bytes", (int64_t)k->active_bytes);
		number(j, "free_bytes", (int64_t)k->free_bytes);
		json_object_end(j);
	}
	json_array_end(j);
}

static void json_arenas(struct json *j, const struct jemalloc_stats *s)
{
	json_key(j, "arenas");
	json_array(j);
	for (size_t i = 0; i < s->n_arenas; i++) {
		const struct jemalloc_stats_arena *k = &s->arenas[i];

		json_object(j);
		number(j, "arena", k->arena);
		number(j, "allocated_bytes", (int64_t)k->allocated);
		number(j, "active_bytes", (int64_t)k->active);
		number(j, "dirty_bytes", (int64_t)k->dirty);
		number(j, "muzzy_bytes", (int64_t)k->muzzy);
		number(j, "retained_bytes", (int64_t)k->retained);
		number(j, "slabs", (int64_t)k->slabs);
		number(j, "large", (int64_t)k->large);
		json_classes(j, k->classes);
		json_object_end(j);
	}
	json_array_end(j);
}

/* ---- by jemalloc's own names: jemalloc(3), MALLCTL NAMESPACE ---- */

static void named(struct json *j, unsigned arena, const char *name, uint64_t v)
{
	char full[NAME];

	snprintf(full, sizeof(full), "stats.arenas.%u.%s", arena, name);
	number(j, full, (int64_t)v);
}

static void named_class(struct json *j, unsigned arena, unsigned index,
                        const struct jemalloc_stats_class *k)
{
	char name[NAME];

	if (index >= JEMALLOC_LAYOUT_SMALL) {
		snprintf(name, sizeof(name), "lextents.%u.curlextents",
		         index - JEMALLOC_LAYOUT_SMALL);
		named(j, arena, name, k->blocks);
		return;
	}
	snprintf(name, sizeof(name), "bins.%u.curregs", index);
	named(j, arena, name, k->blocks);
	snprintf(name, sizeof(name), "bins.%u.curslabs", index);
	named(j, arena, name, k->slabs);
}

static void named_arena(struct json *j, const struct jemalloc_stats_arena *a)
{
	uint64_t small = 0;

	for (unsigned i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		const struct jemalloc_stats_class *k = &a->classes[i];

		if (i < JEMALLOC_LAYOUT_SMALL)
			small += k->blocks * k->size_bytes;
		if (k->active_bytes)
			named_class(j, a->arena, i, k);
	}
	named(j, a->arena, "pactive", a->active / PAGE);
	named(j, a->arena, "pdirty", a->dirty / PAGE);
	named(j, a->arena, "pmuzzy", a->muzzy / PAGE);
	named(j, a->arena, "retained", a->retained);
	named(j, a->arena, "small.allocated", small);
	named(j, a->arena, "large.allocated", a->allocated - small);
}

static void json_counts(struct json *j, const struct capture_je_counts *counts)
{
	json_key(j, "mallctl");
	json_object(j);
	for (size_t i = 0; i < counts->n; i++)
		number(j, counts->items[i].name, (int64_t)counts->items[i].value);
	json_object_end(j);
}

static void json_named(struct json *j, const struct jemalloc_stats *s)
{
	uint64_t allocated = 0, active = 0, retained = 0, mapped = s->metadata_bytes;

	json_key(j, "mallctl");
	json_object(j);
	for (size_t i = 0; i < s->n_arenas; i++) {
		const struct jemalloc_stats_arena *a = &s->arenas[i];

		allocated += a->allocated;
		active += a->active;
		retained += a->retained;
		mapped += a->active + a->dirty + a->muzzy;
		named_arena(j, a);
	}
	number(j, "stats.allocated", (int64_t)allocated);
	number(j, "stats.active", (int64_t)active);
	number(j, "stats.mapped", (int64_t)mapped);
	number(j, "stats.retained", (int64_t)retained);
	json_object_end(j);
}

static void json_row(const char *kind, const char *part, int64_t bytes, void *arg)
{
	struct json *j = arg;

	json_object(j);
	json_key(j, "kind");
	json_string(j, kind);
	json_key(j, "part");
	json_string(j, part);
	number(j, "resident_bytes", bytes);
	json_object_end(j);
}

void je_stats_write_json(const struct je_stats *s, FILE *to)
{
	const struct heaps_heap *one = heaps_find(s->heaps, CAPTURE_JE_HEAP);
	struct json j = je_write_begin_json(s->c, "je", to);

	number(&j, "process_resident_bytes", s->heaps->resident_bytes);
	number(&j, "resident_bytes", one ? one->resident_bytes : 0);
	json_key(&j, "resident");
	json_array(&j);
	each_resident(s, json_row, &j);
	json_array_end(&j);
	for (size_t i = 0; one && i < one->n_figures; i++)
		number(&j, one->figures[i].key, one->figures[i].value);
	json_key(&j, "jemallocs");
	json_array(&j);
	for (size_t i = 0; i < s->list->n; i++) {
		const struct jemalloc_stats *k = &s->list->items[i];

		json_object(&j);
		json_key(&j, "name");
		json_string(&j, k->name);
		number(&j, "metadata_bytes", (int64_t)k->metadata_bytes);
		json_arenas(&j, k);
		json_classes(&j, k->classes);
		if (s->counts->n)
			json_counts(&j, s->counts);
		else
			json_named(&j, k);
		json_object_end(&j);
	}
	json_array_end(&j);
	je_write_end_json(s->c, &j, to);
}
