/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Why the kernel refused a BPF program or a probe, and the command that helps.
 * The kernel only says EPERM or EACCES.
 */

#include <stdbool.h>

#include "base/error.h"

enum engine_permission {
	ENGINE_PERMISSION_LOAD,   /* bpf(BPF_PROG_LOAD), maps, links */
	ENGINE_PERMISSION_UPROBE, /* perf_event_open() of an uprobe */
};

/* Is @r (-errno) a refusal? */
bool engine_permission_is_refusal(int r);
/* Fill @err; @errnum is what the kernel said. Returns -errnum. */
int engine_permission_explain(enum engine_permission what, int errnum, struct error *err);
