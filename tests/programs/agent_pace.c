/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A process whose allocator is quiet, and then a hundred times as busy: agent_pace MS.
 * It prints "ready", computes, and changes its pace every MS: one block of a thousand
 * bytes for each QUIET or HOT turns of a loop; busy all the time if MS is 0. One in KEEP
 * blocks is kept. On a line of its input it says "kept BYTES calls N" and waits for
 * another line; it ends at the end of its input.
 */

#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { QUIET = 60000, HOT = 600, SIZE = 1000, KEEP = 200, MOST_KEPT = 1 << 18 };

static void *kept[MOST_KEPT];
static size_t n_kept;
static unsigned long calls;
static volatile uint64_t sink;

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void compute(unsigned turns)
{
	uint64_t x = turns;

	for (unsigned i = 0; i < turns; i++)
		x = x * 6364136223846793005ull + 1442695040888963407ull;
	sink = x;
}

__attribute__((noinline)) static void site_pace(void)
{
	void *p = malloc(SIZE);

	if (!p)
		abort();
	*(volatile char *)p = 1;
	if (calls++ % KEEP || n_kept == MOST_KEPT)
		free(p);
	else
		kept[n_kept++] = p;
}

/* About a millisecond of it. */
static void go(unsigned turns)
{
	for (unsigned done = 0; done < 20 * QUIET; done += turns) {
		compute(turns);
		site_pace();
	}
}

static int is_hot(uint64_t begun, uint64_t phase_ms)
{
	return !phase_ms || (now_ms() - begun) / phase_ms % 2;
}

static int answer(void)
{
	char line[64];

	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		return 0;
	printf("kept %zu calls %lu\n", n_kept * SIZE, calls);
	return read(STDIN_FILENO, line, sizeof(line)) > 0;
}

int main(int argc, char **argv)
{
	const uint64_t phase_ms = argc > 1 ? strtoull(argv[1], NULL, 10) : 3000;
	const uint64_t begun = now_ms();
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	for (;;) {
		go(is_hot(begun, phase_ms) ? HOT : QUIET);
		if (poll(&in, 1, 0) > 0 && !answer())
			return 0;
	}
}
