/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A heap with a known answer, whatever the allocator: links against none, so
 * LD_PRELOAD picks it. Each of T threads makes N blocks (8 bytes to 6 KB, one in
 * BIGEVERY up to 420 KB); then each frees a third of its own, then a third of
 * its neighbour's, so that caches of all kinds are filled.
 *
 *	ladder_truth T N [BIGEVERY] [running]
 *
 * Commands on stdin, one line each, answered by lines and then "ok":
 *	list FILE   every block held: address, usable size (of the request where
 *	            the allocator does not tell), in hexadecimal and decimal
 *	freed FILE  every block that was freed for good (not with "running"): address
 *	stats       "held BLOCKS BYTES", and what the allocator reports: lines
 *	            "own NAME VALUE" (mallinfo2, mallctl, MallocExtension)
 *	info FILE   malloc_info() as XML
 *	trim        malloc_trim(0): "trimmed BYTES" of resident memory (pagemap)
 *	leave N     N threads (the last ones) end; their blocks stay
 *	quit
 * TRUTH_BRK=foreign or blocked in the environment: see disturb_brk().
 * With "running" the threads go on to allocate and free the same amount again
 * and again. "ready PID" is printed when all is in place. The program's own
 * arrays come from mmap.
 */

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct block {
	void *at, *freed;
	size_t asked, usable;
};

struct worker {
	pthread_t thread;
	long number;
	struct block *blocks;
	atomic_bool leave;
};

static long n_threads, n_blocks, big_every = 1000;
static bool running;
static struct worker *workers;
static pthread_barrier_t barrier;

static uint32_t next_random(uint64_t *s)
{
	*s = *s * 6364136223846793005ull + 1442695040888963407ull;
	return *s >> 33;
}

static void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static size_t pick_size(long i, uint32_t r)
{
	if (big_every && i % big_every == 0)
		return 20000 + r % 400000;
	return r % 8 == 0 ? r / 8 % 6000 + 1 : 8 + r / 8 % 200;
}

#ifdef TRUTH_STATIC
#ifdef TRUTH_MUSL
#define named(name) (strcmp(name, "malloc_usable_size") ? NULL : (void *)malloc_usable_size)
#else
static void *named(const char *name)
{
	if (!strcmp(name, "malloc_usable_size"))
		return malloc_usable_size;
	if (!strcmp(name, "mallinfo2"))
		return mallinfo2;
	return strcmp(name, "malloc_trim") ? NULL : malloc_trim;
}
#endif
#else
#define named(name) dlsym(RTLD_DEFAULT, name)
#endif

static size_t usable_size(void *p, size_t asked)
{
	static size_t (*size_of)(void *);

	if (!size_of)
		*(void **)&size_of = named("malloc_usable_size");
	return size_of ? size_of(p) : asked;
}

static void make(struct block *b, size_t n)
{
	b->at = malloc(n);
	if (!b->at)
		abort();
	memset(b->at, 1, n);
	b->asked = n;
	b->usable = usable_size(b->at, n);
}

/* TRUTH_BRK=foreign: somebody else takes memory with sbrk(), too; blocked:
 * something lies where the break would grow. */
