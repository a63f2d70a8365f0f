/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A process that holds known bytes: agent_truth [THREADS]. A word a line on its
 * standard input, an answer each:
 *
 *	round	allocate at all sites; "site bytes site bytes ..."
 *	threads	a thousand short-lived threads do, one after another and at once, and leave it;
 *		"site bytes ..."
 *	drop	free all that
 *	churn	a thousand short-lived threads that allocate and end
 *	fork	a child allocates and checks; its exit code
 *	vfork	the same with vfork() and exec
 *	child	a child that stays and allocates; its pid
 *	hot N	malloc and free N times; nanoseconds of CPU for each pair
 */

#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BLOCKS = 1 << 17, PAUSE_EVERY = 48 * 1024 };

static void *blocks[MAX_BLOCKS];
static size_t n_blocks, since_pause;

/* Not faster than a sampler can read: this is about truth, not about speed. */
static void pace(size_t bytes)
{
	since_pause += bytes;
	if (since_pause < PAUSE_EVERY)
		return;
	since_pause = 0;
	nanosleep(&(struct timespec){ 0, 50000 }, NULL);
}

static void keep(void *p, size_t bytes)
{
	if (!p)
		abort();
	memset(p, 0x5a, bytes < 64 ? bytes : 64);
	blocks[n_blocks++] = p;
	pace(bytes);
}

#define SITE __attribute__((noinline)) static size_t

SITE site_small(void)
{
	for (int i = 0; i < 30000; i++)
		keep(malloc(100), 100);
	return 30000 * 100;
}

SITE site_large(void)
{
	for (int i = 0; i < 150; i++)
		keep(malloc(40000), 40000);
	return 150 * 40000;
}

SITE site_calloc(void)
{
	for (int i = 0; i < 4000; i++)
		keep(calloc(10, 100), 1000);
	return 4000 * 1000;
}

SITE site_realloc(void)
{
	for (int i = 0; i < 1000; i++) {
		void *p = NULL;

		for (size_t n = 300; n <= 3000; n += 300)
			p = realloc(p, n);
		keep(p, 3000);
	}
	return 1000 * 3000;
}

SITE site_reallocarray(void)
{
	for (int i = 0; i < 1000; i++)
		keep(reallocarray(malloc(10), 30, 100), 3000);
	return 1000 * 3000;
}

SITE site_posix_memalign(void)
{
	for (int i = 0; i < 1500; i++) {
		void *p = NULL;

		if (posix_memalign(&p, i % 2 ? 8 : 256, 2000))
			abort();
		keep(p, 2000);
	}
	return 1500 * 2000;
}

SITE site_aligned(void)
{
	for (int i = 0; i < 750; i++) {
		keep(aligned_alloc(i % 2 ? 16 : 64, 2048), 2048);
		keep(memalign(i % 2 ? 8 : 4096, 2048), 2048);
	}
	return 1500 * 2048;
}

SITE site_valloc(void)
{
	for (int i = 0; i < 500; i++)
		keep(i % 2 ? valloc(8000) : pvalloc(8000), 8000);
	return 500 * 8000;
}

static void *freed[20000];

static void *free_half(void *arg)
{
	for (int i = 0; i < 20000; i += 2)
		free(freed[i]);
	return arg;
}

/* Half of it is freed by another thread. */
SITE site_half(void)
{
	pthread_t thread;

	for (int i = 0; i < 20000; i++) {
		freed[i] = malloc(300);
		pace(300);
	}
	pthread_create(&thread, NULL, free_half, NULL);
	pthread_join(thread, NULL);
	for (int i = 1; i < 20000; i += 2)
		keep(freed[i], 300);
	return 10000 * 300;
}

static void do_round(void)
{
	static const struct {
		const char *name;
		size_t (*run)(void);
	} sites[] = {
		{ "site_small", site_small },
		{ "site_large", site_large },
		{ "site_calloc", site_calloc },
		{ "site_realloc", site_realloc },
		{ "site_reallocarray", site_reallocarray },
		{ "site_posix_memalign", site_posix_memalign },
		{ "site_aligned", site_aligned },
		{ "site_valloc", site_valloc },
		{ "site_half", site_half },
	};

	for (size_t i = 0; i < sizeof(sites) / sizeof(sites[0]); i++)
		printf("%s %zu ", sites[i].name, sites[i].run());
	printf("\n");
}

/* Each thread does a thousandth, and ends; half of what one allocates the next one frees. */
enum { THREADS = 1000, THREADS_AT_ONCE = 10, OF_EACH = 40 };

static void keep_of_thread(void *p)
{
	if (!p)
		abort();
	*(char *)p = 1;
	blocks[__atomic_fetch_add(&n_blocks, 1, __ATOMIC_RELAXED)] = p;
}

