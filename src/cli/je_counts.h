/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* memwho je TARGET stats --calls: what jemalloc itself counts, as tables. Rows of which every
 * figure is 0 are left out. */

#include <stdio.h>

#include "capture/capture_je_count.h"

void je_counts_write(const struct capture_je_counts *c, FILE *to);
