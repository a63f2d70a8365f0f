/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A C program with Go in it: linked (c-archive, c-shared), or opened (dlopen) from argv[1]. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#ifdef LINKED
extern void Fill(void);
#endif

int main(int argc, char **argv)
{
#ifdef LINKED
	Fill();
#else
	void *lib = argc > 1 ? dlopen(argv[1], RTLD_NOW) : NULL;
	void (*fill)(void) = lib ? (void (*)(void))dlsym(lib, "Fill") : NULL;

	if (!fill) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	fill();
#endif
	for (;;)
		pause();
}
