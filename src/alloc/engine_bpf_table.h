/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The part of the engine that keeps the live table; engine_bpf.h has what
 * others use of it. */

#include "alloc/engine_bpf.h"

int engine_bpf_table_open(struct engine_bpf *e, u64 first_level, u32 reset_contexts,
                          struct error *err);
void engine_bpf_table_close(struct engine_bpf *e);
