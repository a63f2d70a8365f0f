/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_je_count.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

/* jemalloc 5, src/ctl.c: 4096 stands for all arenas (MALLCTL_ARENAS_ALL), of which figures are
 * summed. Names: stats_node, stats_arenas_i_node, MUTEX_PROF_* of 5.2 and 5.3; which of them a
 * jemalloc has it says itself (ENOENT). */
enum { ALL = CAPTURE_JE_COUNT_ALL, MAX_CLASSES = 512, MAX_EXTENTS = 256, PAGE_SLABS = 64 };

struct named {
	const char *name;
	uint8_t bytes;
};

static const struct named sums[] = {
	{ "stats.allocated", 8 },
	{ "stats.active", 8 },
	{ "stats.metadata", 8 },
	{ "stats.metadata_thp", 8 },
	{ "stats.resident", 8 },
	{ "stats.mapped", 8 },
	{ "stats.retained", 8 },
	{ "stats.zero_reallocs", 8 },
	{ "stats.background_thread.num_threads", 8 },
	{ "stats.background_thread.num_runs", 8 },
	{ "stats.background_thread.run_interval", 8 },
};
static const struct named of_arenas[] = {
	{ "nthreads", 4 },       { "uptime", 8 },         { "dirty_decay_ms", 8 },
	{ "muzzy_decay_ms", 8 }, { "pactive", 8 },        { "pdirty", 8 },
	{ "pmuzzy", 8 },         { "mapped", 8 },         { "retained", 8 },
	{ "extent_avail", 8 },   { "dirty_npurge", 8 },   { "dirty_nmadvise", 8 },
	{ "dirty_purged", 8 },   { "muzzy_npurge", 8 },   { "muzzy_nmadvise", 8 },
	{ "muzzy_purged", 8 },   { "base", 8 },           { "internal", 8 },
	{ "metadata_thp", 8 },   { "tcache_bytes", 8 },   { "tcache_stashed_bytes", 8 },
	{ "resident", 8 },       { "abandoned_vm", 8 },   { "small.allocated", 8 },
	{ "small.nmalloc", 8 },  { "small.ndalloc", 8 },  { "small.nrequests", 8 },
	{ "small.nfills", 8 },   { "small.nflushes", 8 }, { "large.allocated", 8 },
	{ "large.nmalloc", 8 },  { "large.ndalloc", 8 },  { "large.nrequests", 8 },
	{ "large.nfills", 8 },   { "large.nflushes", 8 }, { "hpa_sec_bytes", 8 },
};
static const struct named of_hpa[] = {
	{ "npurge_passes", 8 },
	{ "npurges", 8 },
	{ "nhugifies", 8 },
	{ "ndehugifies", 8 },
};
static const struct named of_slabs[] = {
	{ "npageslabs_nonhuge", 8 }, { "npageslabs_huge", 8 }, { "nactive_nonhuge", 8 },
	{ "nactive_huge", 8 },       { "ndirty_nonhuge", 8 },  { "ndirty_huge", 8 },
};
static const struct named of_bins[] = {
	{ "nmalloc", 8 },  { "ndalloc", 8 },       { "nrequests", 8 }, { "curregs", 8 },
	{ "nfills", 8 },   { "nflushes", 8 },      { "nslabs", 8 },    { "nreslabs", 8 },
	{ "curslabs", 8 }, { "nonfull_slabs", 8 },
};
static const struct named of_lextents[] = {
	{ "nmalloc", 8 },
	{ "ndalloc", 8 },
	{ "nrequests", 8 },
	{ "curlextents", 8 },
};
static const struct named of_extents[] = {
	{ "ndirty", 8 },      { "nmuzzy", 8 },      { "nretained", 8 },
	{ "dirty_bytes", 8 }, { "muzzy_bytes", 8 }, { "retained_bytes", 8 },
};
static const struct named of_mutexes[] = {
	{ "num_ops", 8 },          { "num_wait", 8 },        { "num_spin_acq", 8 },
	{ "num_owner_switch", 8 }, { "total_wait_time", 8 }, { "max_wait_time", 8 },
	{ "max_num_thds", 4 },
};

const char *const capture_je_count_mutexes[] = {
	"background_thread",
	"max_per_bg_thd",
	"ctl",
	"prof",
	"prof_thds_data",
	"prof_dump",
	"prof_recent_alloc",
	"prof_recent_dump",
	"prof_stats",
	NULL,
};
const char *const capture_je_count_arena_mutexes[] = {
	"large",
	"extent_avail",
	"extents_dirty",
	"extents_muzzy",
	"extents_retained",
	"decay_dirty",
	"decay_muzzy",
	"base",
	"tcache_list",
	"hpa_shard",
	"hpa_shard_grow",
	"hpa_sec",
	NULL,
};

