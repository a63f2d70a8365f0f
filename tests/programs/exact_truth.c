/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Known bytes in ways that are hard for an unwinder: exact_truth [PLUGIN]. A word a
 * line on its standard input, "site bytes" an answer:
 *
 *	deep N		allocate under N frames of recursion
 *	signal		in a signal handler on the thread's stack; signals come anywhere, also
 *			in malloc, where the handler does not allocate
 *	alternate	in a signal handler on a stack of its own
 *	plugin		load PLUGIN, allocate there
 *	unload		unload it again
 *	threads N	N threads, one after another, allocate as soon as they run
 *	chains		threads that realloc() and free each other's blocks
 *	many N		N blocks of 32 bytes
 *	drop		free all that but what died with its library
 */

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { MAX_BLOCKS = 1 << 20, N_CHAINS = 4, CHAIN_BLOCKS = 2000 };

static void *blocks[MAX_BLOCKS];
static size_t n_blocks;

#define SITE __attribute__((noinline))

static void keep(void *p)
{
	if (!p)
		abort();
	blocks[__atomic_fetch_add(&n_blocks, 1, __ATOMIC_RELAXED)] = p;
}

/* ---- deep ---- */

SITE static int site_deep(int depth)
{
	volatile int more = depth;

	if (!depth)
		keep(malloc(4321));
	else
		more += site_deep(depth - 1);
	return more;
}

/* ---- signals ---- */

static volatile sig_atomic_t n_signals, in_malloc;

SITE static void site_signal(int number)
{
	(void)number;
	if (n_signals >= 500 || in_malloc)
		return;
	n_signals++;
	keep(malloc(100));
}

static size_t allocate_under_signals(int flags)
{
	const struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = { { 0 } };
	struct sigaction action = { .sa_handler = site_signal, .sa_flags = flags | SA_RESTART };

	n_signals = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (unsigned i = 0; n_signals < 500; i++) {
		in_malloc = 1;
		free(realloc(malloc(i % 500), i % 900 + 1));
		in_malloc = 0;
		for (volatile int wait = 0; wait < 2000; wait++)
			;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_IGN);
	return (size_t)n_signals * 100;
}

/* ---- plugin ---- */

static void *plugin;

static size_t use_plugin(const char *path)
{
	void *(*caller)(size_t n);

	plugin = dlopen(path, RTLD_NOW);
	caller = plugin ? (void *(*)(size_t))dlsym(plugin, "plugin_caller") : NULL;
	if (!caller)
		abort();
	/* some before anybody has seen that it is there, some after */
	for (int i = 0; i < 40; i++) {
		for (int k = 0; k < 10; k++)
			keep(caller(777));
		usleep(10000);
	}
	return 400 * 777;
}

/* ---- threads ---- */

SITE static void *site_thread(void *arg)
{
	keep(malloc(1234));
	return arg;
}

static size_t run_threads(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t t;

		if (pthread_create(&t, NULL, site_thread, NULL))
			abort();
		pthread_join(t, NULL);
	}
	return (size_t)n * 1234;
}

static void *exchange[N_CHAINS][CHAIN_BLOCKS];
static pthread_barrier_t all;

/* Each reallocs its neighbour's blocks, and the next frees a half of them. */
SITE static void *site_chain(void *arg)
{
	const intptr_t me = (intptr_t)arg;

	for (int i = 0; i < CHAIN_BLOCKS; i++)
		exchange[me][i] = malloc(50);
	pthread_barrier_wait(&all);
	for (int i = 0; i < CHAIN_BLOCKS; i++) {
		void **p = &exchange[(me + 1) % N_CHAINS][i];

		for (size_t n = 60; n <= 600; n += 60)
			*p = realloc(*p, n);
	}
	pthread_barrier_wait(&all);
	for (int i = 0; i < CHAIN_BLOCKS; i++) {
		void *p = exchange[(me + 2) % N_CHAINS][i];

		if (i % 2)
			keep(p);
		else
			free(p);
	}
	return NULL;
}

static size_t run_chains(void)
{
	pthread_t t[N_CHAINS];

	pthread_barrier_init(&all, NULL, N_CHAINS);
	for (intptr_t i = 0; i < N_CHAINS; i++)
		pthread_create(&t[i], NULL, site_chain, (void *)i);
	for (int i = 0; i < N_CHAINS; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&all);
	return (size_t)N_CHAINS * CHAIN_BLOCKS / 2 * 600;
}

/* ---- many ---- */

SITE static size_t site_many(long n)
{
	for (long i = 0; i < n; i++)
		keep(malloc(32));
	return (size_t)n * 32;
}

static void drop(void)
{
	while (n_blocks)
		free(blocks[--n_blocks]);
}

static size_t obey(const char *word, long n, const char *path)
{
	static char alternate[1 << 16];
	const stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };

	if (!strcmp(word, "deep"))
		return site_deep((int)n) < 0 ? 0 : 4321;
	if (!strcmp(word, "signal"))
		return allocate_under_signals(0);
	if (!strcmp(word, "alternate") && !sigaltstack(&stack, NULL))
		return allocate_under_signals(SA_ONSTACK);
	if (!strcmp(word, "plugin"))
		return use_plugin(path);
	if (!strcmp(word, "unload"))
		return dlclose(plugin) ? 1 : 0;
	if (!strcmp(word, "threads"))
		return run_threads(n);
	if (!strcmp(word, "chains"))
		return run_chains();
	if (!strcmp(word, "many"))
		return site_many(n);
	if (!strcmp(word, "drop"))
		drop();
	return 0;
}

int main(int argc, char **argv)
{
	char line[128], word[32];
	long n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (fgets(line, sizeof(line), stdin)) {
		n = 0;
		if (sscanf(line, "%31s %ld", word, &n) < 1)
			continue;
		printf("%zu\n", obey(word, n, argc > 1 ? argv[1] : ""));
	}
	return 0;
}
