/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The report in words: title and trust line of pictures and tables. Texts come
 * from the profile and are foreign; write them through render/escape.h.
 */

#include <stdbool.h>
#include <stddef.h>

#include "profile/report.h"
#include "render/view.h"

enum { FIGURES_BYTES = 512 };

/* The options' title, or "postgres (4711): memory held". In @buf; returned. */
const char *figures_title(const struct view *v, const struct render_options *o, char *buf,
                          size_t size);

/* How much it is: "12.3 MiB in 34 stacks, 90,123 blocks". */
const char *figures_amount(const struct view *v, char *buf, size_t size);

/* The figures that decide how far the result can be trusted, in one line:
 * "13.0 s · engine bpf · 0 lost events · 99.8 % complete stacks". *warn: some
 * part of the truth is missing. */
const char *figures_trust(const struct view *v, char *buf, size_t size, bool *warn);

/* Is @key told by figures_title() or figures_trust()? */
bool figures_is_told(const char *key);

/* A figure's value with its unit. */
const char *figures_value(const struct report_figure *f, char *buf, size_t size);

/* A cell of a table; in a column "..._bytes" integers are bytes. */
const char *figures_cell(const struct report_table *t, size_t row, size_t c, char *buf,
                         size_t size);

/* What a row of the table of stacks is, by what the leaf did: "Stack (who allocated ← its
 * callers)".
 */
const char *figures_stack(const struct view *v);

/* What a value type is called in a picture: "memory held", "allocations" ... */
const char *figures_type_name(const struct profile_type *t);
