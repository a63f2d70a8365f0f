/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * An allocator that samples by itself and says so by trace points (otel_memory). Built
 * with and without the counters that tell it whether anybody listens. Prints "ready";
 * reads lines:
 *	go N	N blocks at each site, a third of them freed again; prints what is held:
 *		SITE SAMPLES BLOCKS BYTES (as the samples stand for), then "ok"
 *	asked	how many calls would have been told, by the counter; then "ok"
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef WITH_COUNTERS
#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>
#define COUNTER(name)                                                                              \
	__extension__ unsigned short name __attribute__((unused))                                  \
	__attribute__((section(".probes")))
COUNTER(otel_memory_alloc_semaphore);
COUNTER(otel_memory_free_semaphore);
#define listened() (*(volatile unsigned short *)&otel_memory_alloc_semaphore != 0)
#else
#include <sys/sdt.h>
#define listened() 1
#endif

enum { MEAN = 4096, SITES = 4, MAX_BLOCKS = 1 << 20 };

struct block {
	void *at;
	uint64_t size, weight; /* 0: no sample */
	int site;
};

static struct block *blocks;
static size_t n_blocks;
static uint64_t seed = 42, told;
static int64_t left = 1000;

static uint64_t next_random(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed >> 33;
}

/* The sampler: each MEAN bytes on average, a block that is larger stands for more. */
__attribute__((noinline)) static void *take(uint64_t size, int site)
{
	struct block *b = &blocks[n_blocks++];

	*b = (struct block){ malloc(size), size, 0, site };
	left -= (int64_t)size;
	if (left < 0) {
		b->weight = size > MEAN ? size : MEAN;
		left = (int64_t)(next_random() % (2 * MEAN));
		if (listened()) {
			told++;
			DTRACE_PROBE3(otel_memory, alloc, b->at, b->size, b->weight);
		}
	}
	return b->at;
}

__attribute__((noinline)) static void drop(struct block *b)
{
	if (b->weight)
		DTRACE_PROBE1(otel_memory, free, b->at);
	free(b->at);
	*b = blocks[--n_blocks];
}

/* sizes as constants, as 32 bits, and by a pointer: other operands for the same point */
__attribute__((noinline)) void *site_small(void)
{
	return take(24, 0);
}

__attribute__((noinline)) void *site_middle(void)
{
	return take(100 + next_random() % 900, 1);
}

__attribute__((noinline)) void *site_large(void)
{
	return take(MEAN * 3, 2);
}

/* A second place for the same point, with a number of 32 bits and a constant. */
__attribute__((noinline)) void *site_own(void)
{
	struct block *b = &blocks[n_blocks++];
	unsigned size = 777;

	__asm__ volatile("" : "+r"(size));
	*b = (struct block){ malloc(size), size, 8000, 3 };
	if (listened()) {
		told++;
		DTRACE_PROBE3(otel_memory, alloc, b->at, size, 8000);
	}
	return b->at;
}

static void say_held(void)
{
	static const char *const names[SITES] = { "site_small", "site_middle", "site_large",
		                                  "site_own" };
	uint64_t n[SITES] = { 0 }, count[SITES] = { 0 }, bytes[SITES] = { 0 };

	for (size_t i = 0; i < n_blocks; i++) {
		const struct block *b = &blocks[i];

		if (!b->weight)
			continue;
		n[b->site]++;
		count[b->site] += (b->weight + b->size / 2) / b->size;
		bytes[b->site] += b->weight;
	}
	for (int i = 0; i < SITES; i++)
		printf("%s %lu %lu %lu\n", names[i], n[i], count[i], bytes[i]);
}

static void go(long n)
{
	for (long i = 0; i < n && n_blocks + 4 < MAX_BLOCKS; i++) {
		site_small();
		site_middle();
		site_large();
		if (i % 8 == 0)
			site_own();
		for (int k = 0; k < 1; k++)
			drop(&blocks[next_random() % n_blocks]);
	}
}

int main(void)
{
	char line[64];

	blocks = calloc(MAX_BLOCKS, sizeof(*blocks));
	if (!blocks)
		return 1;
	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "go", 2)) {
			go(strtol(line + 2, NULL, 10));
			say_held();
		} else {
			printf("%lu\n", told);
		}
		puts("ok");
		fflush(stdout);
	}
	return 0;
}
