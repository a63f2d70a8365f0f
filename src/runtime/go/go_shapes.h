/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What an object may be that nothing gives a type to: one of the known types whose
 * size class and pointer words are the object's. It is taken for one only if that
 * one alone also agrees with what stands in the object: where its pointers lead,
 * lengths of strings and slices, types of interfaces, code of functions. Objects
 * without pointers are never guessed. This can be right because the set of types
 * is whole: mallocgc() takes the descriptor of whatever has pointers.
 */

#include "runtime/go/go_claims.h"
#include "runtime/go/go_rtypes.h"

struct go_shapes;

/* What the graph says of the object in slot @slot (number within all); { 0 }: nothing. */
typedef struct go_claims_type (*go_shapes_known_fn)(void *arg, uint32_t slot);

/* All must live as long. */
int go_shapes_open(struct go_claims *c, const struct go_rtypes *types, go_shapes_known_fn known,
                   void *arg, struct go_shapes **ret, struct error *err);
struct go_shapes *go_shapes_close(struct go_shapes *s); /* NULL is fine; returns NULL */

/* The object is a closure of @function: *ret is how it is laid out. *sure: not by its content, but
 * by its size and pointer words alone, or by the method's name. */
bool go_shapes_closure(struct go_shapes *s, size_t span, uint32_t slot, const char *function,
                       struct go_claims_type *ret, bool *sure);

/* True and *ret: it can be nothing else. */
bool go_shapes_guess(struct go_shapes *s, size_t span, uint32_t slot, struct go_claims_type *ret);
