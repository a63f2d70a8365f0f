/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that the truth program loads while it is being recorded. With
 * HOLD_PLUGIN_OWN it brings an allocator of another family with it. */
#include <dlfcn.h>
#include <stdlib.h>

#include "hold.h"

void *plugin_site(size_t n);
void *plugin_caller(size_t n);

SITE void *plugin_site(size_t n)
{
#ifdef HOLD_PLUGIN_OWN
	static void *(*own)(size_t);
	void *p;

	if (!own) {
		void *lib = dlopen("libmimalloc.so.2.0", RTLD_NOW | RTLD_LOCAL);

		own = lib ? (void *(*)(size_t))dlsym(lib, "mi_malloc") : NULL;
	}
	p = own ? own(n) : NULL;
#else
	void *p = malloc(n);
#endif

	NO_TAIL_CALL();
	return p;
}

SITE void *plugin_caller(size_t n)
{
	void *p = plugin_site(n);

	NO_TAIL_CALL();
	return p;
}
