/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the benchmarks trace: a loop of malloc/free pairs at a chosen depth of
 * the stack. Commands, one a line, are answered by a line that begins "ok":
 *
 *   spin DEPTH MS     pairs for MS milliseconds, DEPTH frames below main;
 *                     answers "ok PAIRS CPU_NS" (of this thread)
 *   crowd N DEPTH MS  the same by N threads at once; sums of all
 *   profile 0|1       jemalloc's own profiler, of a process that began with prof:true
 *   pace SPINS MS     the same, with SPINS empty turns of a loop after each pair;
 *                     CPU_NS is the wall clock's then
 *   map DEPTH MS      the same with mmap and munmap of 64 KiB, untouched
 *   many N            N blocks of 64 bytes that stay
 *   stacks N          N blocks that stay, each allocated by a path of its own
 *   fork              answers "ok PID"; the child is spoken to by "child COMMAND"
 */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FRAME          __attribute__((noinline, noclone))
#define NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

enum { RING = 16, BATCH = 1000, MAX_THREADS = 256 };

static _Thread_local void *ring[RING];
static int in_fd = STDIN_FILENO, out_fd = STDOUT_FILENO;
static int child_in = -1, child_out = -1;

static unsigned long now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000UL + t.tv_nsec;
}

FRAME static void pairs(long n)
{
	for (long i = 0; i < n; i++) {
		free(ring[i % RING]);
		ring[i % RING] = malloc(16 + (i * 16 & 511));
	}
	NO_TAIL_CALL();
}

FRAME static void deeper(long depth, long n)
{
	if (depth > 0)
		deeper(depth - 1, n);
	else
		pairs(n);
	NO_TAIL_CALL();
}

/* mmap and munmap, @n times. */
FRAME static void maps(long n)
{
	for (long i = 0; i < n; i++) {
		void *p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		               0);

		if (p == MAP_FAILED || munmap(p, 65536))
			_exit(1);
	}
	NO_TAIL_CALL();
}

FRAME static void deeper_maps(long depth, long n)
{
	if (depth > 0)
		deeper_maps(depth - 1, n);
	else
		maps(n);
	NO_TAIL_CALL();
}

static void map_loop(long depth, long ms, char *answer, size_t size)
{
	unsigned long begin = now_ns(CLOCK_MONOTONIC), n = 0;
	unsigned long cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);

	do {
		deeper_maps(depth, 10); /* a few: under strace they take long */
		n += 10;
	} while (now_ns(CLOCK_MONOTONIC) < begin + ms * 1000000UL);
	snprintf(answer, size, "ok %lu %lu %lu\n", n, now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu,
	         now_ns(CLOCK_MONOTONIC) - begin);
}

FRAME static void idle(long spins)
{
	for (volatile long i = 0; i < spins; i++)
		;
}

struct spin {
	long depth, ms;
	unsigned long pairs, cpu_ns;
};

static void *spin(void *arg)
{
	struct spin *s = arg;
	unsigned long end = now_ns(CLOCK_MONOTONIC) + s->ms * 1000000UL;
	unsigned long cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);

	do {
		deeper(s->depth, BATCH);
		s->pairs += BATCH;
	} while (now_ns(CLOCK_MONOTONIC) < end);
	s->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
	return NULL;
}

static void spin_alone(long depth, long ms, char *answer, size_t size)
{
	struct spin s = { depth, ms, 0, 0 };

	spin(&s);
	snprintf(answer, size, "ok %lu %lu\n", s.pairs, s.cpu_ns);
}

static void crowd(long n, long depth, long ms, char *answer, size_t size)
{
	static struct spin s[MAX_THREADS];
	static pthread_t threads[MAX_THREADS];
	unsigned long all = 0, cpu = 0;

	n = n < MAX_THREADS ? n : MAX_THREADS;
	for (long i = 0; i < n; i++) {
		s[i] = (struct spin){ depth, ms, 0, 0 };
		if (pthread_create(&threads[i], NULL, spin, &s[i]))
			_exit(1);
	}
	for (long i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		all += s[i].pairs;
		cpu += s[i].cpu_ns;
	}
	snprintf(answer, size, "ok %lu %lu\n", all, cpu);
}

