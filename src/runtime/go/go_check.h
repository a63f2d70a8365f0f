/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What was read of a Go heap against the runtime's own counters, and what could
 * not be read: each disagreement over 1 % becomes a warning with its size. The
 * surprising rule: spans that a P allocates from are counted by the runtime only
 * when they are full or given back; what they have handed out since is added.
 */

#include "base/error.h"
#include "runtime/go/go_claims.h"
#include "runtime/go/go_objects.h"
#include "runtime/graph_account.h"

struct go_check_reached {
	uint64_t bytes, objects; /* that the walk reached */
	const uint32_t *node;    /* of each slot; UINT32_MAX: not reached */
};

/* Checks and warnings into @to. */
int go_check_make(struct go_objects *o, const struct go_claims *claims,
                  const struct go_check_reached *reached, struct graph_account *to,
                  struct error *err);
