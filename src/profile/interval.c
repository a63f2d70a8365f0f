/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/interval.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define Z95 1.959964

/* A variance of bytes in (256 bytes)^2, of blocks in sixteenths: an exabyte of samples of a
 * GiB and one sample of 4 KiB can both be told. */
#define BYTES_UNIT  65536.0
#define BLOCKS_UNIT 0.0625

static const char bytes_unit[] = "65536 bytes^2", blocks_unit[] = "count^2/16";

const struct profile_type interval_profile_types[INTERVAL_TYPES] = {
	{ "alloc_samples", "count" },
	{ "alloc_seen", "bytes" },
	{ "alloc_objects_variance", "count^2/16" },
	{ "alloc_space_variance", "65536 bytes^2" },
	{ "inuse_samples", "count" },
	{ "inuse_seen", "bytes" },
	{ "inuse_objects_variance", "count^2/16" },
	{ "inuse_space_variance", "65536 bytes^2" },
};

void interval_add_bytes(struct interval_sum *to, double size, double weight)
{
	to->estimate += size * weight;
	to->seen += size;
	to->variance += size * size * weight * (weight - 1);
	to->samples++;
}

void interval_add_blocks(struct interval_sum *to, double weight)
{
	interval_add_bytes(to, 1, weight);
}

void interval_add(struct interval_sum *to, const struct interval_sum *from)
{
	to->estimate += from->estimate;
	to->seen += from->seen;
	to->variance += from->variance;
	to->samples += from->samples;
}

/* Quantile of a gamma distribution with the scale 1. */
static double gamma_quantile(double shape, double z)
{
	const double root = 1 - 1 / (9 * shape) + z / (3 * sqrt(shape));

	return root > 0 ? shape * root * root * root : 0;
}

void interval_of(const struct interval_sum *s, double *low, double *high)
{
	const double unseen = s->estimate - s->seen;
	double scale, k, shape, half, most;

	*low = *high = s->estimate;
	if (!(s->variance > 0) || !(unseen > 0) || !(s->samples >= 1))
		return;
	scale = s->variance / unseen;
	k = unseen / scale;
	shape = k * (1 + 0.5 / s->samples);
	half = k < s->samples ? scale * (1 - k / s->samples) / 2 : 0;
	most = scale * gamma_quantile(shape, Z95);
	*low = s->seen + fmax(0, scale * gamma_quantile(shape, -Z95) - half);
	/* less than half a block is none */
	*high = s->seen + most + fmin(half, most);
	/* an estimate may lie outside where one sample stands for little */
	*low = fmin(*low, s->estimate);
	*high = fmax(*high, s->estimate);
}

static int64_t rounded(double v)
{
	return v < 9e18 ? llround(v) : INT64_MAX;
}

void interval_values(const struct interval_sum *alloc_objects,
                     const struct interval_sum *alloc_space,
                     const struct interval_sum *inuse_objects,
                     const struct interval_sum *inuse_space, int64_t values[INTERVAL_TYPES])
{
	const struct interval_sum *const objects[] = { alloc_objects, inuse_objects };
	const struct interval_sum *const space[] = { alloc_space, inuse_space };

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
		values[4 * i] = rounded(space[i]->samples);
		values[4 * i + 1] = rounded(space[i]->seen);
		values[4 * i + 2] = rounded(objects[i]->variance / BLOCKS_UNIT);
		values[4 * i + 3] = rounded(space[i]->variance / BYTES_UNIT);
	}
}

static bool ends_in(const char *s, const char *end)
{
	const size_t n = strlen(s), k = strlen(end);

	return n >= k && strcmp(s + n - k, end) == 0;
}

/* "inuse_space" with "_samples" instead of "_space". */
static int sibling(const struct profile *p, const char *name, const char *suffix)
{
	const char *end = strrchr(name, '_');
	char other[160];

	if (!end)
		return -1;
	snprintf(other, sizeof(other), "%.*s%s", (int)(end - name), name, suffix);
	return profile_find_type(p, other);
}

bool interval_find(const struct profile *p, size_t type, struct interval_types *ret)
{
	const char *name = profile_type_at(p, type)->name;
	const bool is_space = ends_in(name, "_space");
	char variance[160];

	*ret = (struct interval_types){ -1, -1, -1, -1 };
	if (!is_space && !ends_in(name, "_objects"))
		return false;
	snprintf(variance, sizeof(variance), "%s_variance", name);
	ret->variance = profile_find_type(p, variance);
	ret->samples = sibling(p, name, "_samples");
	ret->seen = is_space ? sibling(p, name, "_seen") : ret->samples;
	ret->estimate = (int)type;
	if (ret->variance < 0 || ret->samples < 0 || ret->seen < 0 ||
	    strcmp(profile_type_at(p, (size_t)ret->variance)->unit,
	           is_space ? bytes_unit : blocks_unit))
		*ret = (struct interval_types){ -1, -1, -1, -1 };
	return ret->variance >= 0;
}

bool interval_is_helper(const struct profile_type *t)
{
	for (size_t i = 0; i < INTERVAL_TYPES; i++) {
		if (!strcmp(t->name, interval_profile_types[i].name))
			return true;
	}
	return false;
}

double interval_variance_unit(const struct profile *p, const struct interval_types *t)
{
	return strcmp(profile_type_at(p, (size_t)t->variance)->unit, bytes_unit) ? BLOCKS_UNIT
	                                                                         : BYTES_UNIT;
}

struct interval_sum interval_sum_of(const struct profile *p, const struct interval_types *t,
                                    const int64_t *values)
{
	return (struct interval_sum){
		.estimate = (double)values[t->estimate],
		.seen = (double)values[t->seen],
		.variance = (double)values[t->variance] * interval_variance_unit(p, t),
		.samples = (double)values[t->samples],
	};
}
