/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Ladders made by hand, as map/ladder.h describes them. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/profile.h"

struct sample_part {
	const char *kind, *name;
	int64_t virtual_bytes, resident_bytes, in_use_bytes, cached_bytes;
	const char *detail, *figures, *inside, *unknown_why;
};

static inline struct report_figure sample_text(const char *s)
{
	return report_cell_text(s ? s : "");
}

static inline void sample_row(struct profile *p, const char *key, const char *const *columns,
                              size_t n, const struct report_figure *cells)
{
	struct report_table *t;
	struct error err;

	if (report_table(profile_report(p), key, columns, n, &t, &err) < 0 ||
	    report_row(t, cells, &err) < 0)
		abort();
}

static inline void sample_part_add(struct profile *p, const struct sample_part *part)
{
	static const char *const columns[] = {
		"kind",         "name",     "virtual_bytes", "resident_bytes", "in_use_bytes",
		"cached_bytes", "evidence", "swap_bytes",    "pss_bytes",      "reserved_bytes",
		"huge_bytes",   "ranges",   "detail",        "inside",         "unknown_why",
		"figures",      "checked",  "inconsistent",  "path",           "file_bytes",
		"locked_bytes", "pid",
	};
	const struct report_figure cells[] = {
		sample_text(part->kind),
		sample_text(part->name),
		report_cell_int(part->virtual_bytes),
		report_cell_int(part->resident_bytes),
		report_cell_int(part->in_use_bytes),
		report_cell_int(part->cached_bytes),
		sample_text("made by hand"),
		report_cell_int(0),
		report_cell_int(0),
		report_cell_int(0),
		report_cell_int(0),
		report_cell_int(1),
		sample_text(part->detail),
		sample_text(part->inside),
		sample_text(part->unknown_why),
		sample_text(part->figures),
		report_cell_int(7),
		report_cell_int(0),
		sample_text(""),
		report_cell_int(0),
		report_cell_int(0),
		report_cell_int(4711),
	};
	int64_t values[] = { part->virtual_bytes, part->resident_bytes, 0, 0,
		             part->in_use_bytes > 0 ? part->in_use_bytes : 0 };
	struct error err;
	uint32_t frames[2];

	sample_row(p, "parts", columns, ARRAY_SIZE(columns), cells);
	if (profile_frame_named(p, part->name, &frames[0], &err) < 0 ||
	    profile_frame_named(p, part->kind, &frames[1], &err) < 0 ||
	    profile_add(p, frames, 2, NULL, 0, values, &err) < 0)
		abort();
}

/* @parts ends with a kind of NULL. */
static inline struct profile *sample_ladder(const struct sample_part *parts)
{
	static const struct profile_type types[] = {
		{ "virtual_bytes", "bytes" }, { "resident_bytes", "bytes" },
		{ "pss_bytes", "bytes" },     { "swap_bytes", "bytes" },
		{ "in_use_bytes", "bytes" },
	};
	int64_t sum_virtual = 0, sum_resident = 0, unnamed = 0;
	struct profile *p = NULL;
	struct report *r;
	struct error err;

	if (profile_new(&p, types, ARRAY_SIZE(types), 1, &err) < 0)
		abort();
	for (; parts->kind; parts++) {
		sample_part_add(p, parts);
		sum_virtual += parts->virtual_bytes;
		sum_resident += parts->resident_bytes;
		unnamed += !strcmp(parts->kind, "unnamed") ? parts->virtual_bytes : 0;
	}
	r = profile_report(p);
	if (report_text(r, "result", NULL, "ladder", &err) < 0 ||
	    report_text(r, "target", NULL, "silly (4711)", &err) < 0 ||
	    report_int(r, "pid", NULL, 4711, "", &err) < 0 ||
	    report_int(r, "ns_pid", NULL, 7, "", &err) < 0 ||
	    report_int(r, "virtual_bytes", "virtual", sum_virtual, "bytes", &err) < 0 ||
	    report_int(r, "resident_bytes", "resident", sum_resident, "bytes", &err) < 0 ||
	    report_int(r, "unnamed_bytes", "unnamed", unnamed, "bytes", &err) < 0 ||
	    report_int(r, "vm_size_bytes", "VmSize", sum_virtual, "bytes", &err) < 0 ||
	    report_int(r, "vm_rss_bytes", "VmRSS", sum_resident - 8192, "bytes", &err) < 0 ||
	    report_int(r, "vm_rss_difference_bytes", NULL, 8192, "bytes", &err) < 0)
		abort();
	return p;
}

static inline void sample_setting(struct profile *p, const char *key, const char *value)
{
	static const char *const columns[] = { "key", "value" };
	const struct report_figure cells[] = { sample_text(key), sample_text(value) };

	sample_row(p, "settings", columns, 2, cells);
}

static inline void sample_finding(struct profile *p, const char *text, const char *evidence,
                                  const char *remedy)
{
	static const char *const columns[] = { "key", "text", "evidence", "remedy", "bytes" };
	const struct report_figure cells[] = { sample_text("some-finding"), sample_text(text),
		                               sample_text(evidence), sample_text(remedy),
		                               report_cell_int(-1) };

	sample_row(p, "findings", columns, 5, cells);
}
