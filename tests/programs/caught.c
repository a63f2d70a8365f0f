/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Allocates with calloc(), fills, checks and frees, again and again, in one thread, and has a
 * handler for SIGUSR1 that prints "caught" and waits for a line: where it was interrupted is the
 * test's choice. After that it prints "on ROUNDS BAD" as it goes on. Prints "ready" first.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BYTES = 100 };

static volatile sig_atomic_t was_caught;

static void catch (int number)
{
	static const char text[] = "caught\n";
	char c = 0;

	(void)number;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		abort();
	while (c != '\n')
		if (read(STDIN_FILENO, &c, 1) <= 0)
			abort();
	was_caught = 1;
}

static int is_bad(void)
{
	unsigned char *volatile p = calloc(1, BYTES);
	int bad = !p;

	for (int i = 0; p && i < BYTES; i++) {
		bad |= p[i] != 0;
		p[i] = 0xff;
	}
	free(p);
	return bad;
}

int main(void)
{
	const struct sigaction action = { .sa_handler = catch };
	unsigned long rounds = 0, bad = 0;

	setvbuf(stdout, NULL, _IONBF, 0);
	if (sigaction(SIGUSR1, &action, NULL))
		return 1;
	puts("ready");
	for (;; rounds++) {
		bad += (unsigned long)is_bad();
		if (!was_caught)
			continue;
		was_caught = 0;
		printf("on %lu %lu\n", rounds, bad);
	}
}
