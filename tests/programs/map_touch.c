/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Touches memory in all the ways that memwho map --by touched must tell apart,
 * each in a function of its own. Prints "ready", waits for a line, works,
 * prints "done", waits for another line.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20 };

static int sink;

static void keep(void)
{
	__asm__ volatile("" ::: "memory");
}

static char *anonymous(size_t bytes, int more)
{
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | more, -1,
	               0);

	if (p == MAP_FAILED)
		_exit(1);
	keep();
	return p;
}

__attribute__((noinline)) static char *touch_map(void)
{
	char *p = anonymous(8 * MIB, 0);

	keep();
	return p;
}

__attribute__((noinline)) static void touch_user(char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		p[i] = 1;
	keep();
}

/* The kernel writes there: the fault is in kernel mode. */
__attribute__((noinline)) static void touch_kernel(char *p, size_t bytes)
{
	int fd = open("/dev/zero", O_RDONLY);

	if (read(fd, p, bytes) != (ssize_t)bytes)
		_exit(1);
	close(fd);
	keep();
}

__attribute__((noinline)) static void touch_populate(void)
{
	anonymous(3 * MIB, MAP_POPULATE);
	keep();
}

/* A fault on a page of a file brings in those around it. */
__attribute__((noinline)) static void touch_file(const char *path)
{
	int fd = open(path, O_RDONLY);
	char *p = mmap(NULL, MIB, PROT_READ, MAP_PRIVATE, fd, 0);

	if (p == MAP_FAILED)
		_exit(1);
	for (size_t i = 0; i < MIB; i += 1 << 16)
		sink += p[i];
	keep();
}

/* One fault, 2 MiB. */
__attribute__((noinline)) static void touch_huge(void)
{
	char *p = anonymous(4 * MIB, 0);

	p += -(unsigned long)p & (2 * MIB - 1);
	madvise(p, 2 * MIB, MADV_HUGEPAGE);
	p[5] = 1;
	keep();
}

/* Reads only: the shared zero page, which is not resident. */
__attribute__((noinline)) static void touch_zero(char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i += PAGE)
		sink += p[i];
	keep();
}

static void wait_for_line(void)
{
	char c = 0;

	while (c != '\n') {
		if (read(STDIN_FILENO, &c, 1) != 1)
			_exit(0);
	}
}

static void say(const char *word)
{
	if (write(STDOUT_FILENO, word, strlen(word)) < 0)
		_exit(1);
}

int main(int argc, char **argv)
{
	char *p, *before = anonymous(MIB, 0);

	touch_user(before, MIB / 2);
	say("ready\n");
	wait_for_line();
	p = touch_map();
	touch_user(p, 2 * MIB);
	touch_kernel(p + 2 * MIB, MIB);
	touch_zero(p + 4 * MIB, MIB);
	touch_populate();
	touch_file(argc > 1 ? argv[1] : argv[0]);
	touch_huge();
	/* given back, and half of that touched again by another */
	madvise(p, MIB, MADV_DONTNEED);
	touch_kernel(p, MIB / 2);
	/* moves with its pages */
	if (mremap(p + 2 * MIB, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, p + 6 * MIB) == MAP_FAILED)
		_exit(1);
	touch_user(before, MIB); /* the first half was touched before */
	say("done\n");
	wait_for_line();
	return sink == 12345;
}
