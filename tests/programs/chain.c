/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Waits in a known chain of calls that goes through the C library, and says
 * which: chain strdup|qsort|thread|signal. With a static libc its strdup() calls
 * the malloc() here.
 */

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int waiting;

static __attribute__((noinline)) void wait_here(void)
{
	char c;

	puts("ready");
	fflush(stdout);
	if (read(0, &c, 1) <= 0)
		_exit(0);
}

#ifdef CHAIN_MALLOC
static char pool[1 << 20];
static size_t used;

void *malloc(size_t size)
{
	char *p = pool + used;

	used += (size + 15) & ~(size_t)15;
	if (waiting == 1) {
		waiting = 2;
		wait_here();
	}
	return used <= sizeof(pool) ? p : NULL;
}

void free(void *p)
{
}
#endif

static __attribute__((noinline)) void in_strdup(void)
{
	waiting = 1;
	if (!strdup("text"))
		abort();
	puts("");
}

static int compare(const void *a, const void *b)
{
	if (!waiting++)
		wait_here();
	return *(const int *)a - *(const int *)b;
}

static __attribute__((noinline)) void in_qsort(void)
{
	int n[] = { 5, 3, 4, 1 };

	qsort(n, 4, sizeof(int), compare);
	printf("%d\n", n[0]);
}

static void *thread(void *arg)
{
	wait_here();
	return arg;
}

static __attribute__((noinline)) void in_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, thread, NULL))
		abort();
	pthread_join(t, NULL);
	puts("");
}

static void handler(int signal)
{
	wait_here();
}

static __attribute__((noinline)) void in_signal(void)
{
	signal(SIGUSR1, handler);
	raise(SIGUSR1);
	puts("");
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "strdup"))
		in_strdup();
	else if (!strcmp(what, "qsort"))
		in_qsort();
	else if (!strcmp(what, "thread"))
		in_thread();
	else if (!strcmp(what, "signal"))
		in_signal();
	return 0;
}
