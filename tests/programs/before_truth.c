/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A process that knows how old its blocks are, and what they take of their allocator. A
 * word a line on its standard input, an answer each:
 *
 *	fill N	N blocks more, of 1 to 4000 bytes, and each 500th of 100 to 200 KB
 *	mark	what is held now is old
 *	free N	free each Nth of the old blocks that are left
 *	say	"old BYTES BLOCKS young BYTES BLOCKS asked BYTES in_use BYTES": usable bytes
 *		of the old and the young blocks, what was asked for the young ones, and what
 *		glibc's mallinfo2() says of itself
 */

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_BLOCKS = 1 << 17, PAUSE_EVERY = 256 };

static struct block {
	void *at;
	size_t asked;
} blocks[MAX_BLOCKS];
static size_t n_blocks, n_old;

__attribute__((noinline)) static void *site_fill(size_t bytes)
{
	void *p = malloc(bytes);

	if (!p)
		abort();
	memset(p, 1, bytes < 64 ? bytes : 64);
	return p;
}

static void fill(size_t n)
{
	static unsigned seed = 1;

	for (size_t i = 0; i < n && n_blocks < MAX_BLOCKS; i++) {
		size_t bytes;

		seed = seed * 1103515245 + 12345;
		bytes = i % 500 ? 1 + (seed >> 8) % 4000 : 100000 + (seed >> 8) % 100000;
		blocks[n_blocks++] = (struct block){ site_fill(bytes), bytes };
		/* not faster than samples can be read */
		if (i % PAUSE_EVERY == 0)
			nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	}
}

static void free_old(size_t each)
{
	size_t left = 0;

	for (size_t i = 0; each && i < n_old; i++) {
		if (blocks[i].at && left++ % each == 0) {
			free(blocks[i].at);
			blocks[i].at = NULL;
		}
	}
}

static void say(void)
{
	struct mallinfo2 info = mallinfo2();
	size_t bytes[2] = { 0 }, n[2] = { 0 }, asked = 0;

	for (size_t i = 0; i < n_blocks; i++) {
		const int young = i >= n_old;

		if (!blocks[i].at)
			continue;
		bytes[young] += malloc_usable_size(blocks[i].at);
		n[young]++;
		asked += young ? blocks[i].asked : 0;
	}
	printf("old %zu %zu young %zu %zu asked %zu in_use %zu\n", bytes[0], n[0], bytes[1], n[1],
	       asked, info.uordblks + info.hblkhd);
}

int main(void)
{
	char line[128];

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "fill ", 5))
			fill(strtoul(line + 5, NULL, 10));
		else if (!strncmp(line, "mark", 4))
			n_old = n_blocks;
		else if (!strncmp(line, "free ", 5))
			free_old(strtoul(line + 5, NULL, 10));
		if (!strncmp(line, "say", 3))
			say();
		else
			printf("done\n");
	}
	return 0;
}
