/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "target/elf_file_internal.h"

/* gABI of 2022; glibc's elf.h has it since 2.36 */
#ifndef ELFCOMPRESS_ZSTD
#define ELFCOMPRESS_ZSTD 2
#endif

static int inflate_zlib(const uint8_t *data, size_t len, uint8_t *out, size_t out_len)
{
	z_stream z = { .next_in = (uint8_t *)data, .next_out = out };
	size_t in_left = len, out_left = out_len;
	int r;

	if (inflateInit(&z) != Z_OK)
		return -ENOMEM;
	do { /* avail_* are 32 bits wide */
		uInt in = in_left < 1u << 30 ? in_left : 1u << 30;
		uInt room = out_left < 1u << 30 ? out_left : 1u << 30;

		z.avail_in = in;
		z.avail_out = room;
		r = inflate(&z, Z_NO_FLUSH);
		in_left -= in - z.avail_in;
		out_left -= room - z.avail_out;
	} while (r == Z_OK); /* no progress is Z_BUF_ERROR */
	inflateEnd(&z);
	return r != Z_STREAM_END || out_left ? -EBADMSG : 0;
}

static int inflate_zstd(const uint8_t *data, size_t len, uint8_t *out, size_t out_len)
{
	size_t n = ZSTD_decompress(out, out_len, data, len);

	return ZSTD_isError(n) || n != out_len ? -EBADMSG : 0;
}

int elf_inflate(const void *data, size_t len, size_t max_bytes, void **ret, size_t *ret_len,
                struct error *err)
{
	cleanup_free uint8_t *out = NULL;
	const uint8_t *packed = (const uint8_t *)data + sizeof(Elf64_Chdr);
	Elf64_Chdr h;
	int r;

	if (len < sizeof(h))
		return error_set(err, EBADMSG, "compressed section without a header");
	memcpy(&h, data, sizeof(h));
	if (h.ch_size > max_bytes)
		return error_set(err, EFBIG, "compressed section of %llu bytes is too big",
		                 (unsigned long long)h.ch_size);
	out = malloc(h.ch_size + 1);
	if (!out)
		return error_oom(err);
	if (h.ch_type == ELFCOMPRESS_ZLIB)
		r = inflate_zlib(packed, len - sizeof(h), out, h.ch_size);
	else if (h.ch_type == ELFCOMPRESS_ZSTD)
		r = inflate_zstd(packed, len - sizeof(h), out, h.ch_size);
	else
		return error_set(err, ENOTSUP, "section compressed by method %u", h.ch_type);
	if (r < 0)
		return error_set(err, -r, "compressed section is damaged");
	out[h.ch_size] = '\0';
	*ret_len = h.ch_size;
	*ret = take_ptr(out);
	return 0;
}
