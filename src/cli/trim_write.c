/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/trim_write.h"

#include <inttypes.h>
#include <string.h>

#include "render/escape.h"
#include "render/units.h"

enum { TITLE = 22, NUMBER = 12 };

/* ---- text ---- */

static const char *bytes(int64_t v, bool sign, char *buf)
{
	if (v < 0 && !sign)
		return "?";
	return units_value(v, true, sign, buf, UNITS_BYTES);
}

void trim_write_head(FILE *to)
{
	fprintf(to, "%-*s%*s%*s%*s\n", TITLE, "", NUMBER, "before", NUMBER, "after", NUMBER,
	        "change");
}

void trim_write_row(FILE *to, const char *title, int64_t before, int64_t after)
{
	char a[UNITS_BYTES], b[UNITS_BYTES], c[UNITS_BYTES];
	const bool known = before >= 0 && after >= 0;

	fprintf(to, "%-*s%*s%*s%*s\n", TITLE, title, NUMBER, bytes(before, false, a), NUMBER,
	        bytes(after, false, b), NUMBER,
	        !known            ? "?"
	        : after == before ? "-"
	                          : bytes(after - before, true, c));
}

void trim_write_process(FILE *to, const struct heaps *before, const struct heaps *after)
{
	trim_write_row(to, "resident", before->resident_bytes, after->resident_bytes);
	if (before->pss_bytes >= 0 && after->pss_bytes >= 0)
		trim_write_row(to, "proportional (PSS)", before->pss_bytes, after->pss_bytes);
	if (before->swap_bytes || after->swap_bytes)
		trim_write_row(to, "swapped", before->swap_bytes, after->swap_bytes);
}

static bool is_bytes(const struct regions_figure *f)
{
	const size_t n = strlen(f->key);

	return n > 6 && !strcmp(f->key + n - 6, "_bytes");
}

void trim_write_figures(FILE *to, const struct heaps_heap *before, const struct heaps_heap *after)
{
	char title[64];

	for (size_t i = 0; before && i < before->n_figures; i++) {
		const struct regions_figure *f = &before->figures[i];
		int64_t now = after ? heaps_value(after, f->key) : 0;

		if (!is_bytes(f) || now == f->value)
			continue;
		snprintf(title, sizeof(title), "    %s", f->title);
		trim_write_row(to, title, f->value, now);
	}
}

static const struct heaps_heap *heap_of(const struct heaps *h, const struct capture_trim_one *one)
{
	return heaps_find(h, one->trim->allocator);
}

/* A heap that is not there any more has given all back. */
static int64_t resident(const struct heaps_heap *h)
{
	return h ? h->resident_bytes : 0;
}

static void put_threads_left(FILE *to, const struct capture_trim_one *one)
{
	if (one->done.threads_left)
		fprintf(to,
		        "  %u threads could not be lent in time: what is theirs was left alone\n",
		        one->done.threads_left);
}

static void put_one(FILE *to, const struct capture_trim *c, const struct capture_trim_one *one)
{
	const struct heaps_heap *before = heap_of(&c->before, one),
				*after = heap_of(&c->after, one);
	char a[UNITS_BYTES], b[UNITS_BYTES];

	fprintf(to, "%s: ", one->trim->allocator);
	if (one->refused.code) {
		escape_text(to, one->refused.message, 0);
		fputc('\n', to);
		return;
	}
	if (!one->done.calls) {
		fprintf(to, "%s would give back %s\n", one->trim->call,
		        bytes(before->could_trim_bytes, false, a));
		return;
	}
	fprintf(to, "%s: %s predicted, ", one->trim->call,
	        bytes(before->could_trim_bytes, false, a));
	if (resident(after) < 0)
		fputs("what came back is not known\n", to);
	else if (resident(after) <= resident(before))
		fprintf(to, "%s came back\n", bytes(resident(before) - resident(after), false, b));
	else
		fprintf(to, "nothing came back: it took %s meanwhile\n",
		        bytes(resident(after) - resident(before), false, b));
	trim_write_row(to, "  resident", resident(before), resident(after));
	trim_write_row(to, "  live", before->live_bytes, after ? after->live_bytes : 0);
	if (resident(after) >= 0)
		trim_write_figures(to, before, after);
	put_threads_left(to, one);
}

static void put_cost(FILE *to, const struct capture_trim *c)
{
	uint64_t longest = 0;
	unsigned calls = 0;

	for (size_t i = 0; i < c->n; i++) {
		calls += c->items[i].done.calls;
		if (c->items[i].done.longest_ns > longest)
			longest = c->items[i].done.longest_ns;
	}
	if (calls)
		fprintf(to,
		        "%u call%s in the process, %.1f ms at most; a thread was held for %.1f ms "
		        "at most (%" PRIu64 " stops, %" PRIu64 " not at a safe point)\n",
		        calls, calls == 1 ? "" : "s", (double)longest / 1e6,
		        (double)c->stats.longest_stop_ns / 1e6, c->stats.stops, c->stats.refused);
}

