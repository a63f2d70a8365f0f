/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Saved graphs: the one format of ours (docs/refs-format.md). The arrays of an
 * object graph, one behind the other, so that a graph of many GiB is opened by
 * mapping it. The surprising rule: nothing in the file is believed; every number
 * that leads anywhere is checked once, when it is opened.
 */

#include <stdbool.h>

#include "base/error.h"
#include "runtime/object_graph.h"

/* To a temporary file beside @path, then renamed: a full disk leaves the old file. */
int refs_file_save(const struct object_graph *g, const char *path, struct error *err);
/* What refs_file_save() writes. */
uint64_t refs_file_bytes(const struct object_graph *g);
/* -EBADMSG: not such a file, of another version, or damaged. */
int refs_file_load(const char *path, struct object_graph *ret, struct error *err);
/* Does @path begin as one? */
bool refs_file_is(const char *path);
