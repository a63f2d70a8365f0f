/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * mallctl() in a running process: jemalloc's tree of settings and figures, by
 * remote calls (inject.h). The surprising rule: a write is believed only after
 * what it depends on was read. jemalloc 5.2 without profiling says yes to
 * prof.active=true and does nothing; 5.3 says ENOENT.
 *
 * Names and types of the tree: jemalloc(3), MALLCTL NAMESPACE, 5.2 and 5.3.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "inject/inject.h"
#include "symbol/symbol.h"
#include "target/target.h"

enum { JEMALLOC_CONTROL_TEXT = 256 };

struct jemalloc_control {
	struct inject *in; /* the caller's; needed for calls, not for finding */
	uint64_t mallctl, errno_location;
	char symbol[80]; /* "mallctl", "_rjem_mallctl"; "": without one, found by its shape */
	/* Its code where that has no names, by address: nobody in it may be lent. For
	 * inject_avoid(). jemalloc_control_clear() frees it. */
	struct inject_range *ranges;
	size_t n_ranges;
	/* Calls so far, and the longest. */
	unsigned n_calls;
	uint64_t longest_ns;
};

/* Where mallctl is: by its name, or in a stripped program by proof (jemalloc_code.h). -ENOTSUP,
 * with the reason and a hint: no jemalloc, one whose proof fails, or more than one. ->in stays as
 * it is. */
int jemalloc_control_find(const struct target *t, struct symbol_space *space,
                          struct jemalloc_control *ret, struct error *err);
void jemalloc_control_clear(struct jemalloc_control *c); /* usable with cleanup() */
/* Of one without a name: does what was found answer as mallctl does? Reads only: "version",
 * "arenas.page", "arenas.quantum", and an address that is no name. -EPROTO: it does not. To be
 * called before anything else is. */
int jemalloc_control_prove(struct jemalloc_control *c, struct error *err);

/* The value of @name has exactly @n bytes (at most JEMALLOC_CONTROL_TEXT). -ENOENT: it has
 * no such name; -EINVAL: its value has another size; errors of inject_function(). */
int jemalloc_control_get(struct jemalloc_control *c, const char *name, void *value, size_t n,
                         struct error *err);
/* @n 0: a name that only does something ("prof.reset" without a value). -EFAULT, -EAGAIN and
 * others: what mallctl() returned. */
int jemalloc_control_set(struct jemalloc_control *c, const char *name, const void *value, size_t n,
                         struct error *err);
/* Many values of at most 8 bytes, in few remote calls: a lent thread reads JEMALLOC_CONTROL_AT_ONCE
 * of them before it goes on. */
enum { JEMALLOC_CONTROL_NAME = 80, JEMALLOC_CONTROL_AT_ONCE = 128 };
struct jemalloc_control_value {
	char name[JEMALLOC_CONTROL_NAME];
	uint8_t bytes; /* that jemalloc has for it: 1, 4 or 8 */
	int error;     /* what mallctl() returned: 0; ENOENT: it has no such name */
	uint64_t value;
};
int jemalloc_control_get_all(struct jemalloc_control *c, struct jemalloc_control_value *items,
                             size_t n, struct error *err);
/* Of a name whose value is a const char *. Cut if it is longer. */
int jemalloc_control_text(struct jemalloc_control *c, const char *name,
                          char ret[JEMALLOC_CONTROL_TEXT], struct error *err);
/* Set a name whose value is a const char *, which the call only reads. */
int jemalloc_control_set_text(struct jemalloc_control *c, const char *name, const char *value,
                              struct error *err);
