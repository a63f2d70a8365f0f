/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program that a core is of. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/image_internal.h"
#include "target/notes.h"
#include "target/rooted.h"

enum { MAX_NOTES = 4096, GO_BUILD_ID_BYTES = 128 };

struct id {
	uint8_t bytes[GO_BUILD_ID_BYTES];
	size_t n;
};

/* Whose, what type. */
struct kind {
	char owner[4];
	uint32_t type;
};

/* Bytes that are in the core itself: what a file would give in their place proves nothing. */
static bool read_dumped(const struct image *i, uint64_t addr, void *buf, size_t len)
{
	const struct image_segment *s = image_find(i, addr);
	uint64_t at = s ? addr - s->start : 0;

	if (!s || at > s->bytes || len > s->bytes - at)
		return false;
	memcpy(buf, i->core + s->core_offset + at, len);
	return true;
}

/* In the ELF image that the process had at @at. */
static void id_in_memory(const struct image *i, uint64_t at, const struct kind *k, struct id *ret)
{
	Elf64_Ehdr h;

	if (!read_dumped(i, at, &h, sizeof(h)) || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
	    h.e_phentsize != sizeof(Elf64_Phdr))
		return;
	for (unsigned n = 0; n < h.e_phnum && !ret->n; n++) {
		uint8_t bytes[MAX_NOTES];
		Elf64_Phdr p;

		if (!read_dumped(i, at + h.e_phoff + n * sizeof(p), &p, sizeof(p)))
			return;
		if (p.p_type == PT_NOTE && p.p_filesz <= sizeof(bytes) &&
		    read_dumped(i, at + p.p_offset, bytes, p.p_filesz))
			ret->n = notes_find(bytes, p.p_filesz, p.p_align, k->owner, k->type,
			                    ret->bytes, sizeof(ret->bytes));
	}
}

static void id_in_file(const struct elf_file *f, const struct kind *k, struct id *ret)
{
	if (k->type == NT_GNU_BUILD_ID)
		ret->n = elf_file_build_id(f, ret->bytes);
	for (size_t n = 0; n < elf_file_n_segments(f) && !ret->n; n++) {
		struct elf_segment s = elf_file_segment(f, n);
		uint8_t bytes[MAX_NOTES];
		struct error unused = { 0 };

		if (s.type == PT_NOTE && s.filesz <= sizeof(bytes) &&
		    elf_file_read(f, s.offset, bytes, s.filesz, &unused) == 0)
			ret->n = notes_find(bytes, s.filesz, 4, k->owner, k->type, ret->bytes,
			                    sizeof(ret->bytes));
	}
}

/* By build-ids, GNU's and Go's: 1 the very file, 0 the core has none, -1 another one. */
static int compare_ids(const struct image *i, const struct elf_file *f, uint64_t base)
{
	static const struct kind kinds[] = { { NOTES_OWNER_GNU, NT_GNU_BUILD_ID },
		                             { NOTES_OWNER_GO, NOTES_GO_BUILD_ID } };
	int same = 0;

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct id want = { 0 }, have = { 0 };

		id_in_memory(i, base, &kinds[k], &want);
		if (!want.n)
			continue;
		id_in_file(f, &kinds[k], &have);
		if (want.n != have.n || memcmp(want.bytes, have.bytes, want.n) != 0)
			return -1;
		same = 1;
	}
	return same;
}

int image_exe_is_library(const struct image *i, const struct elf_file *f, uint64_t bias)
{
	for (size_t k = 0; k < elf_file_n_segments(f); k++) {
		struct elf_segment s = elf_file_segment(f, k);

		if (s.type == PT_LOAD && s.offset == 0)
			return compare_ids(i, f, s.vaddr + bias);
	}
	return 0;
}

/* 1 the very file, 0 cannot be told, -1 another one. */
static int is_same_program(const struct image *i, const struct elf_file *f, uint64_t bias)
{
	int same = 0;

	for (size_t k = 0; k < elf_file_n_segments(f) && !same; k++) {
		struct elf_segment s = elf_file_segment(f, k);

		if (s.type == PT_LOAD && s.offset == 0)
			same = compare_ids(i, f, s.vaddr + bias);
	}
	if (same)
		return same;
	/* the process's headers are not in the core: what the kernel told the program */
	if (i->auxv_entry && i->auxv_entry != elf_file_entry(f) + bias)
		return -1;
	if (i->auxv_phnum && i->auxv_phnum != elf_file_n_segments(f))
		return -1;
	return 0;
}

/* A program that is not position-independent lies where it says; else by its entry. */
static bool find_bias(const struct image *i, struct elf_file *f, uint64_t *ret)
{
	uint64_t bias = elf_file_is_pie(f) ? i->auxv_entry - elf_file_entry(f) : 0;

	if (elf_file_is_pie(f) && !i->auxv_entry)
		return false;
	*ret = bias;
	return bias % IMAGE_PAGE == 0;
}

int image_exe_open_path(const struct image *i, const char *path, struct error *err)
{
	cleanup_close int root = open(i->sysroot ? i->sysroot : "/", O_PATH | O_CLOEXEC);
	int fd = root < 0 ? -errno : rooted_open(root, path);

	if (fd < 0)
		error_sys(err, -fd, "%s", path);
	return fd;
}

static int open_candidate(const struct image *i, struct error *err)
{
	const struct image_segment *s;
	int fd;

	if (i->exe_path) {
		fd = open(i->exe_path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? error_sys(err, errno, "%s", i->exe_path) : fd;
	}
	s = image_find(i, i->auxv_entry ? i->auxv_entry : i->auxv_phdr);
	if (!s || !s->path[0])
		return error_set(err, ENOENT, "%s does not say which program it is of", i->name);
	return image_exe_open_path(i, s->path, err);
}

int image_exe_open(struct image *i, struct error *err)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	uint64_t bias = 0;
	int same, fd = open_candidate(i, err), r;

	if (fd < 0)
		return error_hint(err, "the program that crashed goes behind --exe");
	r = elf_file_open(fd, i->exe_path ? i->exe_path : "the program", &f, err);
	if (r < 0)
		return error_hint(err, "the program that crashed goes behind --exe");
	same = find_bias(i, f, &bias) ? is_same_program(i, f, bias) : -1;
	if (same < 0) {
		error_set(err, EMEDIUMTYPE, "%s is not the program that %s is of",
		          i->exe_path ? i->exe_path : "the file in its place", i->name);
		return error_hint(err, "it was built anew, or is another one; the build-ids "
		                       "differ: give the very file behind --exe");
	}
	i->exe = take_ptr(f);
	i->exe_bias = bias;
	i->exe_is_proven = same > 0;
	return 0;
}

bool image_exe_is_proven(const struct image *i)
{
	return i->exe_is_proven;
}
