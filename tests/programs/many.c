/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * many THREADS MAPPINGS [NAME]: a target with many threads, whose names are
 * hostile, and many mappings. Prints "ready", waits for a line; then thread i
 * allocates 1000 + i bytes and keeps them; prints "done" and waits again.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

static const char *const names[] = { "plain",        "a\nb",  "\033[31mred", "\"q\\",
	                             "<b>&\xff\xfe", "a;b c", "\t\r\v",      "" };
static pthread_barrier_t barrier;
static void *volatile keep[1 << 16];

__attribute__((noinline)) static void *hold_some(long i)
{
	void *p = malloc(1000 + (size_t)i);

	__asm__ volatile("" ::: "memory");
	return p;
}

static void *thread(void *arg)
{
	long i = (long)arg;

	prctl(PR_SET_NAME, names[i % 8]);
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	keep[i] = hold_some(i);
	pthread_barrier_wait(&barrier);
	pause();
	return NULL;
}

static int map_pages(long n)
{
	for (long i = 0; i < n; i++) {
		/* neighbours of another kind, or the kernel would make one of them */
		if (mmap(NULL, 4096, i & 1 ? PROT_READ : PROT_READ | PROT_WRITE,
		         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
			perror("mmap");
			return -1;
		}
	}
	return 0;
}

static int wait_for_line(void)
{
	char line[16];

	return fgets(line, sizeof(line), stdin) ? 0 : -1;
}

int main(int argc, char **argv)
{
	long threads = argc > 1 ? atol(argv[1]) : 1;
	pthread_t t;

	if (threads < 0 || threads >= 1 << 16 || map_pages(argc > 2 ? atol(argv[2]) : 0) < 0)
		return 1;
	if (argc > 3)
		prctl(PR_SET_NAME, argv[3]);
	setvbuf(stdout, NULL, _IONBF, 0);
	pthread_barrier_init(&barrier, NULL, (unsigned)threads + 1);
	for (long i = 0; i < threads; i++) {
		if (pthread_create(&t, NULL, thread, (void *)i))
			return 1;
	}
	pthread_barrier_wait(&barrier);
	puts("ready");
	if (wait_for_line() < 0)
		return 0;
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	puts("done");
	return wait_for_line() < 0;
}
