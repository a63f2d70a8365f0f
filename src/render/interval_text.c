/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/interval_text.h"

#include <math.h>
#include <stdio.h>

#include "render/units.h"

struct interval_sum interval_text_row(const struct view *v, size_t row)
{
	const struct profile_sample s = profile_sample_at(v->p, v->rows[row].sample);

	return v->is_sampled ? interval_sum_of(v->p, &v->interval, s.values)
	                     : (struct interval_sum){ 0 };
}

struct interval_sum interval_text_total(const struct view *v)
{
	struct interval_sum sum = { 0 };

	for (size_t i = 0; v->is_sampled && i < v->n_rows; i++) {
		const struct interval_sum row = interval_text_row(v, i);

		interval_add(&sum, &row);
	}
	return sum;
}

static int64_t limited(double v)
{
	return v >= 9.2e18 ? INT64_MAX : v > 0 ? llround(v) : 0;
}

void interval_text_ends(const struct interval_sum *s, int64_t *low, int64_t *high)
{
	double l, h;

	interval_of(s, &l, &h);
	*low = limited(l);
	*high = limited(h);
}

const char *interval_text_range(const struct interval_sum *s, bool is_bytes, char *buf, size_t size)
{
	int64_t low, high;

	interval_text_ends(s, &low, &high);
	return units_range(low, high, is_bytes, buf, size);
}

/* Is it the estimate that one sample stands for? Then the variance is s^2 w (w-1), which is
 * estimate * (estimate - seen); where a sample is only what makes a large figure unsure (older
 * blocks, alloc/before.h), it is far less. */
bool interval_text_is_one_sample(const struct interval_sum *s)
{
	return s->samples >= 1 && s->samples < 2 &&
	       s->variance >= 0.5 * s->estimate * (s->estimate - s->seen);
}

const char *interval_text(const struct interval_sum *s, bool is_bytes, char *buf, size_t size)
{
	char range[2 * UNITS_BYTES], n[UNITS_BYTES];

	if (!(s->samples >= 1))
		snprintf(buf, size, "%s", "");
	else if (interval_text_is_one_sample(s))
		snprintf(buf, size, "95 %%: %s, seen by one sample",
		         interval_text_range(s, is_bytes, range, sizeof(range)));
	else if (s->samples < 2)
		snprintf(buf, size, "95 %%: %s",
		         interval_text_range(s, is_bytes, range, sizeof(range)));
	else
		snprintf(buf, size, "95 %%: %s, %s samples",
		         interval_text_range(s, is_bytes, range, sizeof(range)),
		         units_count(limited(s->samples), n, sizeof(n)));
	return buf;
}
