/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/delta_write.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/trim_write.h"
#include "profile/ladder_diff.h"
#include "render/escape.h"
#include "render/ladder_words.h"
#include "render/units.h"

enum { ROWS = 12, FRAMES = 3 };

/* Rows of both ladders side by side; what they refer to must live as long. */
struct changes {
	struct profile *profiles[2];
	struct ladder_rows rows[2];
	struct ladder_changes changes;
};

static void clear_changes(struct changes *c)
{
	ladder_diff_clear(&c->changes);
	for (size_t i = 0; i < 2; i++) {
		ladder_rows_clear(&c->rows[i]);
		profile_free(c->profiles[i]);
	}
}

static int make_changes(const struct capture_delta *d, struct changes *c, struct error *err)
{
	const struct ladder *ladders[] = { &d->before.ladder, &d->after.ladder };
	int r = 0;

	for (size_t i = 0; r == 0 && i < 2; i++) {
		r = ladder_profile(ladders[i], 1, &c->profiles[i], err);
		if (r == 0)
			r = ladder_rows_make(c->profiles[i], &c->rows[i], err);
	}
	return r < 0 ? r : ladder_diff_rows(&c->rows[0], &c->rows[1], &c->changes, err);
}

static bool differs(const struct ladder_change *c)
{
	return ladder_diff_resident(c) || ladder_diff_virtual(c) ||
	       c->before.in_use_bytes != c->after.in_use_bytes;
}

/* ---- jemalloc's own profile ---- */

struct stacks {
	const struct profile *profile;
	size_t type; /* "delta" */
	size_t *order;
	size_t n; /* that differ, by how much */
};

static int64_t stack_delta(const struct stacks *s, size_t i)
{
	return profile_sample_at(s->profile, i).values[s->type];
}

static int by_size(const void *a, const void *b, void *arg)
{
	const int64_t x = llabs(stack_delta(arg, *(const size_t *)a));
	const int64_t y = llabs(stack_delta(arg, *(const size_t *)b));

	return x > y ? -1 : x < y;
}

static int find_stacks(const struct profile *p, struct stacks *ret, struct error *err)
{
	*ret = (struct stacks){ .profile = p };
	if (!p)
		return 0;
	ret->type = profile_default_type(p);
	ret->order = calloc(profile_n_samples(p) + 1, sizeof(*ret->order));
	if (!ret->order)
		return error_oom(err);
	for (size_t i = 0; i < profile_n_samples(p); i++) {
		if (stack_delta(ret, i))
			ret->order[ret->n++] = i;
	}
	qsort_r(ret->order, ret->n, sizeof(*ret->order), by_size, ret);
	return 0;
}

static void clear_stacks(struct stacks *s)
{
	free(s->order);
}

static void put_stacks(const struct stacks *s, FILE *to)
{
	char a[UNITS_BYTES];

	if (!s->profile)
		return;
	fprintf(to, "\njemalloc's own profile: %zu stack%s changed\n", s->n, s->n == 1 ? "" : "s");
	for (size_t i = 0; i < s->n && i < ROWS; i++) {
		const struct profile_sample k = profile_sample_at(s->profile, s->order[i]);
		const int64_t v = stack_delta(s, s->order[i]);

		fprintf(to, "  %s%s  ", v < 0 ? "-" : "+", units_bytes(llabs(v), a, sizeof(a)));
		for (size_t f = 0; f < k.n_frames && f < FRAMES; f++) {
			fputs(f ? " < " : "", to);
			escape_text(to,
			            profile_text(s->profile,
			                         profile_frame_at(s->profile, k.frames[f])->name),
			            0);
		}
		fputc('\n', to);
	}
}

static void write_stacks(struct json *j, const struct stacks *s)
{
	json_key(j, "profile");
	if (!s->profile) {
		json_null(j);
		return;
	}
	json_array(j);
	for (size_t i = 0; i < s->n; i++) {
		const struct profile_sample k = profile_sample_at(s->profile, s->order[i]);

		json_object(j);
		json_key(j, "delta_bytes");
		json_int(j, stack_delta(s, s->order[i]));
		json_key(j, "frames");
		json_array(j);
		for (size_t f = 0; f < k.n_frames; f++)
			json_string(j,
			            profile_text(s->profile,
			                         profile_frame_at(s->profile, k.frames[f])->name));
		json_array_end(j);
		json_object_end(j);
	}
	json_array_end(j);
}

