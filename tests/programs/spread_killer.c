/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Loaded into memwho (LD_PRELOAD): kills the process KILLER_PID before memwho's
 * KILLER_AT-th look at files (openat, pread, read, ioctl, readlinkat) and waits until it
 * is dead; says how many looks there were in the file KILLER_COUNT.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long looks;

static int is_dead(long pid)
{
	char path[64], text[512];
	char *state;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
	if (fd < 0)
		return 1;
	n = syscall(SYS_read, fd, text, sizeof(text) - 1);
	syscall(SYS_close, fd);
	text[n > 0 ? n : 0] = '\0';
	state = strrchr(text, ')');
	return !state || state[2] == 'Z' || state[2] == 'X';
}

static void look(void)
{
	const char *pid = getenv("KILLER_PID"), *at = getenv("KILLER_AT");

	if (!pid || !at || ++looks != atol(at))
		return;
	kill((pid_t)atol(pid), SIGKILL);
	while (!is_dead(atol(pid)))
		usleep(100);
}

int openat(int dir, const char *path, int flags, ...)
{
	mode_t mode = 0;

	if (flags & O_CREAT) {
		va_list ap;

		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	look();
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

ssize_t pread(int fd, void *buf, size_t n, off_t at)
{
	look();
	return syscall(SYS_pread64, fd, buf, n, at);
}

ssize_t read(int fd, void *buf, size_t n)
{
	look();
	return syscall(SYS_read, fd, buf, n);
}

ssize_t readlinkat(int dir, const char *path, char *buf, size_t n)
{
	look();
	return syscall(SYS_readlinkat, dir, path, buf, n);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	look();
	return (int)syscall(SYS_ioctl, fd, request, arg);
}

__attribute__((destructor)) static void tell(void)
{
	const char *path = getenv("KILLER_COUNT");
	FILE *f = path ? fopen(path, "w") : NULL;

	if (f) {
		fprintf(f, "%ld\n", looks);
		fclose(f);
	}
}
