/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/je_decay.h"

#include <inttypes.h>

#include "cli/je_write.h"
#include "cli/trim_write.h"
#include "render/escape.h"
#include "render/units.h"

enum { NUMBER = 14 };

static int64_t came_back(const struct capture_je_decay *d)
{
	return d->before.resident_bytes - d->after.resident_bytes;
}

/* ---- for people ---- */

static const char *bytes(uint64_t v, char buf[UNITS_BYTES])
{
	return units_bytes((int64_t)v, buf, UNITS_BYTES);
}

static const char *ms_text(int64_t ms, char buf[UNITS_BYTES])
{
	if (ms < 0)
		return "never";
	snprintf(buf, UNITS_BYTES, "%" PRId64 " ms", ms);
	return buf;
}

static void put_now(const struct capture_je_decay *d, FILE *to)
{
	const int64_t came = came_back(d);
	char a[UNITS_BYTES], b[UNITS_BYTES];

	if (!d->known)
		fputs("its free pages are not recognised, so nothing is predicted: ", to);
	else if (d->least_bytes == d->most_bytes)
		fprintf(to, "%s predicted at once, ", bytes(d->most_bytes, a));
	else
		fprintf(to, "%s to %s predicted at once, ", bytes(d->least_bytes, a),
		        bytes(d->most_bytes, b));
	if (came >= 0)
		fprintf(to, "%s came back\n", units_bytes(came, a, sizeof(a)));
	else
		fprintf(to, "nothing came back: the program took %s meanwhile\n",
		        units_bytes(-came, a, sizeof(a)));
}

/* The curve is a smooth step (doc of opt.dirty_decay_ms): half of what was freed at one time is
 * gone after half of the time. */
static void put_later(const struct capture_je_decay *d, FILE *to)
{
	char a[UNITS_BYTES];

	if (!d->later_bytes)
		return;
	fprintf(to,
	        "in time: %s within %" PRId64 " ms if nobody takes them, half after half of it; ",
	        bytes(d->later_bytes, a), d->within_ms);
	fputs(d->background ? "background threads look, those\nthat sleep as nothing was "
	                      "to go back once threads allocate or free\n"
	                    : "an arena looks only when\nthreads allocate and free in it "
	                      "(background_thread is off)\n",
	      to);
}

static void put_setting(const struct capture_je_decay *d, FILE *to)
{
	if (d->ms == CAPTURE_JE_DECAY_AS_IS)
		fputs("one look at the free pages\n", to);
	else if (d->ms < 0)
		fputs("free pages are kept for ever, in all arenas; memwho je purge still gives "
		      "them "
		      "back\n",
		      to);
	else if (d->ms == 0)
		fputs("free pages go back to the kernel at once, in all arenas\n", to);
	else
		fprintf(to,
		        "free pages go back to the kernel after %" PRId64 " ms, in all arenas\n",
		        d->ms);
}

static void put_arena(const struct capture_je_decay_arena *a, FILE *to)
{
	char t[6][UNITS_BYTES];

	fprintf(to, "%8u%*s%*s%*s%*s%*s%*s\n", a->arena, NUMBER, bytes(a->dirty_bytes, t[0]),
	        NUMBER, ms_text(a->dirty_ms, t[1]), NUMBER, bytes(a->muzzy_bytes, t[2]), NUMBER,
	        ms_text(a->muzzy_ms, t[3]), NUMBER, bytes(a->most_bytes, t[4]), NUMBER,
	        bytes(a->later_bytes, t[5]));
}

void je_decay_write(const struct capture_je *c, const struct capture_je_decay *d, FILE *to)
{
	escape_text(to, c->heaps.target->comm, 0);
	fprintf(to, " (%d): ", (int)c->heaps.target->pid);
	put_setting(d, to);
	put_now(d, to);
	put_later(d, to);
	if (d->n)
		fprintf(to, "\n%8s%*s%*s%*s%*s%*s%*s\n", "ARENA", NUMBER, "DIRTY", NUMBER,
		        "WENT AFTER", NUMBER, "MUZZY", NUMBER, "WENT AFTER", NUMBER, "AT ONCE",
		        NUMBER, "IN TIME");
	for (size_t i = 0; i < d->n; i++)
		put_arena(&d->arenas[i], to);
	fputc('\n', to);
	trim_write_head(to);
	trim_write_process(to, &d->before, &d->after);
	trim_write_figures(to, heaps_find(&d->before, CAPTURE_JE_HEAP),
	                   heaps_find(&d->after, CAPTURE_JE_HEAP));
}

/* ---- for scripts ---- */

static void number(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	json_int(j, v);
}

static void predicted(struct json *j, const struct capture_je_decay *d, const char *key, uint64_t v)
{
	json_key(j, key);
	if (d->known)
		json_int(j, (int64_t)v);
	else
		json_null(j);
}

static void arena_json(struct json *j, const struct capture_je_decay_arena *a)
{
	json_object(j);
	number(j, "arena", a->arena);
	number(j, "dirty_resident_bytes", (int64_t)a->dirty_bytes);
	number(j, "muzzy_resident_bytes", (int64_t)a->muzzy_bytes);
	number(j, "dirty_decay_ms", a->dirty_ms);
	number(j, "muzzy_decay_ms", a->muzzy_ms);
	number(j, "predicted_least_bytes", (int64_t)a->least_bytes);
	number(j, "predicted_bytes", (int64_t)a->most_bytes);
	number(j, "later_bytes", (int64_t)a->later_bytes);
	number(j, "within_ms", a->within_ms);
	json_object_end(j);
}

void je_decay_write_json(const struct capture_je *c, const struct capture_je_decay *d, FILE *to)
{
	struct json j = je_write_begin_json(c, "je", to);

	if (d->ms != CAPTURE_JE_DECAY_AS_IS)
		number(&j, "decay_ms", d->ms);
	predicted(&j, d, "predicted_least_bytes", d->least_bytes);
	predicted(&j, d, "predicted_bytes", d->most_bytes);
	number(&j, "came_back_bytes", came_back(d));
	predicted(&j, d, "later_bytes", d->later_bytes);
	number(&j, "within_ms", d->within_ms);
	json_key(&j, "background_threads");
	json_bool(&j, d->background);
	json_key(&j, "arenas");
	json_array(&j);
	for (size_t i = 0; i < d->n; i++)
		arena_json(&j, &d->arenas[i]);
	json_array_end(&j);
	trim_write_json_process(&j, &d->before, &d->after);
	trim_write_json_heap(&j, heaps_find(&d->before, CAPTURE_JE_HEAP),
	                     heaps_find(&d->after, CAPTURE_JE_HEAP));
	je_write_end_json(c, &j, to);
}
