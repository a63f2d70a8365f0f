/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/je_counts.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/units.h"

enum { TITLE = 24, NUMBER = 12, COLUMNS = 10, ALL = CAPTURE_JE_COUNT_ALL };

/* ---- a column: of which name, and what it is ---- */

enum unit { COUNT, BYTES, PAGES, NS, DECAY };

struct column {
	const char *title, *name;
	enum unit unit;
};

static const char *value_text(uint64_t v, enum unit unit, char buf[UNITS_BYTES])
{
	switch (unit) {
	case BYTES: return units_bytes((int64_t)v, buf, UNITS_BYTES);
	case PAGES: return units_bytes((int64_t)v * 4096, buf, UNITS_BYTES);
	case NS: snprintf(buf, UNITS_BYTES, "%.1f ms", (double)v / 1e6); return buf;
	case DECAY:
		if ((int64_t)v < 0)
			return "never";
		snprintf(buf, UNITS_BYTES, "%" PRIu64 " ms", v);
		return buf;
	default: snprintf(buf, UNITS_BYTES, "%" PRIu64, v); return buf;
	}
}

/* A line of @columns, whose names follow @where; nothing, if @skip_zero and all are 0. What this
 * jemalloc does not have is a dash. */
static void put_line(const struct capture_je_counts *c, const char *title, const char *where,
                     const struct column *columns, size_t n, FILE *to)
{
	uint64_t values[COLUMNS] = { 0 };
	bool known[COLUMNS], any = false;
	char text[UNITS_BYTES];

	for (size_t i = 0; i < n; i++) {
		/* times of all arenas together: none */
		known[i] = (columns[i].unit != DECAY || !strstr(where, ".4096.")) &&
		           capture_je_counts_find(c, &values[i], "%s%s", where, columns[i].name);
		any |= known[i] && values[i];
	}
	if (!any)
		return;
	fprintf(to, "%-*s", TITLE, title);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "%*s", NUMBER,
		        known[i] ? value_text(values[i], columns[i].unit, text) : "-");
	fputc('\n', to);
}

static void put_titles(const char *title, const struct column *columns, size_t n, FILE *to)
{
	fprintf(to, "\n%-*s", TITLE, title);
	for (size_t i = 0; i < n; i++)
		fprintf(to, "%*s", NUMBER, columns[i].title);
	fputc('\n', to);
}

/* ---- of the whole, and of arenas ---- */

static void put_sums(const struct capture_je_counts *c, FILE *to)
{
	uint64_t threads, runs, interval;
	char text[UNITS_BYTES];

	fputc('\n', to);
	for (size_t i = 0; i < c->n; i++) {
		const struct jemalloc_control_value *v = &c->items[i];

		if (!strchr(v->name + strlen("stats."), '.'))
			fprintf(to, "%-*s%*s\n", TITLE, v->name, NUMBER,
			        value_text(v->value,
			                   strcmp(v->name, "stats.zero_reallocs") ? BYTES : COUNT,
			                   text));
	}
	if (capture_je_counts_find(c, &threads, "stats.background_thread.num_threads") &&
	    capture_je_counts_find(c, &runs, "stats.background_thread.num_runs") &&
	    capture_je_counts_find(c, &interval, "stats.background_thread.run_interval"))
		fprintf(to, "%-*s%*" PRIu64 ", %" PRIu64 " runs, one in %s\n", TITLE,
		        "background threads", NUMBER, threads, runs,
		        value_text(interval, NS, text));
}

static const struct column of_arena[] = {
	{ "THREADS", "nthreads", COUNT },
	{ "DIRTY AFTER", "dirty_decay_ms", DECAY },
	{ "MUZZY AFTER", "muzzy_decay_ms", DECAY },
	{ "IN CACHES", "tcache_bytes", BYTES },
	{ "METADATA", "base", BYTES },
	{ "NMALLOC", "small.nmalloc", COUNT },
	{ "NDALLOC", "small.ndalloc", COUNT },
	{ "LARGE", "large.nmalloc", COUNT },
	{ "FREED", "large.ndalloc", COUNT },
};
static const struct column of_purges[] = {
	{ "DIRTY", "pdirty", PAGES },
	{ "PURGES", "dirty_npurge", COUNT },
	{ "MADVISES", "dirty_nmadvise", COUNT },
	{ "PURGED", "dirty_purged", PAGES },
	{ "MUZZY", "pmuzzy", PAGES },
	{ "PURGES", "muzzy_npurge", COUNT },
	{ "MADVISES", "muzzy_nmadvise", COUNT },
	{ "PURGED", "muzzy_purged", PAGES },
};

