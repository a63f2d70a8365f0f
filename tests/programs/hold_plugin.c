/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that the truth program loads while it is being recorded. */
#include <stdlib.h>

#include "hold.h"

void *plugin_site(size_t n);
void *plugin_caller(size_t n);

SITE void *plugin_site(size_t n)
{
	void *p = malloc(n);

	NO_TAIL_CALL();
	return p;
}

SITE void *plugin_caller(size_t n)
{
	void *p = plugin_site(n);

	NO_TAIL_CALL();
	return p;
}
