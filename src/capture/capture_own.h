/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a runtime has recorded by itself about who allocated what (Go's heap
 * profile), read from a process as it runs, or from a core. Nothing is stopped,
 * attached or written. The surprising rule: a process is read until two readings
 * agree, so that all counters are of one moment.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"
#include "profile/profile.h"

struct capture_own_facts {
	bool has_c; /* a C library is loaded, too: its malloc is not in the profile */
};

/* 1 made, 0: no runtime that keeps such a profile, -ENODATA: its program does not, -EAGAIN:
 * nothing is in it yet. */
int capture_own_process(pid_t pid, struct profile **ret, struct capture_own_facts *facts,
                        struct error *err);
/* @exe, @sysroot: as struct image_options. */
int capture_own_core(const char *path, const char *exe, const char *sysroot, struct profile **ret,
                     struct error *err);
