/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which map an object without a type belongs to. Without DWARF a variable that is a
 * map has no type, nor have the map's own record and its small tables; only arrays
 * of its groups or buckets do, which are large enough for a header of their own (Go
 * 1.22+). The rule: nothing but the insides of a map refers to its insides alone.
 */

#include "runtime/object_graph.h"

/* @g: with names as shown (go_names_apply()), in its last order. */
void go_map_holders_apply(struct object_graph *g);
