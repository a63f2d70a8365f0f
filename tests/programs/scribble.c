/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A heap whose bookkeeping is rewritten all the time, as fast as it goes: blocks
 * of all sizes are made by several threads, then random words of the heaps, and of
 * the data of the module with the allocator's roots, become random, small, or another word of the
 *same memory. Nothing is allocated after that and nothing but this file's code runs, so the program
 *does not fall over it itself.
 *
 *	scribble SECONDS [SEED] [SPIN]
 *
 * With SPIN there are as many turns of an empty loop between two words, and only
 * the heaps are damaged, so that most of them is still as it was. Prints "ready"; an alarm kills it
 *after SECONDS.
 */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { THREADS = 4, BLOCKS = 3000, MAX_AREAS = 512 };

static struct area {
	uint64_t *at;
	size_t words;
} areas[MAX_AREAS];
static size_t n_areas;
static unsigned long spin;
static pthread_barrier_t made;
static uintptr_t stacks[THREADS]; /* an address in each */

static uint64_t next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	return *s ^= *s << 17;
}

static _Noreturn void *make(void *seed)
{
	void *blocks[BLOCKS];
	uint64_t s = (uintptr_t)seed * 77 + 1;

	stacks[(uintptr_t)seed] = (uintptr_t)blocks;

	for (int i = 0; i < BLOCKS; i++) {
		size_t size = i % 100 ? next_random(&s) % 3000 + 1 : 200000;

		blocks[i] = malloc(size);
		if (blocks[i])
			memset(blocks[i], 1, size < 64 ? size : 64);
	}
	for (int i = 0; i < BLOCKS; i += 3)
		free(blocks[i]);
	pthread_barrier_wait(&made);
	for (;;)
		pause();
}

/* Of the program's own data. */
extern char __bss_start, _end;

static bool has(uintptr_t start, uintptr_t end, const void *from, const void *to)
{
	return start < (uintptr_t)to && (uintptr_t)from < end;
}

/* Heaps, and the data of the allocator, which has their roots. Not this program's
 * data, and no thread's stack and thread-local storage: the kernel itself reads
 * there (rseq) when a thread goes on. */
static bool is_wanted(uintptr_t start, uintptr_t end, const char *perms, const char *name)
{
	if (strncmp(perms, "rw-p", 4) || has(start, end, &__bss_start, &_end) ||
	    has(start, end, &errno, &errno + 1))
		return false;
	for (size_t i = 0; i < THREADS; i++) {
		if (stacks[i] >= start && stacks[i] < end)
			return false;
	}
	return !*name || strstr(name, "[heap]") || (!spin && strstr(name, "libc.so")) ||
	       (!spin && strstr(name, "malloc"));
}

static void find_areas(void)
{
	static char line[4600], name[4600];
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && n_areas < MAX_AREAS && fgets(line, sizeof(line), f)) {
		char perms[8] = "";
		unsigned long start, end;

		name[0] = '\0';
		if (sscanf(line, "%lx-%lx %7s %*s %*s %*s %4500s", &start, &end, perms, name) < 3 ||
		    !is_wanted(start, end, perms, name))
			continue;
		areas[n_areas].at = (uint64_t *)start;
		areas[n_areas++].words = (end - start) / sizeof(uint64_t);
	}
}

static void scribble(uint64_t s)
{
	for (;;) {
		const struct area *a = &areas[next_random(&s) % n_areas];
		uint64_t r = next_random(&s), *to = &a->at[next_random(&s) % a->words];

		if (r % 4 == 0)
			*to = next_random(&s);
		else if (r % 4 == 1)
			*to = r >> 40;
		else if (r % 4 == 2)
			*to = (uintptr_t)&a->at[(r >> 8) % a->words];
		else
			*to ^= 1ull << (r >> 58);
		for (volatile unsigned long i = 0; i < spin; i++)
			;
	}
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 2)
		return 2;
	spin = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
	pthread_barrier_init(&made, NULL, THREADS + 1);
	for (uintptr_t i = 0; i < THREADS; i++)
		pthread_create(&thread, NULL, make, (void *)i);
	pthread_barrier_wait(&made);
	find_areas();
	alarm((unsigned)strtoul(argv[1], NULL, 10));
	if (n_areas == 0 || write(STDOUT_FILENO, "ready\n", 6) != 6)
		return 1;
	scribble(argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
}
