/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What memwho doctor looks at, as a list: each check says what was found and,
 * where that is not enough, what to do about it. Looking changes nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

enum checks_state {
	CHECKS_OK,
	CHECKS_LIMITED, /* memwho works, but not all of it */
	CHECKS_MISSING, /* memwho alloc cannot work */
};

struct checks_item {
	char name[32];
	enum checks_state state;
	char detail[256];
	char remedy[384]; /* "" when there is nothing to do */
};

struct checks {
	struct checks_item *items;
	size_t n, cap;
};

int checks_add(struct checks *c, const char *name, enum checks_state state, const char *remedy,
               struct error *err, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
void checks_clear(struct checks *c);
bool checks_usable(const struct checks *c); /* nothing is CHECKS_MISSING */
/* What is missing of the first @n is only less: there is another way. */
void checks_soften(struct checks *c, size_t n);
const char *checks_state_name(enum checks_state s);

/* One row for each engine: possible (on @pid, unless that is 0), or why not
 * (checks_engines.c). Where one of them is, what the others lack is only less: of the
 * first @n_machine rows, which are about the machine. */
int checks_engines(struct checks *to, pid_t pid, size_t n_machine, struct error *err);

/* The kernel, and what this process may do with it (checks_machine.c). */
int checks_machine(struct checks *to, struct error *err);
/* One process (checks_process.c). That it cannot be recorded is a result, not
 * an error. */
int checks_process(struct checks *to, pid_t pid, struct error *err);