__attribute__((noinline)) static void site_thread_small(void)
{
	for (int i = 0; i < OF_EACH; i++)
		keep_of_thread(malloc(100));
}

__attribute__((noinline)) static void site_thread_large(void)
{
	keep_of_thread(malloc(6000));
}

__attribute__((noinline)) static void site_thread_realloc(void)
{
	for (int i = 0; i < 2; i++)
		keep_of_thread(realloc(malloc(200), 2000));
}

__attribute__((noinline)) static void site_thread_half(void **next)
{
	for (int i = 0; i < OF_EACH; i++) {
		free(next[i]);
		next[i] = malloc(300);
	}
}

static void *next_of[THREADS_AT_ONCE][OF_EACH];

static void *short_life(void *arg)
{
	site_thread_small();
	site_thread_large();
	site_thread_realloc();
	site_thread_half(arg);
	nanosleep(&(struct timespec){ 0, 200000 }, NULL);
	return NULL;
}

static void thousand_threads(void)
{
	pthread_t threads[THREADS_AT_ONCE];

	for (int round = 0; round < THREADS / THREADS_AT_ONCE; round++) {
		for (int i = 0; i < THREADS_AT_ONCE; i++)
			pthread_create(&threads[i], NULL, short_life, next_of[i]);
		for (int i = 0; i < THREADS_AT_ONCE; i++)
			pthread_join(threads[i], NULL);
	}
	printf("site_thread_small %d site_thread_large %d site_thread_realloc %d "
	       "site_thread_half %d\n",
	       THREADS * OF_EACH * 100, THREADS * 6000, THREADS * 2 * 2000,
	       THREADS_AT_ONCE * OF_EACH * 300);
}

static void drop(void)
{
	while (n_blocks)
		free(blocks[--n_blocks]);
	printf("dropped\n");
}

static unsigned long wrong;

static void *work(void *arg)
{
	unsigned char *p[64] = { 0 };
	uint64_t seed = (uintptr_t)arg * 77 + 1;

	for (int i = 0; i < 3000; i++) {
		size_t k, n;

		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		k = seed >> 58;
		n = 8 + (seed >> 40) % 2000;
		if (p[k] && p[k][0] != k)
			__atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
		p[k] = seed & 1 ? realloc(p[k], n) : (free(p[k]), malloc(n));
		p[k][0] = (unsigned char)k;
	}
	for (int k = 0; k < 64; k++)
		free(p[k]);
	return NULL;
}

static void churn(void)
{
	enum { AT_ONCE = 10 };
	pthread_t threads[AT_ONCE];

	for (int round = 0; round < 100; round++) {
		for (intptr_t i = 0; i < AT_ONCE; i++)
			pthread_create(&threads[i], NULL, work, (void *)(i + round));
		for (int i = 0; i < AT_ONCE; i++)
			pthread_join(threads[i], NULL);
	}
	printf("wrong %lu\n", wrong);
}

static void try_fork(void)
{
	int status = -1;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		for (int i = 0; i < 50; i++)
			work((void *)(intptr_t)i);
		_exit(wrong ? 1 : 0);
	}
	waitpid(child, &status, 0);
	printf("status %d\n", status);
}

static void try_vfork(void)
{
	int status = -1;
	pid_t child;

	fflush(stdout);
	child = vfork();
	if (!child) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(127);
	}
	waitpid(child, &status, 0);
	printf("status %d\n", status);
}

static void leave_child(void)
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		for (;;)
			work((void *)1);
	}
	printf("%d\n", (int)child);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void hot(long n)
{
	double start = cpu_ns();

	for (long i = 0; i < n; i++) {
		void *p = malloc(64);

		__asm__ volatile("" : : "r"(p) : "memory");
		free(p);
	}
	printf("%.3f\n", (cpu_ns() - start) / (double)n);
}

static void *work_on(void *arg)
{
	while (!wrong)
		work(arg);
	return NULL;
}

int main(int argc, char **argv)
{
	char line[128];
	pthread_t thread;

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (long i = argc > 1 ? atol(argv[1]) : 0; i > 0; i--)
		pthread_create(&thread, NULL, work_on, (void *)i);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "round"))
			do_round();
		else if (!strcmp(line, "threads"))
			thousand_threads();
		else if (!strcmp(line, "drop"))
			drop();
		else if (!strcmp(line, "churn"))
			churn();
		else if (!strcmp(line, "fork"))
			try_fork();
		else if (!strcmp(line, "vfork"))
			try_vfork();
		else if (!strcmp(line, "child"))
			leave_child();
		else if (!strncmp(line, "hot ", 4))
			hot(atol(line + 4));
	}
	return 0;
}
