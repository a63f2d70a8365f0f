/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * No uprobe where a jump of the sampling agent lies. The kernel would write its breakpoint over
 * one, and, when the uprobe goes, the file's byte: what is left of the jump is no code, and the
 * process dies of it. So whoever sets uprobes in a process asks here first.
 */

#include "base/error.h"
#include "inject/lock.h"
#include "target/target.h"

/* What a memwho that was killed has left in @t's code, or @t has inherited from its parent, is
 * taken out (1; 0: there was nothing). -EBUSY: another memwho records it. Until *ret is given back
 * nobody's agent comes: while uprobes are set, not longer, as other commands want it, too. */
int bpf_way_clear(const struct target *t, struct lock *ret, struct error *err);
