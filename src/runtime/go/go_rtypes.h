/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Types from the runtime type descriptors (abi.Type) that every Go program carries,
 * stripped or not: names, fields, what pointers lead to. The surprising rule: each
 * type of which an object was ever allocated has one, for mallocgc() takes it as an
 * argument; so those found between moduledata.types and etypes are all there are.
 * Maps and channels are made up: what the descriptor of map[K]V says goes into the
 * fields of runtime.hmap or of maps.Map. Entries are addresses, with a role in the
 * low bits.
 */

#include "runtime/go/go_types_source.h"

struct go_rtypes;
extern const struct go_types_source go_rtypes_source;

struct go_rtypes_one {
	uint64_t at, size, pointer_bytes;
};

/* 1: opened; 0: the descriptors cannot be read (*ret is NULL). */
int go_rtypes_open(const struct go_module *m, struct go_types *types, struct go_rtypes **ret,
                   struct error *err);
/* Does a descriptor begin at @addr? */
bool go_rtypes_has(const struct go_rtypes *r, uint64_t addr);
/* All that have pointers and may be of an object, by address. */
const struct go_rtypes_one *go_rtypes_all(const struct go_rtypes *r, size_t *ret_n);
/* One that all maps or channels have alike (runtime.hmap): without elements it tells too little. */
bool go_rtypes_is_general(const struct go_rtypes *r, uint64_t at);
/* The descriptor of a named type ("internal/sync.entry[interface {},interface {}]"); 0. */
uint64_t go_rtypes_named(const struct go_rtypes *r, const char *name);
