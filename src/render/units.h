/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Numbers as people read them. Each function writes to @buf (32 bytes are
 * enough) and returns it. Signs are '-' and, where asked for, '+'. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNITS_BYTES = 40 };

const char *units_bytes(int64_t bytes, char *buf, size_t size); /* "12.3 MiB", "144 B" */
const char *units_count(int64_t n, char *buf, size_t size);     /* "1,234,567" */
/* "1.2–3.4 MiB": one unit for both where that tells the lower end, too; 2 * UNITS_BYTES. */
const char *units_range(int64_t low, int64_t high, bool is_bytes, char *buf, size_t size);
const char *units_seconds(double s, char *buf, size_t size); /* "13.0 s", "4 min 10 s" */
const char *units_percent(double part, double whole, char *buf, size_t size); /* "4.5 %" */
/* bytes or count, by the unit; "+" before a positive one if @sign. */
const char *units_value(int64_t v, bool is_bytes, bool sign, char *buf, size_t size);
