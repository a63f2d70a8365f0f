/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The one way to read a target's memory. Looking changes nothing: a page that
 * the kernel does not show present (pagemap) is not read, because reading it
 * would make page tables, or in shared memory the page itself, in the target
 * (measured: facts of the project, README). Such a page reads as -ENODATA.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/target.h"

/* Exactly @len bytes at @addr. -EFAULT not mapped, -ENODATA not present (an
 * absent page), -EPERM, -ESRCH. */
int reader_read(const struct target *t, uint64_t addr, void *buf, size_t len, struct error *err);
/* As reader_read() without a message, for walks that expect misses: 0 or -errno. */
int reader_try(const struct target *t, uint64_t addr, void *buf, size_t len);
/* A NUL-terminated string, cut to @size; always terminated. */
int reader_string(const struct target *t, uint64_t addr, char *buf, size_t size);
