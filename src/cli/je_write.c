/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/je_write.h"

#include <inttypes.h>
#include <string.h>

#include "base/json.h"
#include "cli/trim_write.h"
#include "render/escape.h"
#include "render/units.h"

enum { TITLE = 24, NUMBER = 12 };

static void put_head(const struct capture_je *c, FILE *to)
{
	escape_text(to, c->heaps.target->comm, 0);
	fprintf(to, " (%d)", (int)c->heaps.target->pid);
}

static struct json begin_json(const struct capture_je *c, const char *what, FILE *to)
{
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "result");
	json_string(&j, what);
	json_key(&j, "pid");
	json_int(&j, c->heaps.target->pid);
	json_key(&j, "comm");
	json_string(&j, c->heaps.target->comm);
	return j;
}

static void number(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	json_int(j, v);
}

static void flag(struct json *j, const char *key, bool v)
{
	json_key(j, key);
	json_bool(j, v);
}

static void end_json(const struct capture_je *c, struct json *j, FILE *to)
{
	number(j, "calls", c->control.n_calls);
	number(j, "longest_call_us", (int64_t)(c->control.longest_ns / 1000));
	if (c->in)
		number(j, "longest_stop_us",
		       (int64_t)(inject_stats_of(c->in)->longest_stop_ns / 1000));
	json_object_end(j);
	fputc('\n', to);
}

/* ---- what can be switched ---- */

static const char *decay_text(int64_t ms, char *buf, size_t size)
{
	if (ms < 0)
		snprintf(buf, size, "never");
	else
		snprintf(buf, size, "after %" PRId64 " ms", ms);
	return buf;
}

void je_write_state(const struct capture_je *c, const struct capture_je_state *s, FILE *to)
{
	char a[UNITS_BYTES], b[UNITS_BYTES];

	put_head(c, to);
	fprintf(to, ": jemalloc ");
	escape_text(to, s->version, 0);
	fprintf(to, ", %s\n",
	        c->control.symbol[0] ? c->control.symbol : "mallctl without a symbol");
	if (!s->is_built)
		fprintf(to, "profiler: not built in (config.prof)\n");
	else if (!s->is_on)
		fprintf(to, "profiler: built in, but the process was started without opt.prof\n");
	else
		fprintf(to, "profiler: %s, one sample in %s%s\n", s->is_active ? "on" : "off",
		        units_bytes((int64_t)(1ull << (s->lg_sample & 63)), a, sizeof(a)),
		        s->accumulates ? ", what was freed is kept, too" : "");
	fprintf(to, "free pages go back: dirty %s, muzzy %s; %" PRIu64 " arenas\n",
	        decay_text(s->dirty_decay_ms, a, sizeof(a)),
	        decay_text(s->muzzy_decay_ms, b, sizeof(b)), s->n_arenas);
	if (!s->is_on)
		fprintf(to, "next: memwho alloc %d records who holds what, without it\n",
		        (int)c->heaps.target->pid);
}

void je_write_state_json(const struct capture_je *c, const struct capture_je_state *s, FILE *to)
{
	struct json j = begin_json(c, "je", to);

	json_key(&j, "version");
	json_string(&j, s->version);
	json_key(&j, "symbol");
	json_string(&j, c->control.symbol);
	flag(&j, "config_prof", s->is_built);
	flag(&j, "opt_prof", s->is_on);
	flag(&j, "active", s->is_active);
	flag(&j, "opt_prof_accum", s->accumulates);
	number(&j, "lg_sample", s->is_on ? (int64_t)s->lg_sample : -1);
	number(&j, "dirty_decay_ms", s->dirty_decay_ms);
	number(&j, "muzzy_decay_ms", s->muzzy_decay_ms);
	number(&j, "arenas", (int64_t)s->n_arenas);
	end_json(c, &j, to);
}

void je_write_number_json(const struct capture_je *c, const char *key, int64_t v, FILE *to)
{
	struct json j = begin_json(c, "je", to);

	number(&j, key, v);
	end_json(c, &j, to);
}

void je_write_flags_json(const struct capture_je *c, const char *key, bool v, const char *other,
                         bool v2, FILE *to)
{
	struct json j = begin_json(c, "je", to);

	flag(&j, key, v);
	flag(&j, other, v2);
	end_json(c, &j, to);
}

/* ---- free pages ---- */

/* Of the whole process, by its page tables: a heap that has nothing left is hard to recognise. */
static int64_t came_back(const struct capture_je_purge *p)
{
	return p->before.resident_bytes - p->after.resident_bytes;
}

void je_write_purge(const struct capture_je *c, const struct capture_je_purge *p, FILE *to)
{
	char a[UNITS_BYTES], b[UNITS_BYTES];
	const struct heaps_heap *before = heaps_find(&p->before, CAPTURE_JE_HEAP),
				*after = heaps_find(&p->after, CAPTURE_JE_HEAP);
	const int64_t came = came_back(p);

	put_head(c, to);
	if (p->predicted_bytes >= 0)
		fprintf(to, ": %s predicted, ", units_bytes(p->predicted_bytes, a, sizeof(a)));
	else
		fprintf(to, ": ");
	if (came >= 0)
		fprintf(to, "%s came back\n", units_bytes(came, b, sizeof(b)));
	else
		fprintf(to, "nothing came back: the program took %s meanwhile\n",
		        units_bytes(-came, b, sizeof(b)));
	trim_write_head(to);
	trim_write_process(to, &p->before, &p->after);
	if (!before || !after || after->resident_bytes < 0)
		return;
	trim_write_row(to, "jemalloc", before->resident_bytes, after->resident_bytes);
	trim_write_figures(to, before, after);
}

