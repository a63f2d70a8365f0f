// SPDX-License-Identifier: GPL-2.0-or-later
/* Two libraries of the same size with different functions at the same place
 * (stress.c, "plugins"). */
#include <stdlib.h>

void *PLUGIN_SITE(size_t n);

__attribute__((noinline)) void *PLUGIN_SITE(size_t n)
{
	void *p = malloc(n);

	__asm__ volatile("" ::: "memory");
	return p;
}
