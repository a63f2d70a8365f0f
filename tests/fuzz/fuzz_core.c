/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A core file: headers, notes, segments, reads at their edges. */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void read_edges(struct image *i)
{
	struct error err;
	uint64_t v;

	for (size_t k = 0; k < image_n_segments(i) && k < 64; k++) {
		const struct image_segment *s = image_segment(i, k);

		sink += image_read(i, s->start, &v, sizeof(v)) == 0 ? v : 0;
		sink += image_read(i, s->end - 4, &v, sizeof(v)) == 0 ? v : 0;
		sink += image_at(i, s->start, s->end - s->start) != NULL;
		sink += s->path[0];
	}
	sink += image_exe(i, &v, &err) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct image_options o = { .exe = "/nonexistent" };
	cleanup(image_closep) struct image *i = NULL;
	cleanup_close int fd = memfd_create("core", MFD_CLOEXEC);
	struct error err;
	char path[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (image_open_core(path, &o, &i, &err) == 0)
		read_edges(i);
	return 0;
}
