/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The report for a terminal: figures that have a title, tables of rows. */

#include <stdbool.h>
#include <stdio.h>

#include "profile/report.h"

/* "title value · title value", wrapped; without those that
 * figures_is_told(). Nothing if there are none. */
void report_text_figures(FILE *to, const struct report *r, size_t columns);

/* Each table under its key, at most 20 rows each. */
void report_text_tables(FILE *to, const struct report *r, size_t columns, bool colour);

/* @s made safe, broken at " · " so that lines stay within @columns. No newline
 * at the end. */
void report_text_wrap(FILE *to, const char *s, size_t columns);
