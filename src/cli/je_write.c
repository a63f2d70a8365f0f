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

struct json je_write_begin_json(const struct capture_je *c, const char *what, FILE *to)
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

void je_write_end_json(const struct capture_je *c, struct json *j, FILE *to)
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
	if (!s->is_on && c->control.symbol[0])
		fprintf(to, "next: memwho alloc %d records who holds what, without it\n",
		        (int)c->heaps.target->pid);
	else if (!s->is_on)
		fprintf(to, "next: memwho je %d stats\n", (int)c->heaps.target->pid);
}

void je_write_state_json(const struct capture_je *c, const struct capture_je_state *s, FILE *to)
{
	struct json j = je_write_begin_json(c, "je", to);

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
	je_write_end_json(c, &j, to);
}

void je_write_number_json(const struct capture_je *c, const char *key, int64_t v, FILE *to)
{
	struct json j = je_write_begin_json(c, "je", to);

	number(&j, key, v);
	je_write_end_json(c, &j, to);
}

void je_write_flags_json(const struct capture_je *c, const char *key, bool v, const char *other,
                         bool v2, FILE *to)
{
	struct json j = je_write_begin_json(c, "je", to);

	flag(&j, key, v);
	flag(&j, other, v2);
	je_write_end_json(c, &j, to);
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
	struct json j = je_write_begin_json(c, "je", to);

	json_key(&j, "predicted_bytes");
	if (p->predicted_bytes < 0)
		json_null(&j);
	else
		json_int(&j, p->predicted_bytes);
	number(&j, "came_back_bytes", came_back(p));
	trim_write_json_process(&j, &p->before, &p->after);
	trim_write_json_heap(&j, heaps_find(&p->before, CAPTURE_JE_HEAP),
	                     heaps_find(&p->after, CAPTURE_JE_HEAP));
	je_write_end_json(c, &j, to);
}
