/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Code of a generic function is made once for all types of one shape: its DWARF
 * says go.shape.*uint8, and which types its variables have stands in a dictionary
 * that each call gets as a hidden first argument. We look for it in the words of
 * the frame: it is one of the linker's symbols PACKAGE..dict.FUNCTION[TYPES], and
 * what it has for each of the function's parameters must be of that parameter's
 * shape. Without symbols nothing proves whose it is, and none is found. Facts:
 * cmd/compile/internal/noder (dictionaries), dwarfgen (DW_AT_go_dict_index) and
 * cmd/internal/dwarf of Go 1.18 to 1.26.
 */

#include "runtime/go/go_module.h"
#include "runtime/go/go_types.h"

/* A type of a generic function that its dictionary has. */
struct go_dictionaries_parameter {
	uint32_t index; /* of its word in the dictionary */
	uint32_t type;  /* its shape */
};

struct go_dictionaries;
/* @m, @types and @texts must live as long. */
int go_dictionaries_open(const struct go_module *m, struct go_types *types,
                         struct object_graph *texts, struct go_dictionaries **ret,
                         struct error *err);
struct go_dictionaries *go_dictionaries_close(struct go_dictionaries *d); /* NULL is fine */

/* The dictionary of @function ("main.hold[go.shape.int]") among the words from @at up to @end; 0:
 * none, or two. */
uint64_t go_dictionaries_find(struct go_dictionaries *d, const char *function,
                              const struct go_dictionaries_parameter *p, size_t n, uint64_t at,
                              uint64_t end);
/* The type that a dictionary has at @index; 0. */
uint32_t go_dictionaries_type(struct go_dictionaries *d, uint64_t dictionary, uint32_t index);
