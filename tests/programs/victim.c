/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A process whose threads check their own work while somebody makes calls in
 * them: victim BOARD MODES. One thread a letter; the board is a file that both
 * sides map (struct board).
 *
 *	c  computes: vector, x87, direction flag, errno
 *	a  allocates, fills, checks, frees
 *	n  sleeps 20 ms, N 300 ms, and looks at the clock
 *	e  waits in epoll_wait, f in futex, r in read; the test wakes them
 *	q  increments per-CPU counters in restartable sequences
 *	s  prints to /dev/null
 *	t  makes a thread that allocates, frees all of it and ends
 *	v  waits for a vfork child that sleeps 1.5 s
 *	A  allocates a little, and sleeps 8 ms; and besides that: F forks a child that allocates, d
 *loads and unloads a library, k sends signals to the others (all four: victim-busy only)
 *
 * Further arguments make the process an odd one (odd(), below).
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define HAS_RSEQ 1
#endif

enum { MAX_THREADS = 64, BLOCKS = 512, TIMES = 2000 };

struct board {
	uint64_t rounds[MAX_THREADS];
	uint64_t bad, eintr, short_sleeps, ready;
	uint64_t rseq_counted, rseq_done;
	uint32_t futex_word, pad;
};

/* As the board's rounds, in memory that a copy has for itself. */
volatile uint64_t victim_rounds[MAX_THREADS];

static struct board *board;
static const char *modes;
static int wake_pipe[2]; /* 'e' waits for its reading end */

static void note(uint64_t *what, uint64_t n)
{
	__atomic_fetch_add(what, n, __ATOMIC_RELAXED);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- c ---- */

#if defined(__x86_64__)
/* Sums live in vector registers and one on the x87 stack all the while. */
__attribute__((noinline, target("avx2"))) static int wrong_sums(void)
{
	const __m256d one = _mm256_set1_pd(1);
	__m256d sums[10], step = _mm256_setzero_pd();
	long double x87 = 0;
	int wrong = 0;

	for (int i = 0; i < 10; i++)
		sums[i] = _mm256_set1_pd(i);
	for (int round = 0; round < 60000; round++) {
#pragma GCC unroll 10
		for (int i = 0; i < 10; i++)
			sums[i] = _mm256_add_pd(sums[i], step);
		step = _mm256_add_pd(step, one);
		x87 += 0.5L;
		__asm__ volatile("" : "+x"(step), "+t"(x87)::"memory");
	}
	wrong += x87 != 30000.0L;
	for (int i = 0; i < 10; i++) {
		double lanes[4];

		_mm256_storeu_pd(lanes, sums[i]);
		for (int k = 0; k < 4; k++)
			wrong += lanes[k] != 59999.0 * 30000.0 + i;
	}
	return wrong;
}

/* An overlapping copy downwards, which needs the direction flag. */
__attribute__((noinline)) static int wrong_copy(void)
{
	static __thread char bytes[8192];
	int wrong = 0;

	for (int i = 0; i < 8192; i++)
		bytes[i] = (char)(i * 7);
	for (int round = 0; round < 5; round++) {
		char *from = bytes + 4095, *to = bytes + 4195;
		long n = 4096;

		__asm__ volatile("std; rep movsb; cld" : "+S"(from), "+D"(to), "+c"(n)::"memory");
	}
	for (int i = 0; i < 100; i++)
		wrong += bytes[i] != (char)(i * 7);
	return wrong;
}
#else
static int wrong_sums(void)
{
	return 0;
}
static int wrong_copy(void)
{
	return 0;
}
#endif

static void compute(void)
{
	volatile int *error = &errno; /* the compiler knows nothing of it */
	int wrong;

	*error = 4242;
	wrong = wrong_sums();
	wrong += *error != 4242;
	wrong += wrong_copy();
	if (wrong)
		note(&board->bad, (uint64_t)wrong);
}

/* ---- a ---- */

static __thread unsigned char *blocks[BLOCKS];
static __thread size_t sizes[BLOCKS];

static void allocate(uint64_t *seed, int times)
{
	for (int i = 0; i < times; i++) {
		size_t k, size;

		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		k = (*seed >> 33) % BLOCKS;
		size = 16 + (*seed >> 40) % 3000;
		if ((*seed & 1023) == 7)
			size += 300000;
		for (size_t at = 0; blocks[k] && at < sizes[k]; at += 97) {
			if (blocks[k][at] != (unsigned char)k)
				note(&board->bad, 1);
		}
		free(blocks[k]);
		blocks[k] = malloc(size);
		if (!blocks[k])
			abort();
		memset(blocks[k], (int)k, size);
		sizes[k] = size;
	}
}

/* ---- t ---- */

static void *short_life(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;

	allocate(&seed, TIMES / 20);
	for (size_t k = 0; k < BLOCKS; k++)
		free(blocks[k]);
	return NULL;
}

static void come_and_go(uint64_t *seed)
{
	pthread_t thread;

	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	if (pthread_create(&thread, NULL, short_life, seed) || pthread_join(thread, NULL))
		note(&board->bad, 1);
}

/* ---- n e f r ---- */

static void sleep_for(long ms)
{
	const struct timespec t = { 0, ms * 1000000 };
	double start = now();

	if (nanosleep(&t, NULL))
		note(&board->eintr, 1);
	else if (now() - start < (double)ms * 1e-3)
		note(&board->short_sleeps, 1);
}

static void wait_epoll(int epoll)
{
	struct epoll_event event;
	char c;

	if (epoll_wait(epoll, &event, 1, -1) < 0)
		note(&board->eintr, 1);
	else if (read(wake_pipe[0], &c, 1) < 0 && errno != EAGAIN)
		note(&board->eintr, 1);
}

static void wait_futex(void)
{
	uint32_t seen = __atomic_load_n(&board->futex_word, __ATOMIC_RELAXED);

	if (syscall(SYS_futex, &board->futex_word, FUTEX_WAIT, seen, NULL, NULL, 0) < 0 &&
	    errno == EINTR)
		note(&board->eintr, 1);
}

static void wait_read(void)
{
	char bytes[8];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (n < 0)
		note(&board->eintr, 1);
	if (n == 0)
		pause();
}

/* ---- v ---- */

/* The child has the parent's memory for as long as it sleeps; the parent's thread stands still. */
static void wait_for_vfork(void)
{
	const struct timespec t = { 1, 500000000 };
	pid_t child = vfork();

	if (child == 0) {
		nanosleep(&t, NULL);
		_exit(0);
	}
	if (child < 0 || waitpid(child, NULL, 0) != child)
		note(&board->bad, 1);
}

/* ---- q ---- */

#if defined(HAS_RSEQ) && defined(__x86_64__)
static long counters[8][16];

/* counters[cpu]++, guarded by nothing but the kernel's restart; long enough that
 * a stop falls into it. */
static void rseq_increment(int spin)
{
	volatile struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() +
	                                           __rseq_offset);
	uint32_t cpu;
	long *counter;

again:
	cpu = rs->cpu_id_start;
	counter = counters[cpu & 7];
	/* clang-format off */
	__asm__ volatile goto(
		".pushsection __rseq_cs, \"aw\"\n.balign 32\n"
		"3: .long 0, 0\n.quad 1f, (2f - 1f), 4f\n.popsection\n"
		"leaq 3b(%%rip), %%rax\nmovq %%rax, %[cs]\n"
		"1:\ncmpl %[cpu], %[id]\njnz 4f\n"
		"movq (%[p]), %%rcx\nmovl %[spin], %%edx\n5: decl %%edx\njnz 5b\n"
		"incq %%rcx\nmovq %%rcx, (%[p])\n2:\n"
		".pushsection .text.rsabort, \"ax\"\n.byte 0x0f, 0xb9, 0x3d\n.long 0x53053053\n"
		"4: jmp %l[aborted]\n.popsection\n"
		:: [cs] "m"(rs->rseq_cs), [cpu] "r"(cpu), [id] "m"(rs->cpu_id), [p] "r"(counter),
		   [spin] "r"(spin)
		: "rax", "rcx", "rdx", "memory", "cc" : aborted);
	/* clang-format on */
	return;
aborted:
	goto again;
}

