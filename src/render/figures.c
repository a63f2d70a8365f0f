/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/figures.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "render/interval_text.h"
#include "render/units.h"

const char *figures_type_name(const struct profile_type *t)
{
	static const struct {
		const char *type, *text;
	} names[] = {
		{ "inuse_space", "memory held" },
		{ "inuse_objects", "blocks held" },
		{ "alloc_space", "memory allocated" },
		{ "alloc_objects", "allocations" },
		{ "growth_space", "growth" },
		{ "delta", "what changed" },
		{ "freed_space", "memory freed again" },
		{ "mapped_bytes", "memory mapped" },
		{ "resident_bytes", "memory resident" },
		{ "touched_bytes", "resident memory by first touch" },
		{ "calls", "mapping calls" },
		{ "faults", "page faults" },
		{ "virtual_bytes", "virtual memory" },
		{ "pss_bytes", "proportional share" },
		{ "swap_bytes", "swapped out" },
		{ "in_use_bytes", "in use" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i].type, t->name))
			return names[i].text;
	}
	return t->name[0] ? t->name : "value";
}

static const char *text_of(const struct report *r, const char *key)
{
	const struct report_figure *f = report_get(r, key);

	return f && f->kind == REPORT_TEXT && f->text && *f->text ? f->text : NULL;
}

const char *figures_title(const struct view *v, const struct render_options *o, char *buf,
                          size_t size)
{
	const char *target = text_of(profile_report_const(v->p), "target");
	const char *what = view_is_refs(v->p) ? "memory kept"
	                                      : figures_type_name(profile_type_at(v->p, v->type));

	if (o && o->title && *o->title)
		snprintf(buf, size, "%s", o->title);
	else if (target)
		snprintf(buf, size, "%s: %s", target, what);
	else
		snprintf(buf, size, "%c%s",
		         what[0] >= 'a' && what[0] <= 'z' ? what[0] - 32 : what[0], what + 1);
	return buf;
}

/* Append; a full buffer keeps what it has. */
static void __attribute__((format(printf, 3, 4)))
append(char *buf, size_t size, const char *fmt, ...)
{
	size_t n = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, size - n, fmt, ap);
	va_end(ap);
}

static const char *separator(const char *buf)
{
	return *buf ? " \xc2\xb7 " : "";
}

/* Ways to objects, or what changed in them. */
static bool is_paths(const struct view *v)
{
	const char *result = text_of(profile_report_const(v->p), "result");

	return result && (!strcmp(result, "refs") || !strcmp(result, "refs-diff"));
}

