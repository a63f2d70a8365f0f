/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * spread WORD...: a target of the ladder whose memory is known. Each word makes
 * some; then it prints "ready" and waits for a line, before each of these one
 * line a fact, "NAME NUMBER...":
 *	threads N     N threads, thread i touches i * 64 KiB of its stack: "thread TID BYTES"
 *	kinds DIR     one of each kind of mapping, files in DIR
 *	names DIR     files whose names are hostile
 *	many N        N mappings that do not merge
 *	sparse        large memory that was never touched
 *	busy N        N threads that run and never enter the kernel: "thread TID 0"
 *	wild N        N threads that map, unmap and protect as fast as they can
 *	ended N       N threads that have ended
 *	deep N        N bytes of the first thread's stack are touched
 *	huge          64 MiB of huge pages, 1/32 of it touched: "huge BYTES" asked for
 *	far           one page in each 2 MiB of 4 GiB
 *	reserve N     N TiB of addresses without access, 2 TiB with one page of them touched
 *	second LIB    3 MiB in small blocks of the malloc that LIB has
 *	exec N        N more times this program, one after the other, before it waits
 */
#ifdef SPREAD_DLOPEN
#include <dlfcn.h>
#endif
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20, STEP = 64 << 10, STACK = 2 * MIB };

static pthread_barrier_t barrier;
static volatile char sink;
static long n_thread;

