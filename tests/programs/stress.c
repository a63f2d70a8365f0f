// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Storms with a known answer, for e2e/test_stress.py: "stress MODE ARG...".
 * Says "ready", waits for a line, does its work, says "truth {...}" (bytes and
 * blocks that it holds, by the function that allocated them), and waits for
 * another line before it ends.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SITE       __attribute__((noinline, noclone, noipa))
#define NO_TAIL    __asm__ volatile("" ::: "memory")
#define N_SITES    6
#define POOL_SIZE  4096
#define MAX_THREAD 2048

struct block {
	uint32_t site, magic;
	uint64_t size;
};

static atomic_llong held_bytes[N_SITES], held_blocks[N_SITES];
static _Atomic(struct block *) pool[POOL_SIZE];
static atomic_int failed;

static void account(struct block *b, uint32_t site, size_t size)
{
	*b = (struct block){ site, 0xb10c, size };
	held_bytes[site] += (long long)size;
	held_blocks[site]++;
}

static void forget(const struct block *b)
{
	if (b->magic != 0xb10c)
		abort();
	held_bytes[b->site] -= (long long)b->size;
	held_blocks[b->site]--;
}

SITE void *site_malloc(size_t n)
{
	void *p = malloc(n);

	NO_TAIL;
	return p;
}

SITE void *site_calloc(size_t n)
{
	void *p = calloc(1, n);

	NO_TAIL;
	return p;
}

SITE void *site_realloc(void *old, size_t n)
{
	void *p = realloc(old, n);

	NO_TAIL;
	return p;
}

SITE void *site_memalign(size_t n)
{
	void *p = NULL;

	if (posix_memalign(&p, 64, n))
		p = NULL;
	NO_TAIL;
	return p;
}

SITE void *site_reallocarray(void *old, size_t n)
{
	void *p = reallocarray(old, n, 1);

	NO_TAIL;
	return p;
}

/* Fails, and the old block lives on. */
SITE void *site_fail(void *old)
{
	void *p = realloc(old, SIZE_MAX / 4);

	NO_TAIL;
	return p;
}

static const char *const names[N_SITES] = { "site_malloc",   "site_calloc",       "site_realloc",
	                                    "site_memalign", "site_reallocarray", "site_fail" };

static void say_truth(void)
{
	printf("truth {");
	for (int i = 0; i < N_SITES; i++)
		printf("%s\"%s\": [%lld, %lld]", i ? ", " : "", names[i], (long long)held_bytes[i],
		       (long long)held_blocks[i]);
	printf("}\n");
	fflush(stdout);
}

static void hear(void)
{
	char line[64];

	if (!fgets(line, sizeof(line), stdin))
		_exit(0);
}