static void put_arenas(const struct capture_je_counts *c, const char *title,
                       const struct column *columns, size_t n, FILE *to)
{
	put_titles(title, columns, n, to);
	for (unsigned i = 0; i <= CAPTURE_JE_COUNT_ARENAS; i++) {
		const unsigned arena = i < CAPTURE_JE_COUNT_ARENAS ? i : ALL;
		char where[48], name[16];

		snprintf(where, sizeof(where), "stats.arenas.%u.", arena);
		if (arena == ALL)
			snprintf(name, sizeof(name), "%8s", "all");
		else
			snprintf(name, sizeof(name), "%8u", arena);
		put_line(c, name, where, columns, n, to);
	}
}

/* ---- size classes ---- */

static const struct column of_class[] = {
	{ "NMALLOC", "nmalloc", COUNT },      { "NDALLOC", "ndalloc", COUNT },
	{ "NREQUESTS", "nrequests", COUNT },  { "NFILLS", "nfills", COUNT },
	{ "NFLUSHES", "nflushes", COUNT },    { "NSLABS", "nslabs", COUNT },
	{ "NRESLABS", "nreslabs", COUNT },    { "NONFULL", "nonfull_slabs", COUNT },
	{ "LOCKED", "mutex.num_ops", COUNT }, { "WAITED", "mutex.num_wait", COUNT },
};

static void put_classes(const struct capture_je_counts *c, FILE *to)
{
	put_titles("       CLASS, all arenas", of_class, ARRAY_SIZE(of_class), to);
	for (unsigned i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		const bool small = i < JEMALLOC_LAYOUT_SMALL;
		char where[64], title[TITLE], bytes[UNITS_BYTES];

		snprintf(where, sizeof(where), "stats.arenas.%u.%s.%u.", ALL,
		         small ? "bins" : "lextents", small ? i : i - JEMALLOC_LAYOUT_SMALL);
		snprintf(
			title, sizeof(title), "%12s",
			units_bytes((int64_t)jemalloc_layout_class_bytes(i), bytes, sizeof(bytes)));
		put_line(c, title, where, of_class,
		         small ? ARRAY_SIZE(of_class) : 3 /* what large ones have */, to);
	}
}

/* ---- locks ---- */

static const struct column of_lock[] = {
	{ "LOCKED", "num_ops", COUNT },       { "WAITED", "num_wait", COUNT },
	{ "SPUN", "num_spin_acq", COUNT },    { "HANDED ON", "num_owner_switch", COUNT },
	{ "IN ALL", "total_wait_time", NS },  { "LONGEST", "max_wait_time", NS },
	{ "THREADS", "max_num_thds", COUNT },
};

static void put_locks(const struct capture_je_counts *c, const char *where,
                      const char *const *names, FILE *to)
{
	for (; *names; names++) {
		char full[64];

		snprintf(full, sizeof(full), "%smutexes.%s.", where, *names);
		put_line(c, *names, full, of_lock, ARRAY_SIZE(of_lock), to);
	}
}

void je_counts_write(const struct capture_je_counts *c, FILE *to)
{
	put_sums(c, to);
	put_arenas(c, "   ARENA", of_arena, ARRAY_SIZE(of_arena), to);
	put_arenas(c, "   ARENA, given back", of_purges, ARRAY_SIZE(of_purges), to);
	put_classes(c, to);
	put_titles("LOCK", of_lock, ARRAY_SIZE(of_lock), to);
	put_locks(c, "stats.", capture_je_count_mutexes, to);
	put_locks(c, "stats.arenas.4096.", capture_je_count_arena_mutexes, to);
}