const char *figures_stack(const struct view *v)
{
	static const struct {
		const char *type, *text;
	} headers[] = {
		{ "mapped_bytes", "Stack (who mapped \xe2\x86\x90 its callers)" },
		{ "touched_bytes", "Stack (who touched first \xe2\x86\x90 its callers)" },
		{ "calls", "Stack (who called \xe2\x86\x90 its callers)" },
		{ "faults", "Stack (who faulted \xe2\x86\x90 its callers)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
		if (!strcmp(profile_type_at(v->p, v->type)->name, headers[i].type))
			return headers[i].text;
	}
	return is_paths(v) ? "Path (object \xe2\x86\x90 what refers to it)"
	                   : "Stack (who allocated \xe2\x86\x90 its callers)";
}

/* What a sample is: a ladder's are no stacks. */
static const char *noun(const struct view *v)
{
	const char *result = text_of(profile_report_const(v->p), "result");

	if (is_paths(v))
		return "path";
	return result && !strncmp(result, "ladder", 6) ? "row" : "stack";
}

static void add_interval(const struct view *v, char *buf, size_t size)
{
	const struct interval_sum sum = interval_text_total(v);
	char text[2 * UNITS_BYTES];

	if (sum.samples > 0)
		append(buf, size, " (95 %%: %s)",
		       interval_text_range(&sum, v->is_bytes, text, sizeof(text)));
}

const char *figures_amount(const struct view *v, char *buf, size_t size)
{
	char total[UNITS_BYTES], n[UNITS_BYTES];

	buf[0] = 0;
	append(buf, size, "%s in %s %s%s",
	       units_value(v->total, v->is_bytes, v->is_diff && (int)v->type == v->delta, total,
	                   sizeof(total)),
	       units_count((int64_t)v->n_rows, n, sizeof(n)), noun(v), v->n_rows == 1 ? "" : "s");
	add_interval(v, buf, size);
	if (v->is_diff && (int)v->type == v->delta)
		append(buf, size, " (%s before, %s after)",
		       units_value(profile_total(v->p, (size_t)v->before), v->is_bytes, false, n,
		                   sizeof(n)),
		       units_value(profile_total(v->p, (size_t)v->after), v->is_bytes, false, total,
		                   sizeof(total)));
	if (v->count >= 0 && v->count != (int)v->type) {
		int64_t blocks = profile_total(v->p, (size_t)v->count);

		append(buf, size, ", %s %s%s", units_count(blocks, n, sizeof(n)),
		       view_is_refs(v->p) ? "object" : "block", blocks == 1 ? "" : "s");
	}
	return buf;
}

static double number_of(const struct report_figure *f)
{
	return f->kind == REPORT_DOUBLE ? f->real : (double)f->integer;
}

static bool is_number(const struct report_figure *f)
{
	return f && f->kind != REPORT_TEXT;
}

static void add_duration(const struct view *v, const struct report *r, char *buf, size_t size)
{
	const struct report_figure *f = report_get(r, "duration_seconds");
	double s = is_number(f) ? number_of(f) : (double)profile_duration_ns(v->p) / 1e9;
	char text[UNITS_BYTES];

	if (s > 0)
		append(buf, size, "%s", units_seconds(s, text, sizeof(text)));
}

/* Of a ladder: how much of it has no proven owner, and what the kernel says. */
static void add_ladder(const struct report *r, char *buf, size_t size)
{
	static const struct {
		const char *key, *text;
	} figures[] = {
		{ "virtual_bytes", "virtual" },
		{ "resident_bytes", "resident" },
		{ "unnamed_bytes", "unnamed" },
		{ "vm_rss_bytes", "VmRSS" },
	};
	const char *result = text_of(r, "result");
	char n[UNITS_BYTES];

	for (size_t i = 0; result && !strcmp(result, "ladder") && i < ARRAY_SIZE(figures); i++) {
		const struct report_figure *f = report_get(r, figures[i].key);

		if (f && f->kind == REPORT_INT)
			append(buf, size, "%s%s %s", separator(buf), figures[i].text,
			       units_bytes(f->integer, n, sizeof(n)));
	}
}

static void add_measures(const struct report *r, char *buf, size_t size, bool *warn)
{
	const struct report_figure *slow = report_get(r, "estimated_slowdown");
	const struct report_figure *whole = report_get(r, "complete_stacks_percent");
	const struct report_figure *lost = report_get(r, "lost_events");
	char n[UNITS_BYTES];

	if (is_number(slow))
		append(buf, size, "%sslowdown %.2fx", separator(buf), number_of(slow));
	if (is_number(whole)) {
		append(buf, size, "%s%.1f %% complete stacks", separator(buf), number_of(whole));
		*warn |= number_of(whole) < 99;
	}
	if (is_number(lost)) {
		append(buf, size, "%s%s lost events", separator(buf),
		       units_count((int64_t)number_of(lost), n, sizeof(n)));
		*warn |= number_of(lost) > 0;
	}
}

const char *figures_trust(const struct view *v, char *buf, size_t size, bool *warn)
{
	const struct report *r = profile_report_const(v->p);
	const char *engine = text_of(r, "engine"), *ended = text_of(r, "ended_by");

	buf[0] = 0;
	*warn = false;
	add_duration(v, r, buf, size);
	if (engine)
		append(buf, size, "%sengine %s", separator(buf), engine);
	add_measures(r, buf, size, warn);
	add_ladder(r, buf, size);
	if (ended && strcmp(ended, "running") != 0)
		append(buf, size, "%sended by %s", separator(buf), ended);
	return buf;
}

bool figures_is_told(const char *key)
{
	static const char *const keys[] = {
		"target",      "duration_seconds",        "engine",   "estimated_slowdown",
		"lost_events", "complete_stacks_percent", "ended_by", "held_bytes",
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!strcmp(keys[i], key))
			return true;
	}
	return false;
}

static const char *real_value(double v, const char *unit, char *buf, size_t size)
{
	if (!strcmp(unit, "s"))
		return units_seconds(v, buf, size);
	if (!strcmp(unit, "percent"))
		snprintf(buf, size, "%.1f %%", v);
	else
		snprintf(buf, size, "%.4g%s%s", v, *unit ? " " : "", unit);
	return buf;
}

const char *figures_value(const struct report_figure *f, char *buf, size_t size)
{
	if (f->kind == REPORT_TEXT) {
		snprintf(buf, size, "%s", f->text ? f->text : "");
	} else if (f->kind == REPORT_DOUBLE) {
		real_value(f->real, f->unit, buf, size);
	} else if (!strcmp(f->unit, "bytes")) {
		units_bytes(f->integer, buf, size);
	} else if (!strcmp(f->unit, "percent") || !strcmp(f->unit, "s")) {
		real_value((double)f->integer, f->unit, buf, size);
	} else {
		units_count(f->integer, buf, size);
		append(buf, size, "%s%s", *f->unit ? " " : "", f->unit);
	}
	return buf;
}

static bool ends_in_bytes(const char *column)
{
	size_t n = strlen(column);

	return n >= 5 && !strcmp(column + n - 5, "bytes");
}

const char *figures_cell(const struct report_table *t, size_t row, size_t c, char *buf, size_t size)
{
	const struct report_figure *f = &t->cells[row * t->n_columns + c];

	if (f->kind == REPORT_TEXT)
		return f->text ? f->text : "";
	if (f->kind == REPORT_INT && ends_in_bytes(t->columns[c]))
		return units_bytes(f->integer, buf, size);
	return figures_value(f, buf, size);
}
