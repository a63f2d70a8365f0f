/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * charge WORD...: fills a cgroup in known ways, prints "ready" and waits for a
 * line (or forever, where there is no standard input). In this order:
 *	cgroup DIR      first move there (DIR/cgroup.procs)
 *	anon MIB        touched anonymous memory
 *	file PATH MIB   write a file; it stays in the page cache, nothing maps it
 *	memfd MIB       a memfd, written, not mapped
 *	mapped MIB      a memfd, written through a mapping
 *	threads N       N threads that sleep
 *	sparse N        N pages far from each other: a page table each
 *	pairs N         N socket pairs, full
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20, PAGE = 4096, FAR = 2 * MIB };

static char block[MIB];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static char *map(size_t bytes, int flags, int fd)
{
	char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void move(const char *dir)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%d\n", getpid()) < 0 || fclose(f))
		die(path);
}

static void fill(int fd, long mib)
{
	for (long i = 0; i < mib; i++) {
		if (write(fd, block, MIB) != MIB)
			die("write");
	}
	/* dirty pages would be written back while they are counted */
	fsync(fd);
}

static void *sleeper(void *arg)
{
	pause();
	return arg;
}

static void start(long n)
{
	pthread_attr_t attr;
	pthread_t t;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (long i = 0; i < n; i++) {
		if (pthread_create(&t, &attr, sleeper, NULL))
			die("pthread_create");
	}
}

static void pair(void)
{
	int s[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s))
		die("socketpair");
	while (write(s[0], block, 16 << 10) > 0)
		;
}

static void make(const char *word, const char *path, long n)
{
	if (!strcmp(word, "anon")) {
		memset(map((size_t)n * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1), 1, (size_t)n * MIB);
	} else if (!strcmp(word, "file")) {
		fill(open(path, O_RDWR | O_CREAT | O_TRUNC, 0600), n);
	} else if (!strcmp(word, "memfd")) {
		fill(memfd_create("charge", 0), n);
	} else if (!strcmp(word, "mapped")) {
		int fd = memfd_create("charge-mapped", 0);

		if (ftruncate(fd, n * MIB))
			die("ftruncate");
		memset(map((size_t)n * MIB, MAP_SHARED, fd), 1, (size_t)n * MIB);
	} else if (!strcmp(word, "threads")) {
		start(n);
	} else if (!strcmp(word, "sparse")) {
		char *at = map((size_t)n * FAR, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

		madvise(at, (size_t)n * FAR, MADV_NOHUGEPAGE);
		for (long i = 0; i < n; i++)
			at[i * FAR] = 1;
	} else if (!strcmp(word, "pairs")) {
		for (long i = 0; i < n; i++)
			pair();
	} else {
		fprintf(stderr, "charge: %s?\n", word);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	memset(block, 2, sizeof(block));
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "cgroup")) {
			move(argv[i + 1]);
		} else if (!strcmp(argv[i], "file") && i + 2 < argc) {
			make(argv[i], argv[i + 1], atol(argv[i + 2]));
			i++;
		} else {
			make(argv[i], NULL, atol(argv[i + 1]));
		}
	}
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		pause();
	return 0;
}
