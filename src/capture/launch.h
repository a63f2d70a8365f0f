/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Start a program and hold it at the point where all its libraries are mapped
 * and none of its own code has run: before the constructors, behind the
 * dynamic linker. A recorder attaches there, and the program goes on.
 */

#include <sys/types.h>

#include "base/error.h"
#include "capture/launch_spin.h"

struct launch {
	pid_t pid;               /* held by ptrace until launch_go() */
	struct launch_spin spin; /* or so, after launch_loosen() */
};

/* -ENOENT and so on: the program could not be started. */
int launch_start(char *const *argv, struct launch *ret, struct error *err);
/* The same, but held at its exec: before the dynamic linker's first instruction. */
int launch_start_at_exec(char *const *argv, struct launch *ret, struct error *err);
/* It stays where it is, but others may stop it and lend its thread: launch_spin.h. */
int launch_loosen(struct launch *l, struct error *err);
/* Let it go on, without a tracer. */
int launch_go(struct launch *l, struct error *err);
/* Kill it, if it has not ended; for failures in between. */
void launch_abort(struct launch *l);
/* The exit status as the shell has it, once it has ended; -1 while it runs. */
int launch_status(struct launch *l);
