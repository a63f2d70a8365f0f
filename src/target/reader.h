/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The one way to read a target's memory. Looking changes nothing: a page that
 * the kernel does not show present (pagemap) is not read, because reading it
 * would make page tables, or in shared memory the page itself, in the target
 * (measured: facts of the project, README). Such a page reads as -ENODATA.
 * So does a page that is swapped out, and a file's page that this process has
 * not touched yet (read the file for those).
 *
 * Which pages are present is asked for 64 pages at once and believed for
 * 2 ms, so a walk of small reads costs one system call each. A page that goes
 * away within that time is faulted in again: stop the target, or read a
 * snapshot, where that matters. Of a target that stands still (a snapshot) it is
 * asked for 512 pages at once and believed for good. Not for two threads on one
 * target.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/target.h"

/* Exactly @len bytes at @addr. -EFAULT not mapped (or not a memory that can be
 * read: a device's), -ENODATA not present (an absent page), -EPERM/-EACCES with
 * what is missing, -ESRCH, -ENOTSUP a kernel without pagemap. */
int reader_read(const struct target *t, uint64_t addr, void *buf, size_t len, struct error *err);
/* As reader_read() without a message, for walks that expect misses: 0 or -errno. Before kernel
 * 6.11, and then only for pages that have never been there, -ENODATA may mean not mapped. */
int reader_try(const struct target *t, uint64_t addr, void *buf, size_t len);
/* A NUL-terminated string, cut to @size; always terminated. 0, or -errno when
 * its end can't be read (what could be is in @buf). */
int reader_string(const struct target *t, uint64_t addr, char *buf, size_t size);

/* The first run of present pages in [@start, @end): sets [*ret_start, *ret_end)
 * and returns 1; 0 when there is none; -errno. For walks over mappings that are
 * mostly holes. Page-aligned. */
int reader_present(const struct target *t, uint64_t start, uint64_t end, uint64_t *ret_start,
                   uint64_t *ret_end);

/* Read what is there of [@addr, @addr + @len), in large pieces; the rest of @buf becomes zeros.
 * Any addresses. *ret_missing (may be NULL): bytes that were not there. 0, or -errno when nothing
 * can be read at all (-ESRCH, -EPERM). For walks over whole heaps. */
int reader_fill(const struct target *t, uint64_t addr, void *buf, size_t len,
                uint64_t *ret_missing);

/* For target_close(). NULL is fine. */
struct reader_state;
void reader_state_free(struct reader_state *s);
