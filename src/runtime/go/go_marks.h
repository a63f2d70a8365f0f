/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What the last collection found reachable, object by object, by its mark bits. The
 * surprising rule: which of a span's two bitmaps has them depends on whether the
 * span was swept since (mheap.go, mspan.sweepgen; mgcsweep.go; Go 1.17 to 1.26):
 * sweeping makes gcmarkBits the allocBits and begins new ones.
 */

#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_objects.h"

struct go_marks {
	uint64_t marked_bytes;  /* whole slots */
	uint64_t reached_bytes; /* of these: that the walk reached, too */
	uint64_t unreadable;    /* spans whose bits are not there */
	/* of objects with finalizers, which the collector counts when it scans them for those
	 * (mgcmark.go, markrootSpans), and again if something else leads to them */
	uint64_t finalized_bytes;
};

/* @node: of each slot of @o, UINT32_MAX if it was not reached. */
void go_marks_count(struct go_objects *o, const uint32_t *node, struct go_marks *ret);
