/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The settings that explain why the same program has another ladder elsewhere:
 * environment of the allocators, rlimits, limits of the cgroup, huge pages,
 * overcommit, C library, kernel, cpus. The surprising rule: the environment is
 * the one the program was started with; what it set itself since is not in it.
 */

#include "base/error.h"
#include "profile/report.h"
#include "target/target.h"

/* Fill the table "settings" {key, value} of @to: "env MALLOC_ARENA_MAX" "1",
 * "rlimit stack" "8192 kB" ... What can't be read is left out. -ENOMEM only. */
int settings_collect(const struct target *t, struct report *to, struct error *err);
