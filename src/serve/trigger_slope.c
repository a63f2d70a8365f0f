/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/trigger_slope.h"

#include <math.h>
#include <string.h>

enum { N = TRIGGER_SLOPE_BLOCKS, RISES_NEEDED = N - 1 };

/* Student's t, 97.5 %, 6 degrees of freedom */
static const double T_975 = 2.4469;

void trigger_slope_init(struct trigger_slope *s, uint64_t window_ns)
{
	*s = (struct trigger_slope){ .block_ns = window_ns / N ? window_ns / N : 1 };
}

void trigger_slope_add(struct trigger_slope *s, uint64_t now_ns, double bytes)
{
	uint64_t index = now_ns / s->block_ns + 1;
	struct trigger_slope_block *b = &s->blocks[index % (N + 1)];

	if (b->index != index)
		*b = (struct trigger_slope_block){ .index = index };
	b->sum_bytes += bytes;
	b->sum_ns += (double)(now_ns % s->block_ns);
	b->n++;
}

static uint64_t newest(const struct trigger_slope *s)
{
	uint64_t max = 0;

	for (int i = 0; i <= N; i++)
		max = s->blocks[i].index > max ? s->blocks[i].index : max;
	return max;
}

/* Means of the complete blocks, oldest first; false: one is missing. */
static bool means(const struct trigger_slope *s, double *seconds, double *bytes)
{
	uint64_t last = newest(s);

	for (int i = 0; i < N; i++) {
		uint64_t index = last - N + (uint64_t)i;
		const struct trigger_slope_block *b = &s->blocks[index % (N + 1)];

		if (last <= N || b->index != index || !b->n)
			return false;
		seconds[i] = ((double)i * (double)s->block_ns + b->sum_ns / (double)b->n) / 1e9;
		bytes[i] = b->sum_bytes / (double)b->n;
	}
	return true;
}

static int rises(const double *y)
{
	int n = 0;

	for (int i = 1; i < N; i++)
		n += y[i] > y[i - 1];
	return n;
}

bool trigger_slope_line(const struct trigger_slope *s, struct trigger_slope_line *ret)
{
	double x[N], y[N], mean_x = 0, mean_y = 0, sxx = 0, sxy = 0, rest = 0, slope, error;

	if (!means(s, x, y))
		return false;
	for (int i = 0; i < N; i++) {
		mean_x += x[i] / N;
		mean_y += y[i] / N;
	}
	for (int i = 0; i < N; i++) {
		sxx += (x[i] - mean_x) * (x[i] - mean_x);
		sxy += (x[i] - mean_x) * (y[i] - mean_y);
	}
	if (!(sxx > 0))
		return false;
	slope = sxy / sxx;
	for (int i = 0; i < N; i++) {
		double off = y[i] - mean_y - slope * (x[i] - mean_x);

		rest += off * off;
	}
	error = T_975 * sqrt(rest / (N - 2) / sxx);
	*ret = (struct trigger_slope_line){ .bytes_per_s = slope,
		                            .low = slope - error,
		                            .high = slope + error };
	ret->steady = ret->low > 0 && rises(y) >= RISES_NEEDED && y[N - 1] > y[N - 2];
	return true;
}
