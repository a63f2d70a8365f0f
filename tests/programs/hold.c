/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Commands, one a line:
 *   warm N, go N       N rounds: every site, under caller_a and under caller_b
 *   many N             N blocks at caller_c;site_01 and nothing else
 *   mark               what is held now is older; the truth begins to count
 *   free P             free P percent of all held blocks, older ones too
 *   regrow N           realloc N older blocks (site_44 then holds them)
 *   truth              {"sites": {"caller_a;site_01": {"bytes", "count"}, ...}, ...}
 *   threads N          N threads do 20 rounds each and end
 *   spin MS            hot malloc/free loop; answers "ok PAIRS CPU_NS"
 *   churn N            N rounds of blocks that are freed at once
 *   signal N           N blocks from a signal handler on an alternate stack
 *   throw N, longjmp N, newhandler N   C++ only, see hold_cxx.cc
 *   dlopen LIB N, dlclose              N blocks in a library loaded now
 *   fork               answers "ok PID"; then "child COMMAND" talks to that child
 *   exec PROGRAM ARGS  answers, then becomes PROGRAM
 *   sleep MS, quit
 */
#include "hold.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_RECORDS = 8 << 20, SCRATCH_BYTES = 1 << 30, MAX_ARGS = 16 };

struct record {
	void *ptr;
	size_t size;
	void (*destroy)(void *);
	unsigned char site, caller, live, for_ever;
	int generation;
};

static struct record *records;
static long n_records;
static int generation;
static unsigned long freed_older_bytes;
static char *scratch;
static size_t scratch_used;
static int in_fd = STDIN_FILENO, out_fd = STDOUT_FILENO;
static void *volatile sink;
static volatile size_t huge = (size_t)1 << 62;

