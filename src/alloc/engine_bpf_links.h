/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The part of the engine that attaches and detaches; engine_bpf.h has what
 * others use of it. */

#include "alloc/engine_bpf.h"

bool engine_bpf_links_kernel_has_multi(void);
/* Before the load: which programs are for what kind of link. */
void engine_bpf_links_prepare(struct engine_bpf *e);
/* The programs for perf events, if they are not there yet. */
int engine_bpf_links_load_perf(struct engine_bpf *e, struct error *err);
/* Wait for a load in the background. */
void engine_bpf_links_join(struct engine_bpf *e);