static uint32_t next(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static size_t a_size(uint32_t *seed)
{
	uint32_t r = next(seed);

	return sizeof(struct block) + (r % 32 ? r % 500 : r % 300000);
}

static struct block *make(uint32_t *seed)
{
	size_t n = a_size(seed);
	uint32_t how = next(seed) % 3;
	struct block *b = how == 0 ? site_malloc(n) : how == 1 ? site_calloc(n) : site_memalign(n);

	account(b, how == 2 ? 3 : how, n);
	return b;
}

static struct block *resize(struct block *b, uint32_t *seed)
{
	size_t n = a_size(seed);
	uint32_t how = next(seed) % 8;

	if (how == 0) {
		if (site_fail(b))
			failed++;
		return b;
	}
	forget(b);
	b = how < 3 ? site_reallocarray(b, n) : site_realloc(b, n);
	account(b, how < 3 ? 4 : 2, n);
	return b;
}

/* Blocks go from hand to hand: whoever takes one frees, moves or keeps it. */
static void *swap_blocks(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg * 2654435761u;
	long rounds = (long)((uintptr_t)arg >> 32);

	for (long i = 0; i < rounds; i++) {
		uint32_t at = next(&seed) % POOL_SIZE, what = next(&seed) % 4;
		struct block *b = atomic_exchange(&pool[at], NULL);

		if (!b) {
			b = make(&seed);
		} else if (what == 0) {
			forget(b);
			free(b);
			b = NULL;
		} else {
			b = resize(b, &seed);
		}
		if (!b)
			continue;
		b = atomic_exchange(&pool[next(&seed) % POOL_SIZE], b);
		if (b) {
			forget(b);
			free(b);
		}
	}
	return NULL;
}

static void run_threads(int n, void *(*fn)(void *), long arg)
{
	static pthread_t threads[MAX_THREAD];
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 128 * 1024);
	for (int i = 0; i < n; i++) {
		if (pthread_create(&threads[i], &attr, fn,
		                   (void *)((uintptr_t)arg << 32 | (uintptr_t)(i + 1))))
			abort();
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* Many threads that do nothing but allocate, so that at any time many are in
 * the middle of it. */
static void *throng(void *arg)
{
	long rounds = (long)((uintptr_t)arg >> 32);

	for (long i = 0; i < rounds; i++) {
		struct block *b = site_malloc(200);

		account(b, 0, 200);
		if (i % 4) {
			forget(b);
			free(b);
		}
	}
	return NULL;
}

/* A thread that frees what an earlier one left, and leaves something. */
static void *short_life(void *arg)
{
	uint32_t at = (uint32_t)(uintptr_t)arg % POOL_SIZE;
	struct block *b = site_malloc(100), *old;

	account(b, 0, 100);
	old = atomic_exchange(&pool[at], b);
	if (old) {
		forget(old);
		free(old);
	}
	return NULL;
}

/* Children that allocate and end at once. @hold_ms: how long each lives. */
static void fork_storm(int n, int hold_ms)
{
	int running = 0;

	for (int i = 0; i < n; i++) {
		struct block *b = site_calloc(300);
		pid_t pid;

		account(b, 1, 300);
		pid = fork();
		if (pid == 0) {
			for (int k = 0; k < 10; k++)
				site_malloc(1000);
			usleep((useconds_t)hold_ms * 1000);
			_exit(0);
		}
		running++;
		while (waitpid(-1, NULL, running > 32 ? 0 : WNOHANG) > 0)
			running--;
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
}

/* Two libraries that come and go at the same place. */
static void plugins(const char *first, const char *second, int rounds, int ms)
{
	void **kept = mmap(NULL, sizeof(void *) * 2 * (size_t)rounds, PROT_READ | PROT_WRITE,
	                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < rounds; i++) {
		void *handle = dlopen(i % 2 ? second : first, RTLD_NOW);
		void *(*fn)(size_t);

		if (!handle)
			abort();
		*(void **)&fn = dlsym(handle, i % 2 ? "second_site" : "first_site");
		for (int k = 0; k < 2; k++) {
			kept[2 * i + k] = fn(i % 2 ? 2000 : 1000);
			if (!k)
				usleep((useconds_t)ms * 1000);
		}
		if (dlclose(handle))
			abort();
	}
}

/* Replace ourselves @left times, each life with something held. */
static void exec_chain(const char *self, int left, int live_ms)
{
	char count[16], ms[16];

	for (int k = 0; k < 5; k++)
		account(site_malloc(700), 0, 700);
	usleep((useconds_t)live_ms * 1000);
	if (!left) {
		say_truth();
		hear();
		return;
	}
	snprintf(count, sizeof(count), "%d", left - 1);
	snprintf(ms, sizeof(ms), "%d", live_ms);
	execl(self, self, "chain", count, ms, "again", (char *)NULL);
	abort();
}

static int number(char **argv, int i)
{
	return argv[i] ? (int)strtol(argv[i], NULL, 10) : 0;
}

/* Blocks of one size made and moved, every second one freed. */
static void grow(int n)
{
	for (int i = 0; i < n; i++) {
		struct block *b = i % 3 ? site_malloc(100) : site_calloc(100);

		b = site_realloc(b, 200);
		if (i % 2) {
			free(b);
			continue;
		}
		account(b, 2, 200);
		b = site_malloc(50);
		account(b, 0, 50);
	}
}

/* A thread that is named after its first allocation, as threads are. */
static void *named_late(void *arg)
{
	account(site_malloc(400), 0, 400);
	usleep(500000);
	pthread_setname_np(pthread_self(), "worker");
	account(site_malloc(400), 0, 400);
	usleep(3000000);
	return NULL;
}

static void work(char **argv)
{
	const char *mode = argv[1];

	if (!strcmp(mode, "swap")) {
		run_threads(number(argv, 2), swap_blocks, number(argv, 3));
	} else if (!strcmp(mode, "grow")) {
		grow(number(argv, 2));
	} else if (!strcmp(mode, "throng")) {
		run_threads(number(argv, 2), throng, number(argv, 3));
	} else if (!strcmp(mode, "threads")) {
		for (int left = number(argv, 2); left > 0; left -= 50)
			run_threads(50, short_life, 0);
	} else if (!strcmp(mode, "named")) {
		run_threads(3, named_late, 0);
	} else if (!strcmp(mode, "forks")) {
		fork_storm(number(argv, 2), number(argv, 3));
	} else if (!strcmp(mode, "plugins")) {
		plugins(argv[2], argv[3], number(argv, 4), number(argv, 5));
	}
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	if (!strcmp(argv[1], "chain") && argc > 4) {
		exec_chain(argv[0], number(argv, 2), number(argv, 3));
		return 0;
	}
	/* what the C library itself keeps is there before anybody looks */
	free(malloc(1));
	printf("ready\n");
	fflush(stdout);
	hear();
	if (!strcmp(argv[1], "chain"))
		exec_chain(argv[0], number(argv, 2), number(argv, 3));
	work(argv);
	say_truth();
	hear();
	return failed != 0;
}
