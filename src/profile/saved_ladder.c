/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/saved_ladder.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/ladder_rows.h"
#include "profile/text.h"

enum {
	MOST_BYTES = 64 << 20, /* jansson takes some 20 times as much */
	LOOK_BYTES = 512,
	MOST_FIGURES = 256,
	MOST_TABLES = 32,
	MOST_COLUMNS = 64,
	MOST_ROWS = 200000,
	NAME_BYTES = 64,
};

static const struct profile_type types[] = {
	{ "virtual_bytes", "bytes" }, { "resident_bytes", "bytes" }, { "pss_bytes", "bytes" },
	{ "swap_bytes", "bytes" },    { "in_use_bytes", "bytes" },
};
enum { DEFAULT_TYPE = 1, LEAST = 0, MOST_CELL_TEXT = 4096 };

static void json_free(json_t **j)
{
	json_decref(*j);
}

bool saved_ladder_is(const char *text, size_t len)
{
	static const char mark[] = "memwho-ladder-1";

	return len && text[0] == '{' &&
	       memmem(text, len < LOOK_BYTES ? len : LOOK_BYTES, mark, strlen(mark));
}

/* ---- cells */

/* A row's figures: {"dirty_bytes": 4096} as "dirty_bytes=4096". */
static int figures_text(const json_t *object, struct text *to, struct error *err)
{
	const char *key;
	json_t *value;
	int r = text_append(to, "", 0, err);

	json_object_foreach((json_t *)object, key, value)
	{
		char number[NAME_BYTES];

		if (r < 0 || to->n > MOST_CELL_TEXT)
			break;
		if (!json_is_integer(value) || strlen(key) >= NAME_BYTES || strpbrk(key, " ="))
			continue;
		snprintf(number, sizeof(number), "=%" PRId64, (int64_t)json_integer_value(value));
		if (to->n)
			r = text_append(to, " ", 1, err);
		if (r == 0)
			r = text_append(to, key, strlen(key), err);
		if (r == 0)
			r = text_append(to, number, strlen(number), err);
	}
	return r;
}

/* @text holds what the cell refers to. */
static int cell_of(const json_t *value, struct text *text, struct report_figure *ret,
                   struct error *err)
{
	struct report_figure f = { .kind = REPORT_TEXT };
	int r = 0;

	if (json_is_integer(value)) {
		f.kind = REPORT_INT;
		f.integer = json_integer_value(value);
	} else if (json_is_real(value)) {
		f.kind = REPORT_DOUBLE;
		f.real = json_real_value(value);
	} else if (json_is_null(value)) { /* not known */
		f.kind = REPORT_INT;
		f.integer = -1;
	} else if (json_is_string(value)) {
		size_t n = json_string_length(value);

		r = text_append(text, json_string_value(value),
		                n < MOST_CELL_TEXT ? n : MOST_CELL_TEXT, err);
	} else if (json_is_object(value)) {
		r = figures_text(value, text, err);
	} else {
		r = text_append(text, "", 0, err);
	}
	f.text = text->s;
	if (r == 0)
		*ret = f;
	return r;
}

/* ---- tables */

static size_t columns_of(const json_t *row, const char *ret[MOST_COLUMNS])
{
	const char *key;
	json_t *value;
	size_t n = 0;

	json_object_foreach((json_t *)row, key, value)
	{
		if (n < MOST_COLUMNS)
			ret[n++] = key;
	}
	return n;
}

static int add_row(struct report_table *t, const json_t *row, struct error *err)
{
	struct report_figure cells[MOST_COLUMNS];
	struct text texts[MOST_COLUMNS] = { 0 };
	int r = 0;

	for (size_t c = 0; r == 0 && c < t->n_columns; c++)
		r = cell_of(json_object_get(row, t->columns[c]), &texts[c], &cells[c], err);
	if (r == 0)
		r = report_row(t, cells, err);
	for (size_t c = 0; c < t->n_columns; c++)
		text_clear(&texts[c]);
	return r;
}

