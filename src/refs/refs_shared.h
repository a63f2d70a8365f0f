/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The table of what several roots keep together: "shared", by bytes, most first. */

#include "base/error.h"
#include "profile/report.h"
#include "refs/shared.h"
#include "runtime/object_graph.h"

/* @wanted: of each root, may be NULL; a set counts if one of its roots is wanted. */
int refs_shared_add(const struct object_graph *g, const struct shared *s, const bool *wanted,
                    struct report *to, struct error *err);