static char *map(size_t bytes, int prot, int flags, int fd)
{
	char *at = mmap(NULL, bytes, prot, flags, fd, 0);

	if (at == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return at;
}

static char *anonymous(size_t bytes)
{
	return map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static void touch(char *at, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		at[i] = 1;
}

__attribute__((noinline)) static void touch_stack(size_t bytes)
{
	char block[bytes + PAGE];

	memset(block, 1, sizeof(block));
	__asm__ volatile("" ::"r"(block) : "memory");
}

static void *sleeper(void *arg)
{
	long i = (long)arg;
	char name[16];

	snprintf(name, sizeof(name), "sleeper-%ld", i);
	prctl(PR_SET_NAME, name);
	i = i % (STACK / STEP - 1); /* what fits */
	touch_stack((size_t)i * STEP);
	printf("thread %ld %ld\n", (long)syscall(SYS_gettid), i * STEP);
	pthread_barrier_wait(&barrier);
	pause();
	return NULL;
}

static void *runner(void *arg)
{
	printf("thread %ld 0\n", (long)syscall(SYS_gettid));
	pthread_barrier_wait(&barrier);
	for (;;)
		sink++;
	return arg;
}

static void *mapper(void *arg)
{
	unsigned seed = (unsigned)(long)arg;
	char *kept[64] = { 0 };

	pthread_barrier_wait(&barrier);
	for (;;) {
		unsigned i = (unsigned)rand_r(&seed) % 64, pages = 1 + (unsigned)rand_r(&seed) % 32;

		if (kept[i]) {
			munmap(kept[i], 32 * PAGE);
			kept[i] = NULL;
			continue;
		}
		kept[i] = anonymous(32 * PAGE);
		touch(kept[i], pages * PAGE);
		mprotect(kept[i], pages * PAGE, i & 1 ? PROT_READ : PROT_NONE);
	}
	return NULL;
}

static void start_threads(long n, void *(*work)(void *))
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	pthread_barrier_init(&barrier, NULL, (unsigned)n + 1);
	for (long i = 0; i < n; i++) {
		if (pthread_create(&t, &attr, work, (void *)(i + 1)))
			exit(1);
	}
	pthread_barrier_wait(&barrier);
	n_thread += n;
}

static int make_file(const char *dir, const char *name, size_t bytes)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void make_huge(void)
{
	char *at = mmap(NULL, 2 * MIB, PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);

	if (at != MAP_FAILED)
		*at = 1;
	printf("hugetlb %d\n", at == MAP_FAILED ? 0 : 2 * MIB);
}

/* A page read before it was ever written is the shared zero page. */
static void make_zero_pages(void)
{
	char *at = anonymous(MIB), *huge = anonymous(6 * MIB);

	madvise(at, MIB, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < 100; i++)
		sink += at[i * PAGE];
	huge = (char *)(((uintptr_t)huge + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
	madvise(huge, 2 * MIB, MADV_HUGEPAGE);
	sink += *huge;
	printf("zero %d\n", 100 * PAGE);
}

static void make_kinds(const char *dir)
{
	int memfd = memfd_create("spread", 0), doomed = make_file(dir, "doomed", MIB);
	int shm = shm_open("/spread-test", O_RDWR | O_CREAT | O_EXCL, 0600);
	int sysv = shmget(IPC_PRIVATE, 3 * MIB, IPC_CREAT | 0600);
	char *at, path[4096];

	if (memfd < 0 || sysv < 0 || ftruncate(memfd, 4 * MIB) < 0 ||
	    (shm >= 0 && ftruncate(shm, 2 * MIB) < 0))
		exit(1);
	touch(map(4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, memfd), 10 * PAGE);
	if (shm >= 0)
		touch(map(2 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, shm), 11 * PAGE);
	shm_unlink("/spread-test");
	at = shmat(sysv, NULL, 0);
	shmctl(sysv, IPC_RMID, NULL);
	touch(at, 12 * PAGE);
	touch(map(5 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), 13 * PAGE);
	touch(map(MIB, PROT_READ | PROT_WRITE, MAP_SHARED, doomed), 14 * PAGE);
	snprintf(path, sizeof(path), "%s/doomed", dir);
	unlink(path);
	at = anonymous(32 * MIB); /* with a tail that nothing can touch */
	madvise(at, 32 * MIB, MADV_NOHUGEPAGE);
	touch(at, 16 * MIB);
	mprotect(at + 16 * MIB, 16 * MIB, PROT_NONE);
	at = anonymous(MIB);
	touch(at, 15 * PAGE);
	if (mlock(at, 15 * PAGE) == 0)
		printf("locked %d\n", 15 * PAGE);
	make_zero_pages();
	make_huge();
}

static void make_names(const char *dir)
{
	static const char *const names[] = { "new\nline",          "\033[31mred\033[0m",
		                             "tab\tand \"quote\"", "x (deleted)",
		                             "\xff\xfe not utf-8", "back\\012slash" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		touch(map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE,
		          make_file(dir, names[i], PAGE)),
		      PAGE);
}

static void make_many(long n)
{
	for (long i = 0; i < n; i++) {
		bool is_writable = i & 1; /* or they would become one */
		char *at = map(PAGE, PROT_READ | (is_writable ? PROT_WRITE : 0),
		               MAP_PRIVATE | MAP_ANONYMOUS, -1);

		if (is_writable)
			*at = 1;
	}
}

/* One page of each is there, so that a reader has a reason to come by. */
static void make_sparse(void)
{
	int fd = memfd_create("holes", 0);
	char *private = anonymous(256 * MIB), *advised = anonymous(64 * MIB), *shared, *out;

	if (fd < 0 || ftruncate(fd, 256 * MIB) < 0)
		exit(1);
	shared = map(256 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	madvise(private, 256 * MIB, MADV_NOHUGEPAGE);
	madvise(advised, 64 * MIB, MADV_HUGEPAGE);
	private[77 * PAGE] = shared[78 * PAGE] = 1;
	map(64 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	out = anonymous(8 * MIB);
	madvise(out, 8 * MIB, MADV_NOHUGEPAGE);
	touch(out, 8 * MIB);
	madvise(out, 8 * MIB, 21 /* MADV_PAGEOUT: where there is swap */);
}

static void *ender(void *arg)
{
	pthread_barrier_wait(&barrier); /* all at once: each needs its own stack */
	return arg;
}

static void make_ended(long n)
{
	pthread_t ids[256];

	n = n < 256 ? n : 256;
	pthread_barrier_init(&barrier, NULL, (unsigned)n);
	for (long i = 0; i < n; i++) {
		if (pthread_create(&ids[i], NULL, ender, NULL))
			exit(1);
	}
	for (long i = 0; i < n; i++)
		pthread_join(ids[i], NULL);
}

static void make_huge_pages(void)
{
	char *at = anonymous(66 * MIB);

	at = (char *)(((uintptr_t)at + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
	madvise(at, 64 * MIB, MADV_HUGEPAGE);
	for (size_t i = 0; i < 64 * MIB; i += 2 * MIB)
		touch(at + i, STEP);
	for (size_t i = 0; i < 64 * MIB; i += 2 * MIB)
		memset(at + i, 1, STEP);
	printf("huge %d\n", 64 * MIB);
}

static void make_far(void)
{
	char *at = map(4ul << 30, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	madvise(at, 4ul << 30, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < 4ul << 30; i += 2 * MIB)
		at[i] = 1;
}

static void make_reserved(long n)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	map((size_t)n << 40, PROT_NONE, flags, -1);
	map(2ul << 40, PROT_READ | PROT_WRITE, flags, -1)[1ul << 40] = 1;
}

static void make_second(const char *library)
{
#ifdef SPREAD_DLOPEN
	void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	void *(*second)(size_t) = handle ? (void *(*)(size_t))dlsym(handle, "malloc") : NULL;

	if (!second) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	for (size_t i = 0; i < 3 * MIB / 1000; i++)
		memset(second(1000), 1, 1000);
	memset(malloc(5000), 1, 5000);
#else
	(void)library;
	exit(1);
#endif
}

static void exec_again(long n, char **argv)
{
	char left[24];
	char *again[] = { argv[0], (char *)"exec", left, NULL };

	if (n <= 0)
		return;
	snprintf(left, sizeof(left), "%ld", n - 1);
	execv("/proc/self/exe", again);
	exit(1);
}

static void make(char **argv, const char *word, const char *value)
{
	if (!strcmp(word, "threads"))
		start_threads(atol(value), sleeper);
	else if (!strcmp(word, "busy"))
		start_threads(atol(value), runner);
	else if (!strcmp(word, "wild"))
		start_threads(atol(value), mapper);
	else if (!strcmp(word, "kinds"))
		make_kinds(value);
	else if (!strcmp(word, "names"))
		make_names(value);
	else if (!strcmp(word, "many"))
		make_many(atol(value));
	else if (!strcmp(word, "sparse"))
		make_sparse();
	else if (!strcmp(word, "ended"))
		make_ended(atol(value));
	else if (!strcmp(word, "deep"))
		touch_stack((size_t)atol(value));
	else if (!strcmp(word, "huge"))
		make_huge_pages();
	else if (!strcmp(word, "far"))
		make_far();
	else if (!strcmp(word, "reserve"))
		make_reserved(atol(value));
	else if (!strcmp(word, "second"))
		make_second(value);
	else if (!strcmp(word, "exec"))
		exec_again(atol(value), argv);
}

int main(int argc, char **argv)
{
	char line[16];

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i += 2)
		make(argv, argv[i], i + 1 < argc ? argv[i + 1] : "");
	puts("ready");
	return fgets(line, sizeof(line), stdin) ? 0 : 1;
}
