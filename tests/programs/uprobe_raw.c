/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * A uprobe as perf sets it, at any offset of a file: uprobe_raw PATH OFFSET PID.
 * Prints "set", and at the end of its input how often it was hit; 77: not to be
 * had here.
 */

#include <errno.h>
#include <inttypes.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static uint32_t uprobe_type(void)
{
	FILE *f = fopen("/sys/bus/event_source/devices/uprobe/type", "re");
	unsigned type = 0;

	if (f && fscanf(f, "%u", &type) != 1)
		type = 0;
	if (f)
		fclose(f);
	return type;
}

int main(int argc, char **argv)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .type = uprobe_type() };
	uint64_t hits = 0;
	char c;
	int fd;

	if (argc != 4)
		return 2;
	attr.uprobe_path = (uintptr_t)argv[1];
	attr.probe_offset = strtoull(argv[2], NULL, 0);
	fd = attr.type ? (int)syscall(SYS_perf_event_open, &attr, atoi(argv[3]), -1, -1,
	                              PERF_FLAG_FD_CLOEXEC)
	               : -1;
	if (fd < 0) {
		perror("perf_event_open");
		return attr.type && errno != EACCES && errno != EPERM ? 1 : 77;
	}
	puts("set");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	if (read(fd, &hits, sizeof(hits)) != sizeof(hits))
		return 1;
	printf("%" PRIu64 "\n", hits);
	return 0;
}