void je_write_purge_json(const struct capture_je *c, const struct capture_je_purge *p, FILE *to)
{
	struct json j = begin_json(c, "je", to);

	json_key(&j, "predicted_bytes");
	if (p->predicted_bytes < 0)
		json_null(&j);
	else
		json_int(&j, p->predicted_bytes);
	number(&j, "came_back_bytes", came_back(p));
	trim_write_json_process(&j, &p->before, &p->after);
	trim_write_json_heap(&j, heaps_find(&p->before, CAPTURE_JE_HEAP),
	                     heaps_find(&p->after, CAPTURE_JE_HEAP));
	end_json(c, &j, to);
}

/* ---- its tree ---- */

/* Where the process's resident bytes are: in jemalloc, and in what else. */
static void put_sums(const struct heaps *h, FILE *to)
{
	const struct heaps_heap *one = heaps_find(h, CAPTURE_JE_HEAP);
	char a[UNITS_BYTES], b[UNITS_BYTES];

	fprintf(to, "%-*s%*s\n", TITLE, "resident, process", NUMBER,
	        units_bytes(h->resident_bytes, a, sizeof(a)));
	if (!one)
		return;
	fprintf(to, "%-*s%*s   %s elsewhere: memwho TARGET shows where\n", TITLE,
	        "resident, jemalloc", NUMBER, units_bytes(one->resident_bytes, a, sizeof(a)),
	        units_bytes(h->resident_bytes - one->resident_bytes, b, sizeof(b)));
	for (size_t i = 0; i < one->n_figures; i++) {
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

static void put_classes(const struct jemalloc_stats *s, FILE *to)
{
	char a[3][UNITS_BYTES], used[UNITS_BYTES];

	fprintf(to, "\n%12s%12s%*s%*s%10s%10s\n", "CLASS", "BLOCKS", NUMBER, "ACTIVE", NUMBER,
	        "FREE IN IT", "SLABS", "USED");
	for (size_t i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		const struct jemalloc_stats_class *k = &s->classes[i];

		if (!k->active_bytes)
			continue;
		fprintf(to, "%12s%12" PRIu64 "%*s%*s%10" PRIu64 "%10s\n",
		        units_bytes((int64_t)k->size_bytes, a[0], UNITS_BYTES), k->blocks, NUMBER,
		        units_bytes((int64_t)k->active_bytes, a[1], UNITS_BYTES), NUMBER,
		        units_bytes((int64_t)k->free_bytes, a[2], UNITS_BYTES), k->slabs,
		        units_percent((double)(k->blocks * k->size_bytes), (double)k->active_bytes,
		                      used, sizeof(used)));
	}
}

void je_write_stats(const struct capture_je *c, const struct heaps *h,
                    const struct jemalloc_stats_list *l, FILE *to)
{
	put_head(c, to);
	fprintf(to, ": read from outside, nothing was called\n");
	put_sums(h, to);
	for (size_t i = 0; i < l->n; i++) {
		if (l->n > 1)
			fprintf(to, "\n%s, number %zu\n", l->items[i].name, i + 1);
		put_arenas(&l->items[i], to);
		put_classes(&l->items[i], to);
	}
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
		json_object_end(j);
	}
	json_array_end(j);
}

static void json_classes(struct json *j, const struct jemalloc_stats *s)
{
	json_key(j, "classes");
	json_array(j);
	for (size_t i = 0; i < JEMALLOC_LAYOUT_CLASSES; i++) {
		const struct jemalloc_stats_class *k = &s->classes[i];

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

void je_write_stats_json(const struct capture_je *c, const struct heaps *h,
                         const struct jemalloc_stats_list *l, FILE *to)
{
	const struct heaps_heap *one = heaps_find(h, CAPTURE_JE_HEAP);
	struct json j = begin_json(c, "je", to);

	number(&j, "process_resident_bytes", h->resident_bytes);
	number(&j, "resident_bytes", one ? one->resident_bytes : 0);
	for (size_t i = 0; one && i < one->n_figures; i++)
		number(&j, one->figures[i].key, one->figures[i].value);
	json_key(&j, "jemallocs");
	json_array(&j);
	for (size_t i = 0; i < l->n; i++) {
		json_object(&j);
		json_key(&j, "name");
		json_string(&j, l->items[i].name);
		number(&j, "metadata_bytes", (int64_t)l->items[i].metadata_bytes);
		json_arenas(&j, &l->items[i]);
		json_classes(&j, &l->items[i]);
		json_object_end(&j);
	}
	json_array_end(&j);
	end_json(c, &j, to);
}
