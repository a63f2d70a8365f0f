/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/profile_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "profile/folded.h"
#include "profile/gzip.h"
#include "profile/heap_v2.h"
#include "profile/line_reader.h"
#include "profile/pprof.h"
#include "profile/saved_ladder.h"

enum {
	MAX_BYTES = 256 * 1024 * 1024,
	CHUNK_BYTES = 64 * 1024,
	LOOK_BYTES = 512, /* how far a guess looks */
};

struct bytes {
	char *at;
	size_t n, cap;
};

static void bytes_clear(struct bytes *b)
{
	free(b->at);
}

/* A pipe has no size: read until the end. */
static int read_all(int fd, struct bytes *to, struct error *err)
{
	for (;;) {
		ssize_t n;
		int r = array_reserve(&to->at, &to->cap, to->n + CHUNK_BYTES, err);

		if (r < 0)
			return r;
		n = read(fd, to->at + to->n, CHUNK_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "read");
		if (n == 0)
			return 0;
		to->n += (size_t)n;
		if (to->n > MAX_BYTES)
			return error_set(err, EFBIG, "more than %d MiB", MAX_BYTES >> 20);
	}
}

/* Control bytes other than blanks: no text of ours begins with them, protobuf
 * does. */
static bool is_binary(const char *data, size_t len)
{
	for (size_t i = 0; i < len && i < LOOK_BYTES; i++) {
		unsigned char c = (unsigned char)data[i];

		if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
			return true;
	}
	return false;
}

/* Folded text has a value on each line, stap text on a line of its own. */
static bool is_folded(const char *data, size_t len)
{
	struct line_reader lines = { data, data + len, 0 };
	struct line l = { 0 };
	ptrdiff_t blank;
	int64_t value;

	while (!l.n && line_reader_next(&lines, &l))
		l = line_reader_trim(l);
	blank = line_reader_last(l, " ");
	return blank > 0 &&
	       line_reader_value((struct line){ l.at + blank + 1, l.n - (size_t)blank - 1 },
	                         &value);
}

static int refuse_output(const char *what, struct error *err)
{
	error_set(err, EBADMSG, "%s is not a format that can be read back", what);
	return error_hint(err, "save as .pb.gz, which holds everything, and render from that");
}

/* Any text has lines: what is not a profile at all ends up here. */
static int parse_rest(const char *text, size_t len, struct profile **ret, struct error *err)
{
	int r = folded_read_stap(text, len, ret, err);

	if (r == -EBADMSG)
		error_hint(err, "memwho reads pprof (.pb.gz), folded and stap text, and "
		                "jemalloc's heap_v2");
	return r;
}

int profile_file_parse(const void *data, size_t len, struct profile **ret, struct error *err)
{
	const char *text = data;

	if (!len)
		return error_set(err, EBADMSG, "the file is empty");
	if (gzip_is(data, len) || is_binary(text, len))
		return pprof_read(data, len, ret, err);
	if (line_reader_starts((struct line){ text, len }, "heap_v2/"))
		return heap_v2_read(text, len, ret, err);
	if (saved_ladder_is(text, len))
		return saved_ladder_parse(text, len, ret, err);
	if (text[0] == '{')
		return refuse_output("JSON", err);
	if (line_reader_starts((struct line){ text, len }, "<?xml") ||
	    line_reader_starts((struct line){ text, len }, "<svg") ||
	    line_reader_starts((struct line){ text, len }, "<!DOCTYPE") ||
	    line_reader_starts((struct line){ text, len }, "<!doctype"))
		return refuse_output("a picture", err);
	if (is_folded(text, len))
		return folded_read(text, len, ret, err);
	return parse_rest(text, len, ret, err);
}

int profile_file_read(const char *path, struct profile **ret, struct error *err)
{
	cleanup(bytes_clear) struct bytes b = { 0 };
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r;

	if (fd < 0)
		return error_sys(err, errno, "%s", path);
	r = read_all(fd, &b, err);
	if (r == 0)
		r = profile_file_parse(b.at, b.n, ret, err);
	return r < 0 ? error_context(err, "%s", path) : 0;
}