void capture_je_counts_clear(struct capture_je_counts *c)
{
	free(c->items);
	*c = (struct capture_je_counts){ 0 };
}

/* ---- what is asked ---- */

struct asking {
	struct capture_je *c;
	struct capture_je_counts *to;
	size_t asked; /* of ->to: those before it have their values */
	int failed;
	struct error *err;
};

__attribute__((format(printf, 3, 4))) static void ask(struct asking *a, uint8_t bytes,
                                                      const char *format, ...)
{
	struct jemalloc_control_value *v;
	va_list args;

	if (a->failed == 0)
		a->failed = array_reserve(&a->to->items, &a->to->cap, a->to->n + 1, a->err);
	if (a->failed < 0)
		return;
	v = &a->to->items[a->to->n++];
	*v = (struct jemalloc_control_value){ .bytes = bytes };
	va_start(args, format);
	vsnprintf(v->name, sizeof(v->name), format, args);
	va_end(args);
}

#define ASK_EACH(a, names, format, ...)                                                            \
	do {                                                                                       \
		for (size_t i_ = 0; i_ < ARRAY_SIZE(names); i_++)                                  \
			ask(a, names[i_].bytes, format "%s", ##__VA_ARGS__, names[i_].name);       \
	} while (0)

static void ask_mutexes(struct asking *a, const char *where, const char *const *names)
{
	for (; *names; names++)
		ASK_EACH(a, of_mutexes, "%smutexes.%s.", where, *names);
}

/* What was asked since the last time; what there is not, is left out. */
static int get(struct asking *a)
{
	size_t n = a->asked;

	if (a->failed == 0)
		a->failed = jemalloc_control_get_all(&a->c->control, a->to->items + n, a->to->n - n,
		                                     a->err);
	if (a->failed < 0)
		return a->failed;
	for (size_t i = n; i < a->to->n; i++) {
		if (!a->to->items[i].error)
			a->to->items[n++] = a->to->items[i];
	}
	a->to->n = a->asked = n;
	return 0;
}

static bool is_any(const struct asking *a, size_t from, const char *format, unsigned i)
{
	char name[JEMALLOC_CONTROL_NAME];

	snprintf(name, sizeof(name), format, ALL, i);
	for (; from < a->to->n; from++) {
		if (!strcmp(a->to->items[from].name, name))
			return a->to->items[from].value != 0;
	}
	return false;
}

/* Which classes were ever used, and which sizes of free pages there are, in any arena. */
struct used {
	bool bins[MAX_CLASSES], lextents[MAX_CLASSES], extents[MAX_EXTENTS];
};

static const struct {
	const char *format;
	unsigned n;
	size_t at; /* in struct used */
} kinds[] = {
	{ "stats.arenas.%u.bins.%u.nmalloc", JEMALLOC_LAYOUT_SMALL, offsetof(struct used, bins) },
	{ "stats.arenas.%u.lextents.%u.nmalloc", JEMALLOC_LAYOUT_CLASSES - JEMALLOC_LAYOUT_SMALL,
	  offsetof(struct used, lextents) },
	{ "stats.arenas.%u.extents.%u.ndirty", MAX_EXTENTS, offsetof(struct used, extents) },
	{ "stats.arenas.%u.extents.%u.nmuzzy", MAX_EXTENTS, offsetof(struct used, extents) },
	{ "stats.arenas.%u.extents.%u.nretained", MAX_EXTENTS, offsetof(struct used, extents) },
};

static int find_used(struct asking *a, struct used *ret)
{
	const size_t from = a->to->n;
	int r;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (unsigned i = 0; i < kinds[k].n; i++)
			ask(a, 8, kinds[k].format, ALL, i);
	}
	r = get(a);
	for (size_t k = 0; r == 0 && k < ARRAY_SIZE(kinds); k++) {
		for (unsigned i = 0; i < kinds[k].n; i++)
			((bool *)ret)[kinds[k].at + i] |= is_any(a, from, kinds[k].format, i);
	}
	/* they are asked with all others */
	if (r == 0)
		a->to->n = a->asked = from;
	return r;
}

