/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Runtime type descriptors as bytes: kinds, names, fields (internal/abi/type.go;
 * runtime/type.go up to 1.20; the same layout from 1.17 to 1.26 but for what is
 * said below). Names are given as DWARF gives them: with the path of the package,
 * not its name alone.
 */

#include <stdbool.h>

#include "runtime/go/go_module.h"

enum {
	GO_RTYPE_NAME_BYTES = 512,
	GO_RTYPE_FIELDS = 56, /* StructType.Fields, InterfaceType.Methods */
	/* abi.Kind */
	GO_RTYPE_ARRAY = 17,
	GO_RTYPE_CHAN = 18,
	GO_RTYPE_FUNC = 19,
	GO_RTYPE_INTERFACE = 20,
	GO_RTYPE_MAP = 21,
	GO_RTYPE_POINTER = 22,
	GO_RTYPE_SLICE = 23,
	GO_RTYPE_STRING = 24,
	GO_RTYPE_STRUCT = 25,
	GO_RTYPE_UNSAFE_POINTER = 26,
};

struct go_rtype {
	const struct go_module *module;
	const struct go_layout *l; /* the module's */
	const uint8_t *bytes;      /* from start to end */
	uint64_t start, end;       /* moduledata.types, etypes */
};

bool go_rtype_open(struct go_rtype *n, const struct go_module *m);

/* 0 where there is nothing. */
uint64_t go_rtype_word(const struct go_rtype *n, uint64_t at);
/* 1 to 26; 0: no descriptor can be at @at. */
unsigned go_rtype_kind(const struct go_rtype *n, uint64_t at);
bool go_rtype_is_named(const struct go_rtype *n, uint64_t at);

/* As reflect's String() gives it. */
void go_rtype_string(const struct go_rtype *n, uint64_t at, char *buf, size_t size);
/* With the paths of packages. */
void go_rtype_name(const struct go_rtype *n, uint64_t at, char *buf, size_t size);
/* Field @i of those at @fields. */
bool go_rtype_field(const struct go_rtype *n, uint64_t fields, uint64_t i, char *name, size_t size,
                    uint64_t *ret_type, uint64_t *ret_offset);