static int add_table(struct report *to, const char *key, const json_t *rows, struct error *err)
{
	const char *columns[MOST_COLUMNS];
	size_t n = columns_of(json_array_get(rows, 0), columns);
	struct report_table *t;
	int r;

	if (!n || ladder_rows_table(to, key))
		return 0;
	if (json_array_size(rows) > MOST_ROWS)
		return error_set(err, EFBIG, "%zu rows", json_array_size(rows));
	r = report_table(to, key, columns, n, &t, err);
	for (size_t i = 0; r == 0 && i < json_array_size(rows); i++)
		r = add_row(t, json_array_get(rows, i), err);
	return r;
}

static int add_settings(struct report *to, const json_t *object, struct error *err)
{
	static const char *const columns[] = { "key", "value" };
	struct report_table *t;
	const char *key;
	json_t *value;
	int r = report_table(to, "settings", columns, ARRAY_SIZE(columns), &t, err);

	json_object_foreach((json_t *)object, key, value)
	{
		const struct report_figure cells[] = {
			report_cell_text(key),
			report_cell_text(json_string_value(value)),
		};

		if (r == 0 && cells[1].text && t->n_rows < MOST_FIGURES)
			r = report_row(t, cells, err);
	}
	return r;
}

/* ---- the whole */

static int add_figure(struct report *to, const char *key, const json_t *value, struct error *err)
{
	size_t n = strlen(key);
	bool is_bytes = n > 6 && !strcmp(key + n - 6, "_bytes");

	if (to->n_figures >= MOST_FIGURES)
		return 0;
	if (json_is_integer(value))
		return report_int(to, key, key, json_integer_value(value), is_bytes ? "bytes" : "",
		                  err);
	if (json_is_real(value))
		return report_double(to, key, key, json_real_value(value), "", err);
	return json_is_string(value) ? report_text(to, key, NULL, json_string_value(value), err)
	                             : 0;
}

static bool is_made_again(const char *key)
{
	return !strcmp(key, "format") || !strcmp(key, "allocator_bytes") ||
	       !strcmp(key, "application_bytes") || !strcmp(key, "application_at_least");
}

static int add_report(struct report *to, const json_t *root, struct error *err)
{
	const char *key;
	json_t *value;
	int r = 0;

	json_object_foreach((json_t *)root, key, value)
	{
		if (r < 0)
			break;
		if (is_made_again(key))
			continue;
		if (json_is_array(value) && to->n_tables < MOST_TABLES)
			r = add_table(to, key, value, err);
		else if (json_is_object(value) && !strcmp(key, "settings"))
			r = add_settings(to, value, err);
		else
			r = add_figure(to, key, value, err);
	}
	return r;
}

static int add_samples(struct profile *p, struct error *err)
{
	cleanup(ladder_rows_clear) struct ladder_rows rows = { 0 };
	int r = ladder_rows_make(p, &rows, err);

	for (size_t i = 0; r == 0 && i < rows.n; i++) {
		const struct ladder_row *row = &rows.items[i];
		const int64_t values[] = { row->virtual_bytes, row->resident_bytes, row->pss_bytes,
			                   row->swap_bytes,
			                   row->in_use_bytes > 0 ? row->in_use_bytes : LEAST };
		uint32_t frames[2];

		r = profile_frame_named(p, row->name[0] ? row->name : "(no name)", &frames[0], err);
		if (r == 0)
			r = profile_frame_named(p, row->kind[0] ? row->kind : "unnamed", &frames[1],
			                        err);
		if (r == 0)
			r = profile_add(p, frames, 2, NULL, 0, values, err);
	}
	return r;
}

int saved_ladder_parse(const char *text, size_t len, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(json_free) json_t *root = NULL;
	json_error_t why;
	int r;

	if (len > MOST_BYTES)
		return error_set(err, EFBIG, "more than %d MiB of JSON", MOST_BYTES >> 20);
	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
	if (!root)
		return error_set(err, EBADMSG, "no JSON in line %d: %s", why.line, why.text);
	r = profile_new(&p, types, ARRAY_SIZE(types), DEFAULT_TYPE, err);
	if (r == 0)
		r = add_report(profile_report(p), root, err);
	if (r == 0 && !ladder_rows_is(p))
		r = error_set(err, EBADMSG, "JSON, but no ladder");
	if (r == 0)
		r = add_samples(p, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 0;
}
