/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/debug_file.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "target/rooted.h"

enum {
	LINK_MAX = 4096,      /* bytes of .gnu_debuglink */
	CRC_MAX = 2147483647, /* bytes of a file whose CRC is taken */
	CRC_PIECE = 1 << 20,
};

bool debug_file_has(const struct elf_file *f, const char *name)
{
	struct elf_section s;

	return elf_file_section(f, name, &s) && s.type != SHT_NOBITS && s.size;
}

static bool same_build_id(struct elf_file *a, struct elf_file *b)
{
	uint8_t x[ELF_FILE_BUILD_ID_BYTES], y[ELF_FILE_BUILD_ID_BYTES];
	size_t len = elf_file_build_id(a, x);

	return len && len == elf_file_build_id(b, y) && !memcmp(x, y, len);
}

bool debug_file_fits(struct elf_file *stripped, struct elf_file *debug)
{
	if (elf_file_machine(stripped) != elf_file_machine(debug))
		return false;
	if (!debug_file_has(debug, ".symtab") && !debug_file_has(debug, ".debug_info"))
		return false;
	return same_build_id(stripped, debug);
}

/* The link's CRC-32 is zlib's (gdb manual, "Separate Debug Files"). */
static bool crc_fits(const struct elf_file *f, uint32_t want)
{
	cleanup_free char *buf = malloc(CRC_PIECE);
	uint64_t size = elf_file_size(f);
	uLong crc = crc32(0, NULL, 0);
	struct error err;

	if (!buf || size > CRC_MAX)
		return false;
	for (uint64_t at = 0; at < size;) {
		size_t n = size - at < CRC_PIECE ? size - at : CRC_PIECE;

		if (elf_file_read(f, at, buf, n, &err) < 0)
			return false;
		crc = crc32(crc, (const Bytef *)buf, n);
		at += n;
	}
	return crc == want;
}

struct debug_search {
	struct elf_file *stripped;
	const char *path; /* of the stripped file */
	bool has_build_id;
	char link[NAME_MAX + 1]; /* file name of .gnu_debuglink, or "" */
	uint32_t crc;
};

static bool accepted(const struct debug_search *s, struct elf_file *debug)
{
	if (s->has_build_id ? debug_file_fits(s->stripped, debug) : crc_fits(debug, s->crc))
		return true;
	if (debug_file_has(debug, ".symtab") || debug_file_has(debug, ".debug_info"))
		log_note(LOG_WARN, "%s is not used for names of %s: it was made for another build",
		         elf_file_name(debug), s->path);
	return false;
}

static bool try_path(const struct debug_search *s, int root, const char *path,
                     struct elf_file **ret)
{
	cleanup(elf_file_closep) struct elf_file *debug = NULL;
	struct error err;
	int fd = rooted_open(root, path);

	if (fd < 0 || elf_file_open(fd, path, &debug, &err) < 0 || !accepted(s, debug))
		return false;
	*ret = take_ptr(debug);
	return true;
}

static bool try_build_id(const struct debug_search *s, int root, struct elf_file **ret)
{
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1], path[sizeof(hex) + 64];

	elf_file_build_id_hex(s->stripped, hex);
	if (strlen(hex) < 4)
		return false;
	snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
	return try_path(s, root, path, ret);
}

static bool try_link(const struct debug_search *s, int root, struct elf_file **ret)
{
	static const char *const places[] = { "%.*s/%s", "%.*s/.debug/%s",
		                              "/usr/lib/debug%.*s/%s" };
	const char *slash = strrchr(s->path, '/');
	char path[PATH_MAX + NAME_MAX + 64];

	if (!s->link[0] || !slash)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		int n = snprintf(path, sizeof(path), places[i], (int)(slash - s->path), s->path,
		                 s->link);

		/* the link of an unstripped file may name itself */
		if (n > 0 && n < (int)sizeof(path) && strcmp(path, s->path) &&
		    try_path(s, root, path, ret))
			return true;
	}
	return false;
}

/* A file name, NUL, up to three bytes to align, CRC. */
static void read_link(struct debug_search *s)
{
	cleanup_free void *data = NULL;
	struct elf_section section;
	const char *name;
	struct error err;
	size_t len, n;

	if (!elf_file_section(s->stripped, ".gnu_debuglink", &section) ||
	    elf_file_section_data(s->stripped, &section, LINK_MAX, &data, &len, &err) < 0)
		return;
	name = data;
	n = strnlen(name, len);
	if (!n || n > NAME_MAX || len < 4 || ((n + 4) & ~(size_t)3) > len - 4 ||
	    memchr(name, '/', n))
		return;
	memcpy(s->link, name, n + 1);
	memcpy(&s->crc, name + ((n + 4) & ~(size_t)3), 4);
}

int debug_file_open(struct elf_file *stripped, const char *path, const int *roots, size_t n_roots,
                    struct elf_file **ret)
{
	uint8_t id[ELF_FILE_BUILD_ID_BYTES];
	struct debug_search s = {
		.stripped = stripped,
		.path = path,
		.has_build_id = elf_file_build_id(stripped, id) > 0,
	};

	read_link(&s);
	for (size_t i = 0; i < n_roots; i++) {
		if (roots[i] >= 0 &&
		    (try_build_id(&s, roots[i], ret) || try_link(&s, roots[i], ret)))
			return 0;
	}
	return -ENOENT;
}