/* ---- text ---- */

static void put_heap(FILE *to, const struct capture_delta *d, const struct heaps_heap *before,
                     const struct heaps_heap *after)
{
	const struct heaps_heap *any = before ? before : after;

	fprintf(to, "%s\n", any->name);
	trim_write_row(to, "  live", before ? before->live_bytes : 0,
	               after ? after->live_bytes : 0);
	if (any->unknown_why[0] || (after && after->unknown_why[0])) {
		fputs("    ", to);
		escape_text(to, any->unknown_why[0] ? any->unknown_why : after->unknown_why, 0);
		fputc('\n', to);
	}
	if (any->trim && any->cached_bytes >= 0)
		trim_write_row(to, "  in threads' caches", before ? before->cached_bytes : 0,
		               after ? after->cached_bytes : 0);
	trim_write_row(to, "  resident", before ? before->resident_bytes : 0,
	               after ? after->resident_bytes : 0);
	if (!after || after->resident_bytes >= 0)
		trim_write_figures(to, before, after);
}

static void put_heaps(FILE *to, const struct capture_delta *d)
{
	for (size_t i = 0; i < d->before.n; i++) {
		const struct heaps_heap *b = &d->before.items[i];

		put_heap(to, d, b, heaps_find(&d->after, b->name));
	}
	for (size_t i = 0; i < d->after.n; i++) {
		const struct heaps_heap *a = &d->after.items[i];

		if (!heaps_find(&d->before, a->name))
			put_heap(to, d, NULL, a);
	}
}

static void put_rows(FILE *to, const struct changes *c)
{
	size_t shown = 0;

	for (size_t i = 0; i < c->changes.n && shown < ROWS; i++) {
		const struct ladder_change *l = &c->changes.items[i];
		char title[64], change[UNITS_BYTES];

		if (!ladder_diff_resident(l) || ladder_rows_is_heap(l->kind))
			continue;
		if (!shown++)
			fputs("beside the heaps, resident\n", to);
		units_value(ladder_diff_resident(l), true, true, change, sizeof(change));
		snprintf(title, sizeof(title), "  %s", ladder_words_kind(l->kind, false));
		fprintf(to, "%-22s%36s  ", title, change);
		escape_text(to, l->name, 60);
		fputc('\n', to);
	}
}

static void put_sum(FILE *to, const struct capture_delta *d)
{
	const int64_t freed = capture_delta_freed(d), trim = capture_delta_could_trim(d);
	const int64_t came = d->before.resident_bytes - d->after.resident_bytes;
	char a[UNITS_BYTES], b[UNITS_BYTES];

	fprintf(to, "%s of blocks %s (%" PRId64 " bytes); resident memory is ",
	        units_bytes(freed < 0 ? -freed : freed, a, sizeof(a)),
	        freed < 0 ? "more" : "were released", freed < 0 ? -freed : freed);
	if (came)
		fprintf(to, "%s %s\n", units_bytes(came < 0 ? -came : came, b, sizeof(b)),
		        came < 0 ? "more" : "less");
	else
		fputs("the same\n", to);
	if (trim > 0)
		fprintf(to, "%s is free in the allocator and in memory: memwho trim %d\n",
		        units_bytes(trim, a, sizeof(a)), (int)d->session.target->pid);
}

int delta_write_text(const struct delta_write *w, FILE *to, struct error *err)
{
	cleanup(clear_changes) struct changes c = { 0 };
	cleanup(clear_stacks) struct stacks stacks = { 0 };
	const struct capture_delta *d = w->delta;
	int r = make_changes(d, &c, err);

	if (r == 0)
		r = find_stacks(d->profile, &stacks, err);
	if (r < 0)
		return r;
	escape_text(to, d->session.target->comm, 0);
	fprintf(to, " (%d): ", (int)d->session.target->pid);
	if (w->command)
		escape_text(to, w->command, 60);
	fprintf(to, "%s%.1f s", w->command ? ", " : "", (double)(d->after_ns - d->before_ns) / 1e9);
	if (d->stop)
		fprintf(to, "; it stood still for %.1f and %.1f ms",
		        (double)d->before.stopped_ns / 1e6, (double)d->after.stopped_ns / 1e6);
	fputc('\n', to);
	trim_write_head(to);
	trim_write_process(to, &d->before, &d->after);
	put_heaps(to, d);
	put_rows(to, &c);
	put_stacks(&stacks, to);
	put_sum(to, d);
	return 0;
}

