/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "target/image_internal.h"

enum { IN_BYTES = 1 << 18, OUT_BYTES = 1 << 20, HOLE = 4096 };

/* Where the unpacked bytes go. Runs of zeros become holes: cores are mostly that. */
struct sink {
	int fd;
	uint64_t at;
	const char *name;
};

static bool all_zero(const uint8_t *p, size_t n)
{
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int write_all(struct sink *s, const uint8_t *p, size_t n, struct error *err)
{
	while (n) {
		ssize_t w = pwrite(s->fd, p, n, (off_t)s->at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			int e = w < 0 ? errno : EIO;

			error_sys(err, e, "%s: unpacking", s->name);
			if (e == ENOSPC)
				error_hint(err, "TMPDIR names the folder for the unpacked core");
			return -e;
		}
		p += w;
		n -= (size_t)w;
		s->at += (uint64_t)w;
	}
	return 0;
}

static int put(struct sink *s, const uint8_t *p, size_t n, struct error *err)
{
	while (n) {
		size_t piece = HOLE - s->at % HOLE;
		int r = 0;

		if (piece > n)
			piece = n;
		if (all_zero(p, piece))
			s->at += piece;
		else
			r = write_all(s, p, piece, err);
		if (r < 0)
			return r;
		p += piece;
		n -= piece;
	}
	return 0;
}

/* ---- one decoder each: feed(in) -> bytes into the sink; a damaged end keeps what came ---- */

struct decoder {
	uint8_t *out;
	z_stream gzip;
	ZSTD_DStream *zstd;
	LZ4F_dctx *lz4;
};

static int feed_gzip(struct decoder *d, const uint8_t *in, size_t n, struct sink *s,
                     struct error *err)
{
	d->gzip.next_in = (uint8_t *)in;
	d->gzip.avail_in = (unsigned)n;
	do {
		int z, r;

		d->gzip.next_out = d->out;
		d->gzip.avail_out = OUT_BYTES;
		z = inflate(&d->gzip, Z_NO_FLUSH);
		r = put(s, d->out, OUT_BYTES - d->gzip.avail_out, err);
		if (r < 0)
			return r;
		if (z == Z_STREAM_END)
			z = inflateReset(&d->gzip); /* members may follow each other */
		if (z != Z_OK && z != Z_BUF_ERROR)
			return error_set(err, EBADMSG, "%s: damaged (gzip)", s->name);
	} while (d->gzip.avail_in || !d->gzip.avail_out);
	return 0;
}

static int feed_zstd(struct decoder *d, const uint8_t *in, size_t n, struct sink *s,
                     struct error *err)
{
	ZSTD_inBuffer from = { in, n, 0 };

	while (from.pos < from.size) {
		ZSTD_outBuffer to = { d->out, OUT_BYTES, 0 };
		size_t z = ZSTD_decompressStream(d->zstd, &to, &from);
		int r;

		if (ZSTD_isError(z))
			return error_set(err, EBADMSG, "%s: damaged (zstd: %s)", s->name,
			                 ZSTD_getErrorName(z));
		r = put(s, d->out, to.pos, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int feed_lz4(struct decoder *d, const uint8_t *in, size_t n, struct sink *s,
                    struct error *err)
{
	while (n) {
		size_t taken = n, made = OUT_BYTES;
		size_t z = LZ4F_decompress(d->lz4, d->out, &made, in, &taken, NULL);
		int r;

		if (LZ4F_isError(z))
			return error_set(err, EBADMSG, "%s: damaged (lz4: %s)", s->name,
			                 LZ4F_getErrorName(z));
		r = put(s, d->out, made, err);
		if (r < 0)
			return r;
		in += taken;
		n -= taken;
		if (!taken && !made)
			return error_set(err, EBADMSG, "%s: damaged (lz4)", s->name);
	}
	return 0;
}

typedef int (*feed_fn)(struct decoder *d, const uint8_t *in, size_t n, struct sink *s,
                       struct error *err);

static void decoder_clear(struct decoder *d)
{
	free(d->out);
	inflateEnd(&d->gzip);
	ZSTD_freeDStream(d->zstd);
	LZ4F_freeDecompressionContext(d->lz4);
}

/* NULL: not compressed. */
static feed_fn choose(const uint8_t magic[4])
{
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return feed_gzip;
	if (memcmp(magic, "\x28\xb5\x2f\xfd", 4) == 0)
		return feed_zstd;
	if (memcmp(magic, "\x04\x22\x4d\x18", 4) == 0)
		return feed_lz4;
	return NULL;
}

static int prepare(struct decoder *d, feed_fn feed, struct error *err)
{
	d->out = malloc(OUT_BYTES);
	if (!d->out)
		return error_oom(err);
	if (feed == feed_gzip && inflateInit2(&d->gzip, 15 + 16) != Z_OK)
		return error_oom(err);
	if (feed == feed_zstd) {
		d->zstd = ZSTD_createDStream();
		if (!d->zstd || ZSTD_isError(ZSTD_initDStream(d->zstd)))
			return error_oom(err);
		/* as `zstd --long=31` writes them */
		ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, 31);
	}
	if (feed == feed_lz4 &&
	    LZ4F_isError(LZ4F_createDecompressionContext(&d->lz4, LZ4F_VERSION)))
		return error_oom(err);
	return 0;
}

static int open_temporary(struct error *err)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	dir = dir && dir[0] ? dir : "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		error_sys(err, errno, "a temporary file in %s", dir);
		error_hint(err, "TMPDIR names the folder for the unpacked core");
	}
	return fd;
}

static int unpack(int fd, feed_fn feed, struct sink *s, struct error *err)
{
	cleanup(decoder_clear) struct decoder d = { 0 };
	cleanup_free uint8_t *in = malloc(IN_BYTES);
	off_t at = 0;
	int r = in ? prepare(&d, feed, err) : error_oom(err);

	while (r == 0) {
		ssize_t n = pread(fd, in, IN_BYTES, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "%s", s->name);
		if (n == 0)
			break;
		r = feed(&d, in, (size_t)n, s, err);
		at += n;
	}
	/* what came before the damage is worth looking at */
	if (r == -EBADMSG && s->at > 0)
		r = 0;
	if (r == 0 && ftruncate(s->fd, (off_t)s->at) < 0)
		return error_sys(err, errno, "%s: unpacking", s->name);
	return r;
}

int image_unpack(int fd, const char *name, struct error *err)
{
	cleanup_close int from = fd;
	uint8_t magic[4] = { 0 };
	struct sink s = { .name = name, .fd = -1 };
	feed_fn feed;

	if (pread(from, magic, sizeof(magic), 0) < 0) {
		error_sys(err, errno, "%s", name);
		return -1;
	}
	feed = choose(magic);
	if (!feed)
		return take_fd(from);
	s.fd = open_temporary(err);
	if (s.fd < 0)
		return -1;
	if (unpack(from, feed, &s, err) < 0) {
		close(s.fd);
		return -1;
	}
	return s.fd;
}
