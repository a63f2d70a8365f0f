/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where glibc notes how far a thread's stack reaches: three words of its struct
 * pthread (nptl/descr.h: stackblock, stackblock_size, guardsize), at an offset
 * that differs from build to build. It is found by the process's own threads:
 * those words are the address and size of a mapping that can be seen in the maps,
 * or, in the first thread, the place of argc. With it the agent knows the stack
 * of a thread that memwho has never seen.
 *
 * The surprising rule: the thread is found by its memory, not by its registers: a
 * struct pthread begins with its own address, twice, and holds the thread's number.
 */

#include <stdint.h>

#include "target/target.h"

/* Behind the thread pointer, bytes; 0: not found (another libc, or one that is not
 * understood). Only reads. */
uint32_t agent_block_find(const struct target *t);