/* ---- JSON ---- */

static void write_heap(struct json *j, const struct heaps_heap *before,
                       const struct heaps_heap *after)
{
	const struct heaps_heap *any = before ? before : after;

	json_object(j);
	json_key(j, "allocator");
	json_string(j, any->name);
	json_key(j, "released_bytes");
	if ((before && before->live_bytes < 0) || (after && after->live_bytes < 0))
		json_null(j);
	else
		json_int(j, (before ? before->live_bytes : 0) - (after ? after->live_bytes : 0));
	json_key(j, "unknown_why");
	json_string(j, any->unknown_why[0] || !after ? any->unknown_why : after->unknown_why);
	trim_write_json_heap(j, before, after);
	json_object_end(j);
}

static void write_side(struct json *j, const char *name, const struct ladder_diff_side *s)
{
	char key[64];

	snprintf(key, sizeof(key), "%s_rows", name);
	json_key(j, key);
	json_uint(j, s->n);
	snprintf(key, sizeof(key), "virtual_%s_bytes", name);
	json_key(j, key);
	json_int(j, s->virtual_bytes);
	snprintf(key, sizeof(key), "resident_%s_bytes", name);
	json_key(j, key);
	json_int(j, s->resident_bytes);
	snprintf(key, sizeof(key), "in_use_%s_bytes", name);
	json_key(j, key);
	if (s->in_use_bytes < 0)
		json_null(j);
	else
		json_int(j, s->in_use_bytes);
}

static void write_rows(struct json *j, const struct changes *c)
{
	json_key(j, "differences");
	json_array(j);
	for (size_t i = 0; i < c->changes.n; i++) {
		const struct ladder_change *l = &c->changes.items[i];

		if (!differs(l))
			continue;
		json_object(j);
		json_key(j, "kind");
		json_string(j, l->kind);
		json_key(j, "name");
		json_string(j, l->name);
		write_side(j, "before", &l->before);
		write_side(j, "after", &l->after);
		json_object_end(j);
	}
	json_array_end(j);
}

static void write_heaps(struct json *j, const struct capture_delta *d)
{
	json_key(j, "allocators");
	json_array(j);
	for (size_t i = 0; i < d->before.n; i++) {
		const struct heaps_heap *b = &d->before.items[i];

		write_heap(j, b, heaps_find(&d->after, b->name));
	}
	for (size_t i = 0; i < d->after.n; i++) {
		if (!heaps_find(&d->before, d->after.items[i].name))
			write_heap(j, NULL, &d->after.items[i]);
	}
	json_array_end(j);
}

static void write_command(struct json *j, const struct delta_write *w)
{
	json_key(j, "command");
	if (w->command)
		json_string(j, w->command);
	else
		json_null(j);
	json_key(j, "command_status");
	if (w->command_status >= 0)
		json_int(j, w->command_status);
	else
		json_null(j);
}

int delta_write_json(const struct delta_write *w, FILE *to, struct error *err)
{
	cleanup(clear_changes) struct changes c = { 0 };
	cleanup(clear_stacks) struct stacks stacks = { 0 };
	const struct capture_delta *d = w->delta;
	struct json j = json_on(to);
	int r = make_changes(d, &c, err);

	if (r == 0)
		r = find_stacks(d->profile, &stacks, err);
	if (r < 0)
		return r;
	json_object(&j);
	json_key(&j, "result");
	json_string(&j, "delta");
	json_key(&j, "pid");
	json_int(&j, d->session.target->pid);
	json_key(&j, "comm");
	json_string(&j, d->session.target->comm);
	write_command(&j, w);
	json_key(&j, "duration_seconds");
	json_double(&j, (double)(d->after_ns - d->before_ns) / 1e9);
	json_key(&j, "released_bytes");
	json_int(&j, capture_delta_freed(d));
	json_key(&j, "came_back_bytes");
	json_int(&j, d->before.resident_bytes - d->after.resident_bytes);
	trim_write_json_process(&j, &d->before, &d->after);
	json_key(&j, "stood_still_us");
	json_array(&j);
	json_uint(&j, d->before.stopped_ns / 1000);
	json_uint(&j, d->after.stopped_ns / 1000);
	json_array_end(&j);
	write_heaps(&j, d);
	write_rows(&j, &c);
	write_stacks(&j, &stacks);
	json_object_end(&j);
	fputc('\n', to);
	return 0;
}
