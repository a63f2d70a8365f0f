/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Large pages for large arrays that are read in no order: one fault and one entry
 * of the TLB for 2 MiB instead of 512. The surprising rule: it is a wish. Where
 * the kernel has no such pages, or none to spare, nothing happens.
 */

#include <stddef.h>

/* For @bytes at @p, which malloc() or its like has just given; less than some MiB are left alone.
 * What is never touched still takes no memory, but what is touched takes up to 2 MiB more. errno
 * stays. Returns @p, NULL included. */
void *huge_advise(void *p, size_t bytes);
