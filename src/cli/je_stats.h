/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * memwho je TARGET stats: jemalloc's tree of figures, by arenas and size classes, and
 * the process's resident bytes divided among jemalloc's pages and everything else.
 * The surprising rule: in JSON those figures that were read have jemalloc's own
 * names, too ("stats.arenas.0.bins.3.curregs"), so that a script for mallctl() finds
 * them; and where calls were made for more, all figures under such names are what they said.
 */

#include <stdio.h>

#include "capture/capture_je_count.h"

struct je_stats {
	const struct capture_je *c;
	const struct heaps *heaps;
	const struct jemalloc_stats_list *list;
	const struct capture_je_counts *counts; /* n 0: nothing was called */
};

void je_stats_write(const struct je_stats *s, FILE *to);
void je_stats_write_json(const struct je_stats *s, FILE *to);
