/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What every renderer starts from: the profile after --focus, --ignore, --by
 * and --no-inline, the value type to draw, its companions, and the samples
 * worth showing in order. The surprising rule: value types are paired by name.
 * "inuse_space" (bytes) has "inuse_objects" as its count; further types that
 * a profile may carry are
 *
 *	inuse_age     ns     sum of the ages of the objects held: average age =
 *	                     inuse_age / inuse_objects
 *	growth_space  bytes  held now less held at the last look
 *	after, before, delta  of a diff (transform_diff)
 */

#include <stdbool.h>
#include <stdint.h>

#include "profile/interval.h"
#include "profile/profile.h"
#include "render/render.h"

enum view_flags {
	VIEW_REVERSE = 1,   /* honour render_options.reverse: leaf becomes the root */
	VIEW_MAGNITUDE = 2, /* diff: order by |delta| */
	VIEW_BY_NAME = 8,   /* stacks of the same names are one row, whatever their lines */
	VIEW_ALL = 4,       /* rows with any value that is not 0, of whatever type */
};

struct view_row {
	size_t sample; /* index into the profile */
	int64_t value; /* of the view's type */
};

struct view {
	const struct profile *p;
	struct profile *owned; /* p, if it was made here */
	size_t type;
	int bytes, count;         /* companions of type, -1: none. bytes may be type itself */
	int age, growth;          /* -1: the profile has none */
	int after, before, delta; /* all three, or -1 */
	bool is_diff;
	bool is_bytes;   /* unit of type */
	bool is_sampled; /* values of type are estimates: */
	struct interval_types interval;
	int64_t total;         /* of type over all samples */
	struct view_row *rows; /* n_rows samples with a value, largest first */
	size_t n_rows;
};

/* -ERANGE: no such value type; -EINVAL: a regexp does not compile. @o may be
 * NULL. The view refers to @p, which must stay. */
int view_make(const struct profile *p, const struct render_options *o, int flags, struct view *ret,
              struct error *err);
void view_clear(struct view *v); /* { 0 } is fine */

/* Index of the type that goes with type @type: "_objects", "_space" or "_age"
 * instead of what its name ends in; -1: none. */
int view_companion(const struct profile *p, size_t type, const char *suffix);

/* values[type] of a row's sample; 0 for type -1. */
int64_t view_value(const struct view *v, size_t row, int type);

/* Sum and difference that stop at the ends (never INT64_MIN): the values of a
 * foreign profile can be anything. */
int64_t view_add(int64_t a, int64_t b);
int64_t view_subtract(int64_t a, int64_t b);

/* The function's name at full length, or "module+0xoffset" in @buf. */
const char *view_frame_text(const struct profile *p, uint32_t frame, char *buf, size_t size);

/* Module path without its folders; "" for none. */
const char *view_module_name(const struct profile *p, const struct profile_frame *f);

/* A reference graph's profile (refs/refs.h): objects by what refers to them. */
bool view_is_refs(const struct profile *p);
