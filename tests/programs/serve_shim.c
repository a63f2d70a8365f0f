/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into memwho serve by tests.
 *
 *   SHIM_AHEAD=FILE  its monotonic clocks are ahead by the seconds that the file has (int64),
 *                    which may change at any time
 *   SHIM_KILL=TEXT   it is killed just before it gives a file a name that has TEXT in it
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead;
static const char *kill_at;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("SHIM_AHEAD");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*ahead), PROT_READ, MAP_SHARED, fd, 0);

	if (at != MAP_FAILED)
		ahead = at;
	if (fd >= 0)
		close(fd);
	kill_at = getenv("SHIM_KILL");
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	long r = syscall(SYS_clock_gettime, id, t);

	if (r == 0 && ahead && (id == CLOCK_MONOTONIC || id == CLOCK_BOOTTIME))
		t->tv_sec += *ahead;
	return (int)r;
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
	if (kill_at && strstr(to, kill_at))
		kill(getpid(), SIGKILL);
	return (int)syscall(SYS_renameat, from_folder, from, to_folder, to);
}
