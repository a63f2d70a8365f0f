/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the worker of inlines.h does: questions to libdw. May crash on hostile
 * input; never call it in the process that must live. */

#include "symbol/inlines.h"

struct inlines_dwarf;

/* @fd must stay open. */
int inlines_dwarf_open(int fd, struct inlines_dwarf **ret);
struct inlines_dwarf *inlines_dwarf_close(struct inlines_dwarf *d);

/* As inlines_find(); the strings live as long as @d. */
size_t inlines_dwarf_find(struct inlines_dwarf *d, uint64_t vaddr, struct inlines_frame *frames,
                          size_t max);
