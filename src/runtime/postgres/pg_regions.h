/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What of a server process's address space is PostgreSQL's: the main shared
 * memory segment with the shared buffers, dynamic shared memory, and, inside
 * malloc's heap, the memory contexts. The surprising rule: a backend mostly has
 * not touched the first page of the shared segment, where its header is; that
 * is then read in the postmaster, which has.
 */

#include "base/error.h"
#include "runtime/regions.h"
#include "runtime/runtime.h"

int pg_regions_label(const struct runtime_view *v, const struct regions_input *in,
                     struct regions *to, struct error *err);
