/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A preloaded malloc that asks glibc's: an allocation passes two allocators and
 * must be counted once. */
#include <stddef.h>

#include "hold.h"

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);
void __libc_free(void *p);

SITE void *malloc(size_t n)
{
	void *p = __libc_malloc(n);

	NO_TAIL_CALL();
	return p;
}

SITE void *calloc(size_t n, size_t size)
{
	void *p = __libc_calloc(n, size);

	NO_TAIL_CALL();
	return p;
}

SITE void *realloc(void *old, size_t n)
{
	void *p = __libc_realloc(old, n);

	NO_TAIL_CALL();
	return p;
}

SITE void *memalign(size_t alignment, size_t n)
{
	void *p = __libc_memalign(alignment, n);

	NO_TAIL_CALL();
	return p;
}

SITE void free(void *p)
{
	__libc_free(p);
	NO_TAIL_CALL();
}
