/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The intervals of estimates (profile/interval.h) in words and numbers, for every format. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "profile/interval.h"
#include "render/view.h"

enum { INTERVAL_TEXT_BYTES = 120 };

/* Of a row; of all rows. Nothing in it (samples 0) if the view's type is no estimate. */
struct interval_sum interval_text_row(const struct view *v, size_t row);
struct interval_sum interval_text_total(const struct view *v);

/* Does the figure rest on a single sample? */
bool interval_text_is_one_sample(const struct interval_sum *s);

/* "95 %: 1.2–3.4 MiB, 12 samples"; one sample is said in words. "" without samples. */
const char *interval_text(const struct interval_sum *s, bool is_bytes, char *buf, size_t size);
/* As above, without the number of samples: "1.2–3.4 MiB". */
const char *interval_text_range(const struct interval_sum *s, bool is_bytes, char *buf,
                                size_t size);

/* Values for JSON, never below 0. */
void interval_text_ends(const struct interval_sum *s, int64_t *low, int64_t *high);
