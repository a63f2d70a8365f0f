/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/space.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

int space_open(const struct target *t)
{
	int fd = openat(t->proc_fd, "pagemap", O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

bool space_is_there(int fd)
{
	uint64_t entry;

	/* not the first page: reading there is refused on some kernels */
	return fd < 0 || pread(fd, &entry, sizeof(entry), sizeof(entry)) > 0;
}
