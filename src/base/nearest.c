/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/nearest.h"

#include <string.h>

enum { LONGEST = 32 };

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	if (b < a)
		a = b;
	return c < a ? c : a;
}

/* Letters to insert, drop, change or swap with their neighbour (optimal string
 * alignment). Both texts are at most LONGEST long. */
static unsigned distance(const char *a, const char *b)
{
	unsigned d[LONGEST + 1][LONGEST + 1];
	size_t n = strlen(a), m = strlen(b);

	for (size_t i = 0; i <= n; i++)
		d[i][0] = i;
	for (size_t j = 0; j <= m; j++)
		d[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1,
			               d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				d[i][j] = min3(d[i][j], d[i - 2][j - 2] + 1, d[i][j]);
		}
	}
	return d[n][m];
}

struct nearest nearest_to(const char *typed)
{
	/* a third of the letters may be wrong, at least one, at most four */
	size_t limit = strlen(typed) / 3;

	if (limit < 1)
		limit = 1;
	if (limit > 4)
		limit = 4;
	return (struct nearest){ .typed = typed, .distance = limit + 1 };
}

void nearest_offer(struct nearest *n, const char *name)
{
	size_t len = strlen(n->typed);
	unsigned d;

	if (!len || len > LONGEST || strlen(name) > LONGEST)
		return;
	d = distance(n->typed, name);
	/* "--dur": what was typed is how the name begins */
	if (len >= 3 && !strncmp(n->typed, name, len))
		d = d ? 1 : 0;
	if (d < n->distance) {
		n->distance = d;
		n->name = name;
	}
}
