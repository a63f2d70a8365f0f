/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which address space a process has: an exec gives it another one, under the same
 * pid. A file of /proc that stands for the memory keeps standing for the one that
 * was there when it was opened, and reads as empty once that is gone (pagemap_read()
 * and mem_rw(), fs/proc).
 */

#include <stdbool.h>

#include "target/target.h"

/* The one that it has now: a descriptor to be closed; negative: it cannot be had. */
int space_open(const struct target *t);
/* Does the process still have it? True as well when @fd is negative: nothing is known. */
bool space_is_there(int fd);