static void profile(long on, char *answer, size_t size)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t) = (int (*)(
		const char *, void *, size_t *, void *, size_t))dlsym(RTLD_DEFAULT, "mallctl");
	bool value = on;

	if (!mallctl || mallctl("prof.active", NULL, NULL, &value, sizeof(value)))
		snprintf(answer, size, "no profiler\n");
}

static void pace(long spins, long ms, char *answer, size_t size)
{
	unsigned long begin = now_ns(CLOCK_MONOTONIC), n = 0;

	do {
		for (int i = 0; i < 20; i++) {
			pairs(1);
			idle(spins);
		}
		n += 20;
	} while (now_ns(CLOCK_MONOTONIC) < begin + ms * 1000000UL);
	snprintf(answer, size, "ok %lu %lu\n", n, now_ns(CLOCK_MONOTONIC) - begin);
}

FRAME static void many(long n)
{
	static void *volatile kept;

	for (long i = 0; i < n; i++)
		kept = malloc(64);
	NO_TAIL_CALL();
}

/* One of 2^24 paths of 24 frames: left or right at each bit of @n. */
static void path(unsigned long n, int bits);

FRAME static void left(unsigned long n, int bits)
{
	path(n, bits);
	NO_TAIL_CALL();
}

FRAME static void right(unsigned long n, int bits)
{
	path(n, bits);
	__asm__ volatile("nop" ::: "memory"); /* else the compiler makes one function of both */
}

FRAME static void path(unsigned long n, int bits)
{
	static void *volatile kept;

	if (!bits)
		kept = malloc(32);
	else if (n & 1)
		left(n >> 1, bits - 1);
	else
		right(n >> 1, bits - 1);
	NO_TAIL_CALL();
}

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

static void put(const char *text)
{
	if (write(out_fd, text, strlen(text)) < 0)
		_exit(1);
}

static void start_child(char *answer, size_t size)
{
	int down[2], up[2];
	pid_t pid;

	if (pipe(down) < 0 || pipe(up) < 0 || (pid = fork()) < 0)
		_exit(1);
	if (!pid) {
		in_fd = down[0];
		out_fd = up[1];
		close(down[1]);
		close(up[0]);
		answer[0] = 0;
		return;
	}
	close(down[0]);
	close(up[1]);
	child_in = down[1];
	child_out = up[0];
	snprintf(answer, size, "ok %d\n", pid);
}

static void ask_child(const char *command, char *answer, size_t size)
{
	if (child_in < 0 || write(child_in, command, strlen(command)) < 0 ||
	    write(child_in, "\n", 1) < 0 || !read_line(child_out, answer, size - 1))
		_exit(1);
	strncat(answer, "\n", 1);
}

static void serve(const char *line)
{
	char answer[256] = "ok\n";
	long a = 0, b = 0, c = 0;

	if (sscanf(line, "spin %ld %ld", &a, &b) == 2)
		spin_alone(a, b, answer, sizeof(answer));
	else if (sscanf(line, "crowd %ld %ld %ld", &a, &b, &c) == 3)
		crowd(a, b, c, answer, sizeof(answer));
	else if (sscanf(line, "profile %ld", &a) == 1)
		profile(a, answer, sizeof(answer));
	else if (sscanf(line, "pace %ld %ld", &a, &b) == 2)
		pace(a, b, answer, sizeof(answer));
	else if (sscanf(line, "map %ld %ld", &a, &b) == 2)
		map_loop(a, b, answer, sizeof(answer));
	else if (sscanf(line, "many %ld", &a) == 1)
		many(a);
	else if (sscanf(line, "stacks %ld", &a) == 1)
		for (long i = 0; i < a; i++)
			path(i * 0x9E3779B1UL >> 4, 24);
	else if (!strcmp(line, "fork"))
		start_child(answer, sizeof(answer));
	else if (!strncmp(line, "child ", 6))
		ask_child(line + 6, answer, sizeof(answer));
	else
		snprintf(answer, sizeof(answer), "unknown\n");
	put(answer);
}

int main(void)
{
	char line[256];

	signal(SIGCHLD, SIG_IGN);
	put("ready\n");
	while (read_line(in_fd, line, sizeof(line)))
		serve(line);
	return 0;
}
