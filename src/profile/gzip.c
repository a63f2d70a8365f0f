/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/gzip.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	GZIP_WINDOW = 15 + 16, /* zlib.h: + 16 means a gzip header */
	CHUNK_BYTES = 64 * 1024,
};

bool gzip_is(const void *data, size_t len)
{
	const uint8_t *p = data;

	return len >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

static void deflate_end(z_stream *z)
{
	deflateEnd(z);
}

static void inflate_end(z_stream *z)
{
	inflateEnd(z);
}

/* zlib counts in unsigned int. */
static unsigned int step(size_t left)
{
	return left < UINT_MAX / 2 ? (unsigned int)left : UINT_MAX / 2;
}

/* The next piece of input, when the last is used up. */
static void feed(z_stream *z, const uint8_t **at, size_t *left)
{
	if (z->avail_in)
		return;
	z->next_in = (Bytef *)*at;
	z->avail_in = step(*left);
	*at += z->avail_in;
	*left -= z->avail_in;
}

int gzip_write(const void *data, size_t len, FILE *to, struct error *err)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK_BYTES);
	cleanup(deflate_end) z_stream z = { 0 };
	const uint8_t *at = data;
	int r = Z_OK;

	/* level 6: a profile is mostly small varints, 9 wins 2 % for thrice the time */
	if (!chunk || deflateInit2(&z, 6, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return error_oom(err);
	while (r != Z_STREAM_END) {
		size_t n;

		feed(&z, &at, &len);
		z.next_out = chunk;
		z.avail_out = CHUNK_BYTES;
		r = deflate(&z, len ? Z_NO_FLUSH : Z_FINISH);
		if (r == Z_STREAM_ERROR)
			return error_set(err, EIO, "zlib could not pack the profile");
		n = CHUNK_BYTES - z.avail_out;
		if (fwrite(chunk, 1, n, to) != n)
			return error_sys(err, errno ? errno : EIO, "write");
	}
	return 0;
}

struct output {
	uint8_t *bytes;
	size_t n, cap;
};

static void output_clear(struct output *out)
{
	free(out->bytes);
}

static int bad(struct error *err, const z_stream *z)
{
	return error_set(err, EBADMSG, "damaged gzip data: %s", z->msg ? z->msg : "it ends early");
}

static int inflate_some(z_stream *z, struct output *out, size_t max, struct error *err)
{
	int r;

	if (out->n >= max)
		return error_set(err, EFBIG, "unpacks to more than %zu MiB", max >> 20);
	r = array_reserve(&out->bytes, &out->cap, out->n + CHUNK_BYTES, err);
	if (r < 0)
		return r;
	z->next_out = out->bytes + out->n;
	z->avail_out = step(out->cap - out->n < max - out->n ? out->cap - out->n : max - out->n);
	r = inflate(z, Z_NO_FLUSH);
	out->n = (size_t)(z->next_out - out->bytes);
	if (r == Z_MEM_ERROR)
		return error_oom(err);
	return r == Z_OK || r == Z_STREAM_END ? r : bad(err, z);
}

int gzip_read(const void *data, size_t len, size_t max, uint8_t **ret, size_t *ret_len,
              struct error *err)
{
	cleanup(output_clear) struct output out = { 0 };
	cleanup(inflate_end) z_stream z = { 0 };
	const uint8_t *at = data;
	int r;

	if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
		return error_oom(err);
	for (;;) {
		feed(&z, &at, &len);
		r = inflate_some(&z, &out, max, err);
		if (r < 0)
			return r;
		if (r != Z_STREAM_END)
			continue;
		if (!z.avail_in && !len)
			break;
		if (inflateReset(&z) != Z_OK)
			return bad(err, &z);
	}
	*ret = take_ptr(out.bytes);
	*ret_len = out.n;
	return 0;
}