static void ask_hpa(struct asking *a, const char *where)
{
	ASK_EACH(a, of_hpa, "%shpa_shard.", where);
	ASK_EACH(a, of_slabs, "%shpa_shard.full_slabs.", where);
	ASK_EACH(a, of_slabs, "%shpa_shard.empty_slabs.", where);
	for (unsigned i = 0; i < PAGE_SLABS; i++)
		ASK_EACH(a, of_slabs, "%shpa_shard.nonfull_slabs.%u.", where, i);
}

static void ask_arena(struct asking *a, unsigned arena, const struct used *used, bool hpa)
{
	char where[48];

	snprintf(where, sizeof(where), "stats.arenas.%u.", arena);
	ASK_EACH(a, of_arenas, "%s", where);
	ask_mutexes(a, where, capture_je_count_arena_mutexes);
	if (hpa)
		ask_hpa(a, where);
	for (unsigned i = 0; i < MAX_CLASSES; i++) {
		if (used->bins[i]) {
			ASK_EACH(a, of_bins, "%sbins.%u.", where, i);
			ASK_EACH(a, of_mutexes, "%sbins.%u.mutex.", where, i);
		}
		if (used->lextents[i])
			ASK_EACH(a, of_lextents, "%slextents.%u.", where, i);
	}
	for (unsigned i = 0; i < MAX_EXTENTS; i++) {
		if (used->extents[i])
			ASK_EACH(a, of_extents, "%sextents.%u.", where, i);
	}
}

/* One that was never made has no figures, and there may be many such. */
static int ask_arenas(struct asking *a, unsigned n, const struct used *used, bool hpa)
{
	cleanup(capture_je_counts_clear) struct capture_je_counts made = { 0 };
	struct asking is_made = { a->c, &made, 0, 0, a->err };
	int r;

	for (unsigned i = 0; i < n && i < CAPTURE_JE_COUNT_ARENAS; i++)
		ask(&is_made, 1, "arena.%u.initialized", i);
	r = get(&is_made);
	for (size_t i = 0; r == 0 && i < made.n; i++) {
		if (made.items[i].value)
			ask_arena(a, (unsigned)strtoul(made.items[i].name + 6, NULL, 10), used,
			          hpa);
	}
	ask_arena(a, ALL, used, hpa);
	return r;
}

/* stats.arenas.<i>.uptime of one that has none reads through a null pointer: nothing below stats.
 * may be asked there (ctl.c of 5.2 to 5.3.0-1; tikv-jemallocator 0.6 without its feature "stats").
 */
static int need_statistics(struct capture_je *c, struct error *err)
{
	const struct target *t = c->heaps.target;
	uint8_t has = 0;
	int r = jemalloc_control_get(&c->control, "config.stats", &has, 1, err);

	if (r < 0 || has)
		return r;
	error_set(err, ENOTSUP,
	          "jemalloc of process %d (%s) was built without statistics (config.stats): it "
	          "counts nothing",
	          (int)t->pid, t->comm);
	return error_hint(err, "memwho je %d stats reads its figures from outside", (int)t->pid);
}

int capture_je_count(struct capture_je *c, struct capture_je_counts *ret, struct error *err)
{
	struct asking a = { .c = c, .to = ret, .err = err };
	struct used used = { 0 };
	const uint64_t epoch = 1;
	uint8_t hpa = 0;
	uint32_t n = 0;
	int r = need_statistics(c, err);

	if (r == 0)
		r = jemalloc_control_set(&c->control, "epoch", &epoch, sizeof(epoch), err);
	if (r == 0)
		r = jemalloc_control_get(&c->control, "arenas.narenas", &n, sizeof(n), err);
	if (r == 0 && jemalloc_control_get(&c->control, "opt.hpa", &hpa, 1, err) == -ENOENT)
		hpa = 0; /* 5.2 */
	if (r == 0)
		r = find_used(&a, &used);
	if (r < 0)
		return r;
	ASK_EACH(&a, sums, "%s", "");
	ask_mutexes(&a, "stats.", capture_je_count_mutexes);
	r = ask_arenas(&a, n, &used, hpa);
	return r < 0 ? r : get(&a);
}

bool capture_je_counts_find(const struct capture_je_counts *c, uint64_t *ret, const char *format,
                            ...)
{
	char name[JEMALLOC_CONTROL_NAME];
	va_list args;

	va_start(args, format);
	vsnprintf(name, sizeof(name), format, args);
	va_end(args);
	for (size_t i = 0; i < c->n; i++) {
		if (!strcmp(c->items[i].name, name)) {
			*ret = c->items[i].value;
			return true;
		}
	}
	return false;
}