static void disturb_brk(long i)
{
	static const char *how;

	if (i == 0)
		how = getenv("TRUTH_BRK");
	if (!how || i % 1000 != 500)
		return;
	if (!strcmp(how, "foreign"))
		sbrk(12304);
	if (!strcmp(how, "blocked") && i == 500)
		mmap((char *)sbrk(0) + 65536, 4096, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
}

static void fill(struct worker *w)
{
	uint64_t s = w->number * 77 + 1;

	for (long i = 0; i < n_blocks; i++) {
		if (w->number == 0)
			disturb_brk(i);
		make(&w->blocks[i], pick_size(i, next_random(&s)));
	}
}

static void drop_third(struct block *blocks, uint64_t seed)
{
	for (long i = 0; i < n_blocks; i++) {
		if (next_random(&seed) % 3 != 0 || !blocks[i].at)
			continue;
		free(blocks[i].at);
		blocks[i].freed = blocks[i].at;
		blocks[i].at = NULL;
	}
}

/* One block in, one out, of the same size: the sum stays. */
static void churn(struct worker *w)
{
	uint64_t s = w->number + 5;

	while (!atomic_load(&w->leave)) {
		struct block *b = &w->blocks[next_random(&s) % n_blocks];

		if (!b->at)
			continue;
		free(b->at);
		make(b, b->asked);
	}
}

static void prepare(struct worker *w)
{
	fill(w);
	pthread_barrier_wait(&barrier);
	drop_third(w->blocks, w->number * 99 + 1);
	pthread_barrier_wait(&barrier);
	drop_third(workers[(w->number + 1) % n_threads].blocks, w->number * 99 + 2);
	pthread_barrier_wait(&barrier);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char name[16];

	snprintf(name, sizeof(name), "worker-%ld", w->number);
	pthread_setname_np(pthread_self(), name);
	prepare(w);
	if (running)
		churn(w);
	while (!atomic_load(&w->leave))
		usleep(1000);
	return NULL;
}

static void list(const char *path, bool freed)
{
	static char buf[1 << 16];
	FILE *f = fopen(path, "w");

	if (!f)
		abort();
	setvbuf(f, buf, _IOFBF, sizeof(buf));
	for (long t = 0; t < n_threads; t++) {
		for (long i = 0; i < n_blocks; i++) {
			const struct block *b = &workers[t].blocks[i];

			if (freed && b->freed)
				fprintf(f, "%lx\n", (unsigned long)b->freed);
			if (!freed && b->at)
				fprintf(f, "%lx %zu\n", (unsigned long)b->at, b->usable);
		}
	}
	fclose(f);
}

/* glibc 2.33, malloc.h */
struct info2 {
	size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks,
		keepcost;
};

static void own_glibc(void)
{
	struct info2 (*info)(void);
	struct info2 i;

	*(void **)&info = named("mallinfo2");
	if (!info)
		return;
	i = info();
	printf("own arena %zu\nown hblks %zu\nown hblkhd %zu\nown uordblks %zu\n"
	       "own fordblks %zu\nown fsmblks %zu\nown keepcost %zu\n",
	       i.arena, i.hblks, i.hblkhd, i.uordblks, i.fordblks, i.fsmblks, i.keepcost);
}

static void own_jemalloc(void)
{
	static const char *const names[] = {
		"stats.allocated",
		"stats.active",
		"stats.metadata",
		"stats.resident",
		"stats.mapped",
		"stats.retained",
		"stats.arenas.4096.pdirty",
		"stats.arenas.4096.pmuzzy",
		"stats.arenas.4096.tcache_bytes",
		"stats.arenas.4096.internal",
		"stats.arenas.4096.base",
	};
	int (*ctl)(const char *, void *, size_t *, void *, size_t);
	uint64_t epoch = 1;
	size_t len = sizeof(epoch);

	*(void **)&ctl = named("mallctl");
	if (!ctl)
		return;
	ctl("epoch", &epoch, &len, &epoch, len);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t v = 0;

		len = sizeof(v);
		if (ctl(names[i], &v, &len, NULL, 0) == 0)
			printf("own %s %zu\n", names[i], v);
	}
}

static void own_tcmalloc(void)
{
	static const char *const names[] = {
		"generic.current_allocated_bytes",   "generic.heap_size",
		"tcmalloc.pageheap_free_bytes",      "tcmalloc.pageheap_unmapped_bytes",
		"tcmalloc.central_cache_free_bytes", "tcmalloc.transfer_cache_free_bytes",
		"tcmalloc.thread_cache_free_bytes",  "tcmalloc.current_total_thread_cache_bytes",
	};
	int (*get)(const char *, size_t *);

	*(void **)&get = named("MallocExtension_GetNumericProperty");
	for (size_t i = 0; get && i < sizeof(names) / sizeof(names[0]); i++) {
		size_t v = 0;

		if (get(names[i], &v))
			printf("own %s %zu\n", names[i], v);
	}
}

