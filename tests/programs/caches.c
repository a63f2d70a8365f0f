/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A program with caches that are released on command, whatever the allocator:
 * caches THREADS. Each cache belongs to a thread of its own, which alone fills
 * and drops it; cache 0 is the main thread's. Commands on standard input,
 * answered by one line each:
 *	fill K COUNT SIZE   "filled BLOCKS USABLE"  usable bytes, as the allocator says
 *	drop K              "dropped BLOCKS USABLE" all of it is freed
 *	thin K N            the same for all blocks but each Nth
 *	quit
 * "ready PID" when all threads are there. Blocks are filled with a pattern, which
 * is looked at when they are dropped: "bad" instead of "dropped". The program's
 * errno of the main thread, which must stay what it was, is looked at, too. The program's
 * own memory comes from mmap, and it reads and writes without stdio, so that
 * nothing else happens in its heap.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_THREADS = 64, MAX_BLOCKS = 1 << 20 };

struct cache {
	unsigned char **blocks;
	long n, size, wanted, keep, dropped;
	bool bad;
	size_t usable;
	int ask[2], done[2]; /* pipes: a thread that waits is in read() */
};

static struct cache *caches;

static void fill(struct cache *c)
{
	for (; c->n < c->wanted; c->n++) {
		unsigned char *p = malloc((size_t)c->size);

		if (!p)
			abort();
		memset(p, (int)(c->n & 255), (size_t)c->size);
		c->usable += malloc_usable_size(p);
		c->blocks[c->n] = p;
	}
}

/* All but each @keep-th; 0: all. */
static void drop(struct cache *c, long keep)
{
	c->dropped = 0;
	c->usable = 0;
	for (long i = 0; i < c->n; i++) {
		if (!c->blocks[i] || (keep && i % keep == 0))
			continue;
		for (long k = 0; k < c->size; k += 61)
			c->bad |= c->blocks[i][k] != (unsigned char)i;
		c->dropped++;
		c->usable += malloc_usable_size(c->blocks[i]);
		free(c->blocks[i]);
		c->blocks[i] = NULL;
	}
	if (!keep)
		c->n = 0;
}

static void *serve(void *arg)
{
	struct cache *c = arg;
	char what;

	while (read(c->ask[0], &what, 1) == 1) {
		if (what == 'f')
			fill(c);
		else
			drop(c, c->keep);
		if (write(c->done[1], "x", 1) != 1)
			abort();
	}
	return NULL;
}

static void command(struct cache *c, char what)
{
	char x;

	if (c == caches)
		what == 'f' ? fill(c) : drop(c, c->keep);
	else if (write(c->ask[1], &what, 1) != 1 || read(c->done[0], &x, 1) != 1)
		abort();
}

static void say(const char *word, long a, unsigned long b)
{
	char line[100];
	int n = snprintf(line, sizeof(line), "%s %ld %lu\n", word, a, b);

	if (write(STDOUT_FILENO, line, (size_t)n) != n)
		abort();
}

static bool read_line(char *line, size_t size)
{
	for (size_t n = 0; n < size; n++) {
		if (read(STDIN_FILENO, line + n, 1) != 1)
			return false;
		if (line[n] == '\n') {
			line[n] = 0;
			return true;
		}
	}
	return false;
}

static void make(int threads)
{
	pthread_t thread;

	for (int i = 0; i < threads; i++) {
		struct cache *c = &caches[i];

		c->blocks = mmap(NULL, MAX_BLOCKS * sizeof(*c->blocks), PROT_READ | PROT_WRITE,
		                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (c->blocks == MAP_FAILED || pipe(c->ask) || pipe(c->done))
			abort();
		if (i && pthread_create(&thread, NULL, serve, c))
			abort();
	}
}

int main(int argc, char **argv)
{
	int threads = argc > 1 ? atoi(argv[1]) : 1;
	char line[100];
	long k, count, size;

	caches = mmap(NULL, MAX_THREADS * sizeof(*caches), PROT_READ | PROT_WRITE,
	              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (caches == MAP_FAILED || threads < 1 || threads > MAX_THREADS)
		return 2;
	make(threads);
	say("ready", getpid(), 0);
	errno = 4242;
	while (read_line(line, sizeof(line)) && strcmp(line, "quit")) {
		struct cache *c;

		count = size = 0;
		if (sscanf(line, "%*s %ld %ld %ld", &k, &count, &size) < 1 || k < 0 ||
		    k >= threads || count > MAX_BLOCKS)
			return 2;
		c = &caches[k];
		if (line[0] == 'f') {
			c->wanted = count;
			c->size = size;
			c->usable = 0;
			command(c, 'f');
			say("filled", c->n, c->usable);
		} else {
			c->keep = line[0] == 't' ? count : 0;
			command(c, 'd');
			say(c->bad || errno != 4242 ? "bad" : "dropped", c->dropped, c->usable);
		}
	}
	return 0;
}
