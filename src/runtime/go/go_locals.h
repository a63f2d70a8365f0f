/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where the variables and parameters of a Go function are at one place of its
 * code, by the program's DWARF (v4 .debug_loc, v5 .debug_loclists): on the stack,
 * in a register, in several pieces, or nowhere. Inlined functions' are told with
 * the function that they were written in. Facts: cmd/compile/internal/ssa/debug.go
 * and dwarfgen; the frame base is always the call frame's address.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_dictionaries.h"
#include "runtime/go/go_types.h"

/* go_locals_variable.rank of a variable with a location list, and more */
enum { GO_LOCALS_RANK_LIST = 1 << 16 };

struct go_locals_piece {
	uint32_t offset, bytes; /* in the variable */
	enum { GO_LOCALS_NOWHERE, GO_LOCALS_STACK, GO_LOCALS_REGISTER } where;
	uint32_t reg; /* by DWARF number */
	int64_t cfa;  /* on the stack: from the call frame's address */
};

struct go_locals_variable {
	uint32_t label; /* text: "main.hold.buf" */
	uint32_t type;
	uint32_t parameter; /* its type is that one of the dictionary, index + 1; 0: it is not */
	uint32_t first, n;  /* pieces */
	/* of two that claim one place the higher one is right: a location list knows when, a plain
	 * location does not; inner blocks know better than outer ones */
	uint32_t rank;
};

struct go_locals;

/* @types must live as long. */
int go_locals_open(struct go_types *types, const struct go_module *m, struct object_graph *texts,
                   struct go_locals **ret, struct error *err);
struct go_locals *go_locals_close(struct go_locals *l); /* NULL is fine; returns NULL */

/* Variables at @pc of the function that begins at @entry; *ret is valid until the next call. */
int go_locals_at(struct go_locals *l, uint64_t entry, uint64_t pc,
                 const struct go_locals_variable **ret, size_t *n);
/* Called for each variable and parameter of that function that is in no block; non-zero ends it and
 * is returned. */
int go_locals_each(struct go_locals *l, uint64_t entry,
                   int (*fn)(void *arg, const char *name, uint32_t type), void *arg);
/* Types of all variables of that function, wherever they are; *ret is valid until the next call. */
int go_locals_types(struct go_locals *l, uint64_t entry, const uint32_t **ret, size_t *n);
/* Of a generic function: its name with the shapes, and what its dictionary has. Valid until the
 * next call. 1; 0: it is none. */
struct go_locals_generic {
	const char *name;
	const struct go_dictionaries_parameter *parameters;
	size_t n;
};
int go_locals_generic(struct go_locals *l, uint64_t entry, struct go_locals_generic *ret);
const struct go_locals_piece *go_locals_pieces(const struct go_locals *l,
                                               const struct go_locals_variable *v);
