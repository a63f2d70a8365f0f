/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where a module's data ends: what its program headers, as the process has them in
 * memory, say. The surprising rule: /proc/PID/maps does not tell. Anonymous memory
 * that happens to lie right behind a .bss is shown as one mapping with it; of what
 * ld.so maps that is the first thread's TLS, with other modules' variables.
 */

#include "runtime/heap_memory.h"
#include "runtime/regions.h"

/* Cut @d to its module. It stays as it is where the headers cannot be read. */
void module_data_cut(struct heap_memory *m, const struct maps *maps, struct regions_data *d);