static void stats(void)
{
	uint64_t n = 0, bytes = 0;

	for (long t = 0; t < n_threads; t++) {
		for (long i = 0; i < n_blocks; i++) {
			/* a running thread may just replace it */
			if (workers[t].blocks[i].freed)
				continue;
			n++;
			bytes += workers[t].blocks[i].usable;
		}
	}
	printf("held %lu %lu\n", (unsigned long)n, (unsigned long)bytes);
	if (!named("mallctl") && !named("MallocExtension_GetNumericProperty"))
		own_glibc();
	own_jemalloc();
	own_tcmalloc();
}

static void info(const char *path)
{
	int (*write_info)(int, FILE *);
	FILE *f = fopen(path, "w");

	*(void **)&write_info = named("malloc_info");
	if (f && write_info)
		write_info(0, f);
	if (f)
		fclose(f);
}

/* Resident anonymous bytes, exactly: VmRSS is kept in batches. */
static long resident(void)
{
	static char buf[1 << 16];
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	long kb = -1;

	if (!f)
		return -1;
	setvbuf(f, buf, _IOFBF, sizeof(buf));
	while (kb < 0 && fgets(buf + 32768, 256, f))
		sscanf(buf + 32768, "Anonymous: %ld", &kb);
	fclose(f);
	return kb * 1024;
}

static void trim(void)
{
	int (*trim_now)(size_t);
	long before = resident();

	*(void **)&trim_now = named("malloc_trim");
	if (trim_now)
		trim_now(0);
	printf("trimmed %ld\n", before - resident());
}

static void leave(long n)
{
	for (long t = n_threads - n; t < n_threads; t++)
		atomic_store(&workers[t].leave, true);
	for (long t = n_threads - n; t < n_threads; t++)
		pthread_join(workers[t].thread, NULL);
}

static void serve(void)
{
	static char line[4200], arg[4100];

	while (fgets(line, sizeof(line), stdin)) {
		arg[0] = '\0';
		sscanf(line, "%*s %4099s", arg);
		if (!strncmp(line, "list ", 5))
			list(arg, false);
		else if (!strncmp(line, "freed ", 6))
			list(arg, true);
		else if (!strncmp(line, "stats", 5))
			stats();
		else if (!strncmp(line, "info ", 5))
			info(arg);
		else if (!strncmp(line, "trim", 4))
			trim();
		else if (!strncmp(line, "leave ", 6))
			leave(strtol(arg, NULL, 10));
		else
			return;
		puts("ok");
		fflush(stdout);
	}
}

int main(int argc, char **argv)
{
	static char in[4096], out[4096];

	if (argc < 3)
		return 2;
	setvbuf(stdin, in, _IOFBF, sizeof(in));
	setvbuf(stdout, out, _IOFBF, sizeof(out));
	n_threads = strtol(argv[1], NULL, 10);
	n_blocks = strtol(argv[2], NULL, 10);
	if (argc > 3)
		big_every = strtol(argv[3], NULL, 10);
	running = argc > 4 && !strcmp(argv[4], "running");
	workers = pages(n_threads * sizeof(*workers));
	pthread_barrier_init(&barrier, NULL, n_threads);
	for (long t = 0; t < n_threads; t++) {
		workers[t].number = t;
		workers[t].blocks = pages(n_blocks * sizeof(struct block));
	}
	for (long t = 1; t < n_threads; t++) {
		if (pthread_create(&workers[t].thread, NULL, work, &workers[t]) != 0)
			abort();
	}
	prepare(&workers[0]);
	usleep(100000);
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	serve();
	_exit(0);
}
