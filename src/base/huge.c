/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/huge.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LEAST = 8 << 20 };

/* Whole mappings: of a part of one the kernel would make a mapping of its own, and mremap(), by
 * which realloc() grows without copying, takes one only. */
void *huge_advise(void *p, size_t bytes)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t start = (uintptr_t)p & ~(page - 1);
	const int before = errno;

	if (p && bytes >= LEAST)
		madvise((void *)start,
		        (((uintptr_t)p + malloc_usable_size(p) + page - 1) & ~(page - 1)) - start,
		        MADV_HUGEPAGE);
	errno = before;
	return p;
}