void hold_fail(const char *what)
{
	dprintf(STDERR_FILENO, "hold: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		hold_fail("mmap");
	return p;
}

void *hold_scratch(size_t size)
{
	size_t at = __atomic_fetch_add(&scratch_used, (size + 63) & ~63UL, __ATOMIC_RELAXED);

	if (at + size > SCRATCH_BYTES)
		hold_fail("scratch");
	return scratch + at;
}

static struct record *keep(const struct visit *v, int site, void *ptr, size_t size)
{
	long i = __atomic_fetch_add(&n_records, 1, __ATOMIC_RELAXED);

	if (i >= MAX_RECORDS)
		hold_fail("records");
	records[i] = (struct record){ .ptr = ptr,
		                      .size = size,
		                      .site = site,
		                      .caller = v->caller,
		                      .live = 1,
		                      .generation = generation };
	return &records[i];
}

void hold_keep(const struct visit *v, int site, void *ptr, size_t size, void (*destroy)(void *))
{
	if (!ptr)
		hold_fail("an allocation failed");
	keep(v, site, ptr, size)->destroy = destroy;
}

void hold_keep_for_ever(const struct visit *v, int site, void *ptr, size_t size)
{
	if (!ptr)
		hold_fail("an allocation failed");
	keep(v, site, ptr, size)->for_ever = 1;
}

/* ---- sites ---- */

SITE void site_01(struct visit *v)
{
	size_t n = 144 + v->extra;

	hold_keep(v, 1, malloc(n), n, NULL);
	NO_TAIL_CALL();
}

SITE void site_02(struct visit *v)
{
	hold_keep(v, 2, calloc(12 + v->extra, 8), (12 + v->extra) * 8, NULL);
	NO_TAIL_CALL();
}

/* grows from nothing, moving */
SITE void site_03(struct visit *v)
{
	void *p = NULL;

	for (size_t i = 1; i < 40; i++) {
		p = realloc(p, i * 100 + v->extra);
		sink = p;
	}
	hold_keep(v, 3, p, 3900 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* grows inside its block */
SITE void site_04(struct visit *v)
{
	void *p = malloc(1001 + v->extra);

	for (size_t i = 2; i < 5; i++)
		p = realloc(p, 1000 + i + v->extra);
	hold_keep(v, 4, p, 1004 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* shrinks */
SITE void site_05(struct visit *v)
{
	void *p = malloc(4000 + v->extra);

	hold_keep(v, 5, realloc(p, 100 + v->extra), 100 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* fails: the old block lives on */
SITE void site_06(struct visit *v)
{
	void *p = malloc(200 + v->extra);

	if (realloc(p, huge))
		hold_fail("realloc of 4 EiB worked");
	hold_keep(v, 6, p, 200 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* realloc(p, 0): frees (glibc) or gives a block of 0 bytes (jemalloc, musl) */
SITE void site_07(struct visit *v)
{
	void *p = realloc(malloc(300 + v->extra), v->extra - v->extra);

	if (p)
		hold_keep(v, 7, p, 0, NULL);
	NO_TAIL_CALL();
}

SITE void site_08(struct visit *v)
{
	void *p = reallocarray(NULL, 10, 24);

	hold_keep(v, 8, reallocarray(p, 30 + v->extra, 24), (30 + v->extra) * 24, NULL);
	NO_TAIL_CALL();
}

SITE void site_09(struct visit *v)
{
	hold_keep(v, 9, aligned_alloc(4096, 8192), 8192, NULL);
	NO_TAIL_CALL();
}

SITE void site_10(struct visit *v)
{
	void *p = NULL, *q = &p;

	if (!posix_memalign(&q, 3, 10) || q != &p) /* no power of two: fails */
		hold_fail("posix_memalign took an alignment of 3");
	if (posix_memalign(&p, 64, 192 + v->extra))
		hold_fail("posix_memalign");
	hold_keep(v, 10, p, 192 + v->extra, NULL);
	NO_TAIL_CALL();
}

SITE void site_11(struct visit *v)
{
	hold_keep(v, 11, memalign(64, 100 + v->extra), 100 + v->extra, NULL);
	NO_TAIL_CALL();
}

SITE void site_12(struct visit *v)
{
	hold_keep(v, 12, valloc(1000 + v->extra), 1000 + v->extra, NULL);
	NO_TAIL_CALL();
}

#if defined(__GLIBC__) && !defined(HOLD_NO_PVALLOC)
/* never freed: a preloaded allocator without a pvalloc leaves it to glibc */
SITE void site_13(struct visit *v)
{
	hold_keep_for_ever(v, 13, pvalloc(1000 + v->extra), 1000 + v->extra);
	NO_TAIL_CALL();
}
#else
#define site_13 site_12
#endif

SITE void site_14(struct visit *v)
{
	const char *text = "a string of forty-eight bytes, counted by hand.." + (v->extra & 7);

	hold_keep(v, 14, strdup(text), strlen(text) + 1, NULL);
	NO_TAIL_CALL();
}

SITE void site_15(struct visit *v)
{
	char *p = NULL;
	int n = asprintf(&p, "%0*d", 300 + (int)v->extra, 7);

	hold_keep(v, 15, p, n + 1, NULL);
	NO_TAIL_CALL();
}

/* a mapping of its own, in most allocators */
SITE void site_16(struct visit *v)
{
	hold_keep(v, 16, malloc(300000 + v->extra), 300000 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* 140 frames */
SITE void site_17(struct visit *v, int depth)
{
	if (depth)
		site_17(v, depth - 1);
	else
		hold_keep(v, 17, malloc(70 + v->extra), 70 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* 600 frames: deeper than stacks are walked */
SITE void site_18(struct visit *v, int depth)
{
	if (depth)
		site_18(v, depth - 1);
	else
		hold_keep(v, 18, malloc(60 + v->extra), 60 + v->extra, NULL);
	NO_TAIL_CALL();
}

/* a block for the other thread to free, and one that stays */
static pthread_mutex_t mailbox_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t mailbox_changed = PTHREAD_COND_INITIALIZER;
static void *mailbox;
static pid_t worker_pid;

static void *free_what_comes(void *arg)
{
	pthread_mutex_lock(&mailbox_lock);
	for (;;) {
		while (!mailbox)
			pthread_cond_wait(&mailbox_changed, &mailbox_lock);
		free(mailbox);
		mailbox = NULL;
		pthread_cond_broadcast(&mailbox_changed);
	}
	return arg;
}

static void start_worker(void)
{
	pthread_t t;

	if (worker_pid == getpid())
		return;
	worker_pid = getpid();
	mailbox = NULL; /* a forked child: its copies are as the parent's worker left them */
	mailbox_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	mailbox_changed = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
	if (pthread_create(&t, NULL, free_what_comes, NULL))
		hold_fail("pthread_create");
}

static void let_other_thread_free(void *p)
{
	pthread_mutex_lock(&mailbox_lock);
	while (mailbox)
		pthread_cond_wait(&mailbox_changed, &mailbox_lock);
	mailbox = p;
	pthread_cond_broadcast(&mailbox_changed);
	while (mailbox)
		pthread_cond_wait(&mailbox_changed, &mailbox_lock);
	pthread_mutex_unlock(&mailbox_lock);
}

SITE void site_19(struct visit *v)
{
	void *p = malloc(96);

	hold_keep(v, 19, malloc(80 + v->extra), 80 + v->extra, NULL);
	let_other_thread_free(p);
	NO_TAIL_CALL();
}

/* everything of this is freed at once */
SITE void site_20(struct visit *v)
{
	void *p = malloc(100), *q = calloc(3, v->extra + 1);

	p = realloc(p, 5000);
	sink = p;
	free(p);
	sink = q;
	free(q);
	p = aligned_alloc(256, 512);
	sink = p;
	free(p);
	p = memalign(16, 100); /* no more than malloc gives: some libc's jump to malloc */
	sink = p;
	free(p);
	if (posix_memalign(&p, 16, 64))
		hold_fail("posix_memalign");
	free(p);
	free(NULL);
	NO_TAIL_CALL();
}

/* Functions that only some allocators have; there when one is preloaded. */
#define OWN __attribute__((weak))
OWN void *mallocx(size_t size, int flags);
OWN void *rallocx(void *p, size_t size, int flags);
OWN size_t xallocx(void *p, size_t size, size_t extra, int flags);
OWN void dallocx(void *p, int flags);
OWN void sdallocx(void *p, size_t size, int flags);
OWN void *tc_malloc_skip_new_handler(size_t size);
OWN void *mi_malloc_small(size_t size);
OWN void *mi_mallocn(size_t count, size_t size);
OWN void *mi_reallocf(void *p, size_t size);
OWN void *mi_reallocn(void *p, size_t count, size_t size);
OWN void *mi_zalloc_aligned(size_t size, size_t alignment);
OWN void *mi_heap_malloc(void *heap, size_t size);
OWN void *mi_heap_get_default(void);
OWN void mi_free_size(void *p, size_t size);
/* a second allocator, linked in under other names */
OWN void *je_malloc(size_t size);
OWN void *je_calloc(size_t count, size_t size);
OWN void *je_realloc(void *p, size_t size);
OWN int je_posix_memalign(void **p, size_t alignment, size_t size);
OWN void *je_mallocx(size_t size, int flags);
OWN void *je_rallocx(void *p, size_t size, int flags);
OWN void je_sdallocx(void *p, size_t size, int flags);
OWN void je_dallocx(void *p, int flags);
OWN void je_free(void *p);

SITE void site_50(struct visit *v)
{
	void *p = mallocx(100 + v->extra, 0);

	hold_keep(v, 50, mallocx(200 + v->extra, 6 /* 64 aligned */), 200 + v->extra, NULL);
	hold_keep(v, 50, rallocx(p, 5000 + v->extra, 0), 5000 + v->extra, NULL);
	p = mallocx(300, 0);
	sdallocx(p, 300, 0);
	p = mallocx(300, 0);
	dallocx(p, 0);
	NO_TAIL_CALL();
}

/* What xallocx() has made of a block of @old bytes. */
static size_t resized(size_t old, size_t size, size_t extra, size_t usable)
{
	if (usable < size)
		return old;
	return usable < size + extra ? usable : size + extra;
}

/* in place: granted, granted in part, refused */
SITE void site_51(struct visit *v)
{
	void *p = mallocx(97, 0), *q = mallocx(97, 0), *r = mallocx(97, 0);
	size_t n = 100 + v->extra / 4;

	hold_keep(v, 51, p, resized(97, n, 2, xallocx(p, n, 2, 0)), NULL);
	hold_keep(v, 51, q, resized(97, n, 50000, xallocx(q, n, 50000, 0)), NULL);
	hold_keep(v, 51, r, resized(97, huge / 2, 0, xallocx(r, huge / 2, 0, 0)), NULL);
	NO_TAIL_CALL();
}

SITE void site_52(struct visit *v)
{
	size_t n = 90 + v->extra;

	hold_keep(v, 52, tc_malloc_skip_new_handler(n), n, NULL);
	NO_TAIL_CALL();
}

SITE void site_53(struct visit *v)
{
	void *p = mi_malloc_small(30);

	hold_keep(v, 53, mi_mallocn(3, 40 + v->extra), 3 * (40 + v->extra), NULL);
	hold_keep(v, 53, mi_reallocf(p, 700 + v->extra), 700 + v->extra, NULL);
	p = mi_zalloc_aligned(64, 4096);
	hold_keep(v, 53, mi_reallocn(p, 10, 100 + v->extra), 10 * (100 + v->extra), NULL);
	hold_keep(v, 53, mi_heap_malloc(mi_heap_get_default(), 77), 77, NULL);
	p = mi_malloc_small(31);
	sink = p;
	mi_free_size(p, 31);
	NO_TAIL_CALL();
}

SITE void site_54(struct visit *v)
{
	void *p = je_malloc(300 + v->extra), *q = NULL;

	hold_keep(v, 54, je_realloc(p, 4000 + v->extra), 4000 + v->extra, je_free);
	if (je_posix_memalign(&q, 128, 1000 + v->extra))
		hold_fail("je_posix_memalign");
	hold_keep(v, 54, q, 1000 + v->extra, je_free);
	NO_TAIL_CALL();
}

SITE void site_55(struct visit *v)
{
	void *p = je_mallocx(100, 0);

	hold_keep(v, 55, je_rallocx(p, 2000 + v->extra, 0), 2000 + v->extra, je_free);
	hold_keep(v, 55, je_calloc(20, 100), 2000, je_free);
	p = je_mallocx(500, 0);
	je_sdallocx(p, 500, 0);
	p = je_mallocx(500, 0);
	je_dallocx(p, 0);
	NO_TAIL_CALL();
}

static void own_functions(struct visit *v)
{
	if (je_malloc && je_calloc && je_realloc && je_posix_memalign && je_mallocx && je_rallocx &&
	    je_sdallocx && je_dallocx && je_free) {
		site_54(v);
		site_55(v);
	}
	if (mallocx && rallocx && xallocx && dallocx && sdallocx) {
		site_50(v);
		site_51(v);
	}
	if (tc_malloc_skip_new_handler)
		site_52(v);
	if (mi_malloc_small && mi_mallocn && mi_reallocf && mi_reallocn && mi_zalloc_aligned &&
	    mi_heap_malloc && mi_heap_get_default && mi_free_size)
		site_53(v);
}

static void every_site(struct visit *v)
{
	site_01(v);
	site_02(v);
	site_03(v);
	site_04(v);
	site_05(v);
	site_06(v);
	site_07(v);
	site_08(v);
	site_09(v);
	site_10(v);
	site_11(v);
	site_12(v);
	if (!getenv("HOLD_NO_PVALLOC")) /* valgrind aborts there */
		site_13(v);
	site_14(v);
	site_15(v);
	site_17(v, 140);
	site_18(v, 600);
	site_20(v);
	hold_cxx_round(v);
	own_functions(v);
}

SITE void caller_a(int n)
{
	struct visit v = { CALLER_A, 0 };

	for (int i = 0; i < n; i++) {
		every_site(&v);
		if (i % 10 == 0)
			site_16(&v);
		site_19(&v);
	}
	NO_TAIL_CALL();
}

SITE void caller_b(int n)
{
	struct visit v = { CALLER_B, 16 };

	for (int i = 0; i < n; i++) {
		every_site(&v);
		if (i % 10 == 0)
			site_16(&v);
		site_19(&v);
	}
	NO_TAIL_CALL();
}

/* ---- commands ---- */

/* for the commands that are about one site */
static void many(int n);
static void regrow(int n);
SITE void caller_c(int which, int n)
{
	if (which)
		regrow(n);
	else
		many(n);
	NO_TAIL_CALL();
}

static void many(int n)
{
	struct visit v = { CALLER_C, 0 };

	for (int i = 0; i < n; i++)
		site_01(&v);
}

SITE void site_44(struct visit *v, struct record *r)
{
	freed_older_bytes += r->size;
	r->live = 0;
	hold_keep(v, SITE_REALLOC_OLDER, realloc(r->ptr, 5000), 5000, NULL);
	NO_TAIL_CALL();
}

static void regrow(int n)
{
	struct visit v = { CALLER_C, 0 };

	for (long i = 0, end = n_records; i < end && n > 0; i++) {
		struct record *r = &records[i];

		if (!r->live || r->site != 1 || r->generation == generation)
			continue;
		site_44(&v, r);
		n--;
	}
}

static void release(struct record *r)
{
	r->live = 0;
	if (r->generation != generation)
		freed_older_bytes += r->size;
	if (r->destroy)
		r->destroy(r->ptr);
	else
		free(r->ptr);
}

static void free_percent(long percent)
{
	long due = 0;

	for (long i = 0; i < n_records; i++) {
		if (!records[i].live || records[i].for_ever)
			continue;
		due += percent;
		if (due >= 100) {
			due -= 100;
			release(&records[i]);
		}
	}
}

static void *thread_rounds(void *arg)
{
	caller_a(20);
	caller_b(20);
	return arg;
}

static void threads(long n)
{
	pthread_t ids[64];

	if (n > 64)
		n = 64;
	for (long i = 0; i < n; i++)
		if (pthread_create(&ids[i], NULL, thread_rounds, NULL))
			hold_fail("pthread_create");
	for (long i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
}

static unsigned long now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

SITE void spin_site(unsigned long n)
{
	for (unsigned long i = 0; i < n; i++) {
		void *p = malloc(16 + (i & 255));

		sink = p;
		free(p);
	}
	NO_TAIL_CALL();
}

static void spin(long ms, char *answer, size_t size)
{
	unsigned long end = now_ns(CLOCK_MONOTONIC) + ms * 1000000UL;
	unsigned long cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), pairs = 0;

	do {
		spin_site(1000);
		pairs += 1000;
	} while (now_ns(CLOCK_MONOTONIC) < end);
	snprintf(answer, size, "ok %lu %lu\n", pairs, now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
}

SITE void site_43(void)
{
	struct visit v = { CALLER_SIGNAL, 0 };

	hold_keep(&v, SITE_SIGNAL, malloc(333), 333, NULL);
	NO_TAIL_CALL();
}

static void on_signal(int sig)
{
	site_43();
	NO_TAIL_CALL();
}

SITE void caller_signal(long n)
{
	for (long i = 0; i < n; i++)
		raise(SIGUSR1);
	NO_TAIL_CALL();
}

#ifndef HOLD_STATIC
static void *plugin;

static void load_plugin(const char *path, long n)
{
	struct visit v = { CALLER_PLUGIN, 0 };
	void *(*alloc)(size_t);

	plugin = dlopen(path, RTLD_NOW);
	alloc = plugin ? (void *(*)(size_t))dlsym(plugin, "plugin_caller") : NULL;
	if (!alloc)
		hold_fail(path);
	for (long i = 0; i < n; i++)
		hold_keep(&v, SITE_PLUGIN, alloc(128), 128, NULL);
}

static void unload_plugin(void)
{
	dlclose(plugin);
}
#else
static void load_plugin(const char *path, long n)
{
	errno = ENOSYS;
	hold_fail("dlopen");
}

static void unload_plugin(void)
{
}
#endif

static void put(const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(out_fd, text, len);

		if (n < 0 && errno != EINTR)
			_exit(1);
		if (n > 0) {
			text += n;
			len -= n;
		}
	}
}

static void put_text(const char *text)
{
	put(text, strlen(text));
}

/* ---- truth ---- */

static const char *const callers[N_CALLERS] = { "caller_a",      "caller_b",   "caller_c",
	                                        "plugin_caller", "caller_cxx", "caller_signal" };
struct sum {
	unsigned long bytes, count;
};
static struct sum sums[N_CALLERS][HOLD_MAX_SITES];

static struct sum add_up(void)
{
	struct sum all = { 0, 0 };

	memset(sums, 0, sizeof(sums));
	for (long i = 0; i < n_records; i++) {
		struct record *r = &records[i];

		if (!r->live || r->generation != generation)
			continue;
		sums[r->caller][r->site].bytes += r->size;
		sums[r->caller][r->site].count++;
		all.bytes += r->size;
		all.count++;
	}
	return all;
}

static void truth(void)
{
	static char line[65536];
	struct sum all = add_up();
	const char *comma = "";
	size_t n = snprintf(line, sizeof(line), "ok {\"sites\": {");

	for (int c = 0; c < N_CALLERS; c++)
		for (int s = 1; s < HOLD_MAX_SITES; s++) {
			if (!sums[c][s].count)
				continue;
			n += snprintf(line + n, sizeof(line) - n,
			              s == SITE_PLUGIN ? "%s\"%s;plugin_site\": "
			                               : "%s\"%s;site_%02d\": ",
			              comma, callers[c], s);
			n += snprintf(line + n, sizeof(line) - n,
			              "{\"bytes\": %lu, \"count\": %lu}", sums[c][s].bytes,
			              sums[c][s].count);
			comma = ", ";
		}
	snprintf(line + n, sizeof(line) - n,
	         "}, \"held_bytes\": %lu, \"held_count\": %lu, \"freed_older_bytes\": %lu, "
	         "\"caught\": %ld}\n",
	         all.bytes, all.count, freed_older_bytes, hold_caught);
	put_text(line);
}

/* ---- the loop ---- */

static int child_in = -1, child_out = -1;

/* One line without its newline; 0 at the end of input. */
static int read_line(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n + 1 < size) {
		ssize_t got = read(fd, line + n, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = 0;
	return 1;
}

static void start_child(char *answer, size_t size)
{
	int down[2], up[2];
	pid_t pid;

	if (pipe(down) < 0 || pipe(up) < 0)
		hold_fail("pipe");
	pid = fork();
	if (pid < 0)
		hold_fail("fork");
	if (!pid) {
		in_fd = down[0];
		out_fd = up[1];
		close(down[1]);
		close(up[0]);
		child_in = child_out = -1;
		answer[0] = 0;
		return;
	}
	close(down[0]);
	close(up[1]);
	child_in = down[1];
	child_out = up[0];
	snprintf(answer, size, "ok %d\n", pid);
}

static void ask_child(char *command)
{
	static char line[65536];
	size_t len = strlen(command);

	command[len] = '\n';
	if (child_in < 0 || write(child_in, command, len + 1) != (ssize_t)len + 1 ||
	    !read_line(child_out, line, sizeof(line) - 1))
		hold_fail("child");
	len = strlen(line);
	line[len] = '\n';
	put(line, len + 1);
}

static void become(char *command)
{
	char *args[MAX_ARGS + 1] = { NULL }, *save = NULL;
	int n = 0;

	for (char *w = strtok_r(command, " ", &save); w && n < MAX_ARGS;
	     w = strtok_r(NULL, " ", &save))
		args[n++] = w;
	put_text("ok\n");
	execv(args[0], args);
	hold_fail("exec");
}

static void nap(long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void mark(void)
{
	generation++;
	freed_older_bytes = 0;
	hold_caught = 0;
}

static int is(const char *line, const char *name)
{
	size_t n = strlen(name);

	return !strncmp(line, name, n) && (!line[n] || line[n] == ' ');
}

/* Commands that only do something; 0: none of these. */
static int act(const char *line, long n)
{
	if (is(line, "warm") || is(line, "go")) {
		caller_a(n);
		caller_b(n);
	} else if (is(line, "many")) {
		caller_c(0, n);
	} else if (is(line, "regrow")) {
		caller_c(1, n);
	} else if (is(line, "mark")) {
		mark();
	} else if (is(line, "free")) {
		free_percent(n);
	} else if (is(line, "threads")) {
		threads(n);
	} else if (is(line, "signal")) {
		caller_signal(n);
	} else if (is(line, "sleep")) {
		nap(n);
	} else if (is(line, "churn")) {
		struct visit v = { CALLER_A, 0 };

		for (long i = 0; i < n; i++)
			site_20(&v);
	} else if (is(line, "dlclose")) {
		unload_plugin();
	} else {
		return hold_cxx_command(line, n);
	}
	return 1;
}

static void serve(char *line)
{
	char answer[128] = "ok\n", *argument = strchr(line, ' ');
	long n = argument ? strtol(argument, NULL, 10) : 0;

	if (is(line, "truth")) {
		truth();
		return;
	}
	if (is(line, "child")) {
		ask_child(line + 6);
		return;
	}
	if (is(line, "spin")) {
		spin(n, answer, sizeof(answer));
	} else if (is(line, "fork")) {
		start_child(answer, sizeof(answer));
	} else if (is(line, "exec")) {
		become(argument + 1);
	} else if (is(line, "dlopen")) {
		char *count = strrchr(line, ' ');

		*count = 0;
		load_plugin(argument + 1, strtol(count + 1, NULL, 10));
	} else if (is(line, "quit")) {
		put_text("ok\n");
		_exit(0);
	} else if (!act(line, n)) {
		snprintf(answer, sizeof(answer), "unknown command\n");
	}
	put_text(answer);
}

int main(void)
{
	static char line[4096];
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };
	stack_t alternate = { .ss_size = 1 << 18 };

	records = map(MAX_RECORDS * sizeof(struct record));
	scratch = map(SCRATCH_BYTES);
	alternate.ss_sp = map(alternate.ss_size);
	sigaltstack(&alternate, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGCHLD, SIG_IGN);
	start_worker();
	put_text("ready\n");
	while (read_line(in_fd, line, sizeof(line) - 1)) {
		start_worker();
		serve(line);
	}
	return 0;
}
