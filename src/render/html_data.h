/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The JSON inside the HTML page; web/model.js is its only reader, so it has no
 * stable schema (docs/json.md's is the one for scripts). Compact: stacks are
 * nodes of a trie, each with the distance to its parent's number, and one
 * array of values for each value type.
 */

#include <stdio.h>

#include "render/tree.h"

int html_data_write(const struct tree *t, const struct render_options *o, FILE *to,
                    struct error *err);
