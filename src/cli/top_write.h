/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What `memwho top` prints: a table for people, or one JSON object (a line) a look. */

#include <stdbool.h>
#include <stdio.h>

#include "map/cgroup.h"
#include "map/top.h"

struct top_view {
	const struct top *top;
	const struct cgroup *cgroup; /* NULL: not one */
	size_t n_shown;              /* of the rows */
	bool pss, growth;            /* columns */
};

void top_write_table(const struct top_view *v, FILE *to);
void top_write_json(const struct top_view *v, FILE *to);