static void count_by_rseq(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < 200; i++)
		rseq_increment(3000);
	note(&board->rseq_done, 200);
	for (int i = 0; i < 8; i++)
		sum += (uint64_t)counters[i][0];
	__atomic_store_n(&board->rseq_counted, sum, __ATOMIC_RELAXED);
}
#else
static void count_by_rseq(void)
{
	sleep_for(1);
}
#endif

/* ---- s ---- */

static void print_lines(void)
{
	static __thread FILE *to;

	if (!to)
		to = fopen("/dev/null", "w");
	for (int i = 0; to && i < 200; i++) {
		fprintf(to, "%d %s %f\n", i, "x", i * .5);
		fflush(to);
	}
}

/* ---- F d k ---- */

#ifdef BUSY
static pthread_t threads[MAX_THREADS];
static char plugin[4096];

static void catch_signal(int number)
{
	volatile char used[512];

	for (size_t i = 0; i < sizeof(used); i++)
		used[i] = (char)number;
}

static void be_busy(void)
{
	struct sigaction action = { .sa_handler = catch_signal, .sa_flags = SA_RESTART };
	ssize_t n = readlink("/proc/self/exe", plugin, sizeof(plugin) - 64);

	if (n < 0 || sigaction(SIGUSR1, &action, NULL))
		abort();
	plugin[n] = 0;
	n = strrchr(plugin, '/') + 1 - plugin;
	snprintf(plugin + n, sizeof(plugin) - (size_t)n, "stress_first.so");
}

