/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a type is called where people read it. The linker and the runtime have
 * names for the insides of maps and channels, table<string,*main.T> or
 * noalg.map.group[string]*main.T; to the reader they are parts of a
 * map[string]*main.T (cmd/link/internal/ld/dwarf.go, synthesizemaptypes;
 * cmd/compile/internal/reflectdata/map*.go).
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "runtime/object_graph.h"

/* True: @type is an inside, and @buf has the name of the whole; *is_part: it is not the map or
 * channel itself, but something that one holds. False: it is to be called as it is, or the name did
 * not fit. */
bool go_names_shown(const char *type, char *buf, size_t size, bool *is_part);

/* All types of @g's nodes become what is shown, parts OBJECT_TYPED_PART. */
int go_names_apply(struct object_graph *g, struct error *err);
