/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a closure of Go up to 1.22 has captured: its DWARF does not tell where, and of
 * the types struct { F uintptr; ... } of the program several have the object's shape.
 * The variables of the closure's function decide: what is captured is one of them, up
 * to 1.20 by the name that the field has, too (typecheck.ClosureType()).
 */

#include "runtime/go/go_module.h"
#include "runtime/go/go_types.h"

/* In order of what is said. */
enum go_captured {
	GO_CAPTURED_NO,      /* a pointer of it is none of a variable of the function */
	GO_CAPTURED_UNKNOWN, /* nothing is known of the function */
	GO_CAPTURED_BY_TYPE, /* each is one of some variable */
	GO_CAPTURED_BY_NAME, /* and of the variable that is called so */
};

struct go_captures;
/* Sets *ret; NULL: there is no DWARF, or it tells all itself (1.23+). What is given must live as
 * long. */
int go_captured_open(const struct go_module *m, struct go_types *types, struct object_graph *texts,
                     struct go_captures **ret, struct error *err);
struct go_captures *go_captured_close(struct go_captures *c); /* NULL is fine; returns NULL */

/* May a closure whose function begins at @entry be @type, which begins with F uintptr? */
enum go_captured go_captured_fits(struct go_captures *c, uint64_t entry, uint32_t type);