static void fork_child(uint64_t *seed)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		uint64_t bad = board->bad;

		allocate(seed, TIMES);
		_exit(board->bad != bad);
	}
	if (child < 0 || waitpid(child, &status, 0) != child || status)
		note(&board->bad, 1);
}

static void load_library(void)
{
	void *library = dlopen(plugin, RTLD_NOW);
	void *(*site)(size_t) = NULL;

	if (library)
		*(void **)&site = dlsym(library, "first_site");
	if (site)
		free(site(100));
	if (!site || dlclose(library))
		note(&board->bad, 1);
}

static void send_signals(uint64_t *seed)
{
	for (int i = 0; i < 20; i++) {
		*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
		pthread_kill(threads[(*seed >> 33) % strlen(modes)], SIGUSR1);
		usleep(500);
	}
}

static void be_busy_as(char how, uint64_t *seed)
{
	allocate(seed, TIMES / 20);
	if (how == 'F')
		fork_child(seed);
	else if (how == 'd')
		load_library();
	else if (how == 'k')
		send_signals(seed);
	usleep(8000); /* so that 64 of them leave something of two processors */
}
#else
static pthread_t threads[MAX_THREADS];
static void be_busy(void)
{
}
static void be_busy_as(char how, uint64_t *seed)
{
	(void)how;
	(void)seed;
	abort();
}
#endif

static void *work(void *arg)
{
	long i = (long)arg;
	uint64_t seed = (uint64_t)i * 7919 + 1;
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(0);

	epoll_ctl(epoll, EPOLL_CTL_ADD, wake_pipe[0], &event);
	for (;; note(&board->rounds[i], 1)) {
		victim_rounds[i]++;
		switch (modes[i]) {
		case 'c': compute(); break;
		case 'a': allocate(&seed, TIMES); break;
		case 'n': sleep_for(20); break;
		case 'N': sleep_for(300); break;
		case 'e': wait_epoll(epoll); break;
		case 'f': wait_futex(); break;
		case 'r': wait_read(); break;
		case 'q': count_by_rseq(); break;
		case 's': print_lines(); break;
		case 't': come_and_go(&seed); break;
		case 'v': wait_for_vfork(); break;
		case 'A':
		case 'F':
		case 'd':
		case 'k': be_busy_as(modes[i], &seed); break;
		default: return NULL;
		}
	}
}

/* ---- odd processes ---- */

static char **arguments;

/* Becomes another program, the same one, again and again. */
static void *exec_soon(void *arg)
{
	usleep(30000);
	execv("/proc/self/exe", arguments);
	return arg;
}

/* No more address space than what is in use. */
static int fill_address_space(void)
{
	struct rlimit limit = { 4096, 4096 };

	return setrlimit(RLIMIT_AS, &limit);
}

/* A program of BPF, in a file; over all threads, or this one alone. */
static int install_filter(const char *path, int all)
{
	static struct sock_filter code[4096];
	struct sock_fprog program = { .filter = code };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, code, sizeof(code));

	if (n <= 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	close(fd);
	program.len = (unsigned short)((size_t)n / sizeof(*code));
	/* SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC */
	return (int)syscall(SYS_seccomp, 1, all, &program);
}

/* What main() has to do when all threads have started; 0 or an exit status. */
static int odd(const char *how)
{
	pthread_t thread;

	if (!strcmp(how, "gone")) /* the first thread becomes a zombie, the process lives on */
		pthread_exit(NULL);
	if (!strcmp(how, "exec"))
		return pthread_create(&thread, NULL, exec_soon, NULL);
	if (!strcmp(how, "full"))
		return fill_address_space() ? 1 : 0;
	for (char **a = arguments + 3; *a; a++) {
		if (!strncmp(*a, "filter=", 7) && install_filter(*a + 7, 1))
			return 1;
		if (!strncmp(*a, "filter-one=", 11) && install_filter(*a + 11, 0))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *how = argc > 3 ? argv[3] : "";
	const int is_gone = !strcmp(how, "gone");
	int fd;

	if (argc < 3 || strlen(argv[2]) > MAX_THREADS)
		return 2;
	modes = argv[2];
	threads[0] = pthread_self();
	arguments = argv;
	be_busy();
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct board)))
		return 1;
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (board == MAP_FAILED || pipe2(wake_pipe, O_NONBLOCK))
		return 1;
	/* "mdwe": memory that was writable may never become executable */
	if (!strcmp(how, "mdwe") && prctl(65, 1, 0, 0, 0))
		return 77;
	printf("%d\n", wake_pipe[1]); /* the test writes into it through /proc */
	fflush(stdout);
	for (long i = is_gone ? 0 : 1; modes[i]; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	if (!is_gone && (fd = odd(how)))
		return fd;
	__atomic_store_n(&board->ready, 1, __ATOMIC_RELEASE);
	if (is_gone)
		odd(how);
	work(NULL);
	return 0;
}
