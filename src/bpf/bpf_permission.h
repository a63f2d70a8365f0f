/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Why the kernel refused a BPF program or a probe, and the command that helps.
 * The kernel only says EPERM or EACCES.
 */

#include <stdbool.h>

#include "base/error.h"

enum bpf_permission {
	BPF_PERMISSION_LOAD,   /* bpf(BPF_PROG_LOAD), maps, links */
	BPF_PERMISSION_UPROBE, /* perf_event_open() of an uprobe */
};

/* Is @r (-errno) a refusal? */
bool bpf_permission_is_refusal(int r);
/* Fill @err; @errnum is what the kernel said. Returns -errnum. */
int bpf_permission_explain(enum bpf_permission what, int errnum, struct error *err);
