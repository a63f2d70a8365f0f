/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Takes memory until it is killed for it, and keeps account of what it holds, in a file
 * that outlives it: oom FILE. Begins at the first line on its standard input. */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS = 24000, CACHE = 60000, BUFFER = 3000 };

struct account {
	uint64_t sessions, cache, buffer; /* bytes held by each */
};

static void *touched(size_t size)
{
	char *p = malloc(size);

	memset(p, 1, size);
	return p;
}

__attribute__((noinline)) static void *open_session(struct account *a)
{
	void *p = touched(SESSIONS);

	a->sessions += SESSIONS;
	return p;
}

__attribute__((noinline)) static void *fill_cache(struct account *a)
{
	void *p = touched(CACHE);

	a->cache += CACHE;
	return p;
}

__attribute__((noinline)) static void *take_buffer(struct account *a)
{
	void *p = touched(BUFFER);

	a->buffer += BUFFER;
	return p;
}

int main(int argc, char **argv)
{
	int fd = argc == 2 ? open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0600) : -1;
	struct account *a;

	if (fd < 0 || ftruncate(fd, sizeof(*a)) < 0)
		return 2;
	a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (a == MAP_FAILED)
		return 2;
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	for (unsigned i = 0;; i++) {
		void *volatile kept = i % 4 ? open_session(a) : fill_cache(a);

		(void)kept;
		free(take_buffer(a)); /* churn */
		a->buffer -= BUFFER;
		if (i % 8 == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}
