/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/minidebug.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <lzma.h>

#include "base/cleanup.h"
#include "base/log.h"

enum {
	PACKED_MAX = 64 << 20,
	UNPACKED_MAX = 256 << 20,
	DECODER_MAX = 256 << 20, /* memory of the xz decoder: a dictionary's size */
};

static int write_all(int fd, const uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t n = write(fd, buf, len);

		if (n < 0)
			return -errno;
		buf += n;
		len -= n;
	}
	return 0;
}

static int unpack_to(lzma_stream *xz, int fd)
{
	uint8_t buf[1 << 16];
	size_t total = 0;
	lzma_ret r;

	do {
		xz->next_out = buf;
		xz->avail_out = sizeof(buf);
		r = lzma_code(xz, LZMA_FINISH);
		if (r != LZMA_OK && r != LZMA_STREAM_END)
			return -EBADMSG;
		total += sizeof(buf) - xz->avail_out;
		if (total > UNPACKED_MAX)
			return -EFBIG;
		if (write_all(fd, buf, sizeof(buf) - xz->avail_out) < 0)
			return -EIO;
	} while (r != LZMA_STREAM_END);
	return 0;
}

static int unpack(const void *data, size_t len, int fd)
{
	lzma_stream xz = LZMA_STREAM_INIT;
	int r;

	if (lzma_stream_decoder(&xz, DECODER_MAX, 0) != LZMA_OK)
		return -ENOMEM;
	xz.next_in = data;
	xz.avail_in = len;
	r = unpack_to(&xz, fd);
	lzma_end(&xz);
	return r;
}

int minidebug_open(struct elf_file *stripped, struct elf_file **ret)
{
	cleanup_free void *data = NULL;
	cleanup_close int fd = -1;
	struct elf_section section;
	struct error err = { 0 };
	size_t len;
	int r;

	if (!elf_file_section(stripped, ".gnu_debugdata", &section))
		return -ENOENT;
	r = elf_file_section_data(stripped, &section, PACKED_MAX, &data, &len, &err);
	if (r == 0) {
		fd = memfd_create("memwho-minidebug", MFD_CLOEXEC);
		r = fd < 0 ? -errno : unpack(data, len, fd);
	}
	if (r == 0)
		r = elf_file_open(take_fd(fd), ".gnu_debugdata", ret, &err);
	if (r < 0)
		log_note(LOG_WARN, "%s: its .gnu_debugdata can't be used: %s",
		         elf_file_name(stripped), err.code ? err.message : strerror(-r));
	return r;
}
