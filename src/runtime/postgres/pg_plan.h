/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Probe plans for the methods of memory contexts. Bytes are chunk space (what
 * GetMemoryChunkSpace() says: the chunk with its header), read from the header
 * when the call returns, so they add up to the server's own account.
 *
 *   family      class       header before the chunk
 *   old         AllocSet    size, context                    (16 bytes)
 *               Generation  size, block, context             (24)
 *               Slab        block, context; size in the context
 *   chunk word  all         id bits, external bit, 30 bits of value, offset to
 *                           the block from bit 34 (8)
 *               AllocSet    value is the exponent: 8 << value
 *               external    the block has this chunk alone: its end tells
 *               Bump        no header: the aligned request
 *
 * (src/backend/utils/mmgr/aset.c and sisters, 10 to 18;
 * src/include/utils/memutils_memorychunk.h, 16 to 18.)
 *
 * AlignedAlloc has no probes: it allocates and frees through the other classes.
 */

#include <stdbool.h>

#include "base/error.h"
#include "bpf/plan_format.h"
#include "runtime/postgres/pg_layout.h"

enum { PG_PLAN_TEXT_BYTES = 512 };

/* Is method @m of class @c probed? */
bool pg_plan_wanted(const struct pg_methods *methods, enum pg_class c, enum pg_method m);

enum plan_role pg_plan_role(enum pg_method m);

/* Which argument, counted from 1, has the bytes that are asked for; 0: none. The context comes
 * first, but not in realloc() of the chunk-word family, which is not told it. */
unsigned pg_plan_asked(const struct pg_layout *l, enum pg_method m);

/* Plan text (runtime/plan.h); @layout is needed for `header` only. */
int pg_plan_text(const struct pg_layout *l, enum pg_class c, enum pg_method m,
                 char text[PG_PLAN_TEXT_BYTES], struct error *err);
