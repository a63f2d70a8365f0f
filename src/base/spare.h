/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Large blocks of memory that one step gives up and the next one wants. Between
 * free() and malloc() the kernel would take their pages back and make new ones, which
 * costs many times what filling them does.
 */

#include <stddef.h>

/* As malloc(): of what was given, a block that is at most twice as large, or a new one. Its
 * contents are anything. free() and realloc() know it. */
void *spare_take(size_t bytes);
/* As free(); @p came from malloc() or spare_take(). It is kept if it is large. */
void spare_give(void *p);
/* Frees what is kept: nobody will want it. */
void spare_drop(void);