void trim_write_text(const struct capture_trim *c, FILE *to)
{
	escape_text(to, c->comm, 0);
	fprintf(to, " (%d)\n", (int)c->pid);
	if (c->after.n || c->after.resident_bytes) {
		trim_write_head(to);
		trim_write_process(to, &c->before, &c->after);
	}
	for (size_t i = 0; i < c->n; i++)
		put_one(to, c, &c->items[i]);
	put_cost(to, c);
}

/* ---- JSON ---- */

static void number(struct json *j, const char *key, int64_t v)
{
	json_key(j, key);
	if (v < 0)
		json_null(j);
	else
		json_int(j, v);
}

static void text(struct json *j, const char *key, const char *v)
{
	json_key(j, key);
	if (v)
		json_string(j, v);
	else
		json_null(j);
}

void trim_write_json_pair(struct json *j, const char *name, int64_t before, int64_t after)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_before_bytes", name);
	number(j, key, before);
	snprintf(key, sizeof(key), "%s_after_bytes", name);
	number(j, key, after);
}

void trim_write_json_process(struct json *j, const struct heaps *before, const struct heaps *after)
{
	trim_write_json_pair(j, "resident", before->resident_bytes,
	                     after ? after->resident_bytes : -1);
	trim_write_json_pair(j, "vm_rss", before->vm_rss_bytes, after ? after->vm_rss_bytes : -1);
	trim_write_json_pair(j, "pss", before->pss_bytes, after ? after->pss_bytes : -1);
	trim_write_json_pair(j, "swap", before->swap_bytes, after ? after->swap_bytes : -1);
	trim_write_json_pair(j, "virtual", before->virtual_bytes,
	                     after ? after->virtual_bytes : -1);
}

/* 0 of a heap that is gone; null of one that was not recognised. */
static void figure(struct json *j, const struct heaps_heap *h, const char *key)
{
	if (h && h->resident_bytes < 0)
		json_null(j);
	else
		json_int(j, h ? heaps_value(h, key) : 0);
}

/* Keys of either side, each once. */
static void write_figures(struct json *j, const struct heaps_heap *before,
                          const struct heaps_heap *after)
{
	const struct heaps_heap *sides[] = { before, after };

	json_key(j, "figures");
	json_object(j);
	for (size_t s = 0; s < 2; s++) {
		for (size_t i = 0; sides[s] && i < sides[s]->n_figures; i++) {
			const char *key = sides[s]->figures[i].key;

			if (s && before && heaps_value(before, key) >= 0)
				continue;
			json_key(j, key);
			json_array(j);
			figure(j, before, key);
			figure(j, after, key);
			json_array_end(j);
		}
	}
	json_object_end(j);
}

void trim_write_json_heap(struct json *j, const struct heaps_heap *before,
                          const struct heaps_heap *after)
{
	trim_write_json_pair(j, "resident", resident(before), resident(after));
	trim_write_json_pair(j, "live", before ? before->live_bytes : 0,
	                     after ? after->live_bytes : 0);
	trim_write_json_pair(j, "in_use", before ? before->in_use_bytes : 0,
	                     after ? after->in_use_bytes : 0);
	trim_write_json_pair(j, "cached", before ? before->cached_bytes : 0,
	                     after ? after->cached_bytes : 0);
	trim_write_json_pair(j, "could_trim", before ? before->could_trim_bytes : 0,
	                     after ? after->could_trim_bytes : 0);
	number(j, "inconsistent",
	       (int64_t)((before ? before->inconsistent : 0) + (after ? after->inconsistent : 0)));
	write_figures(j, before, after);
}

static void write_one(struct json *j, const struct capture_trim *c,
                      const struct capture_trim_one *one)
{
	const struct heaps_heap *before = heap_of(&c->before, one),
				*after = heap_of(&c->after, one);

	json_object(j);
	text(j, "allocator", one->trim->allocator);
	text(j, "call", one->trim->call);
	text(j, "refused", one->refused.code ? one->refused.message : NULL);
	number(j, "calls", one->done.calls);
	number(j, "threads_left", one->done.threads_left);
	number(j, "predicted_bytes", before->could_trim_bytes);
	json_key(j, "came_back_bytes");
	if (one->done.calls && resident(after) >= 0)
		json_int(j, resident(before) - resident(after));
	else
		json_null(j);
	trim_write_json_heap(j, before, one->done.calls ? after : before);
	json_object_end(j);
}

void trim_write_json(const struct capture_trim *c, FILE *to)
{
	const bool asked = c->after.n || c->after.resident_bytes;
	struct json j = json_on(to);

	json_object(&j);
	text(&j, "result", "trim");
	number(&j, "pid", c->pid);
	text(&j, "comm", c->comm);
	trim_write_json_process(&j, &c->before, asked ? &c->after : NULL);
	json_key(&j, "allocators");
	json_array(&j);
	for (size_t i = 0; i < c->n; i++)
		write_one(&j, c, &c->items[i]);
	json_array_end(&j);
	number(&j, "stops", (int64_t)c->stats.stops);
	number(&j, "refused_stops", (int64_t)c->stats.refused);
	number(&j, "longest_stop_us", (int64_t)(c->stats.longest_stop_ns / 1000));
	json_object_end(&j);
	fputc('\n', to);
}
