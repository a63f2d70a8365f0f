/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program that a core is of. */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/image_internal.h"
#include "target/rooted.h"

/* Note @name of type @type in the ELF image that the process had at @at. */
static size_t note_in_memory(struct image *i, uint64_t at, const char *name, uint32_t type,
                             uint8_t *buf, size_t size)
{
	Elf64_Ehdr h;

	if (image_read(i, at, &h, sizeof(h)) < 0 || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
	    h.e_phentsize != sizeof(Elf64_Phdr))
		return 0;
	for (unsigned k = 0; k < h.e_phnum; k++) {
		uint8_t bytes[4096];
		Elf64_Phdr p;
		uint64_t pos = 0;

		if (image_read(i, at + h.e_phoff + k * sizeof(p), &p, sizeof(p)) < 0)
			return 0;
		if (p.p_type != PT_NOTE || p.p_filesz > sizeof(bytes) ||
		    image_read(i, at + p.p_offset, bytes, p.p_filesz) < 0)
			continue;
		while (p.p_filesz - pos >= sizeof(Elf64_Nhdr)) {
			Elf64_Nhdr n;
			uint64_t align = p.p_align == 8 ? 8 : 4, desc;

			memcpy(&n, bytes + pos, sizeof(n));
			desc = (pos + sizeof(n) + n.n_namesz + align - 1) / align * align;
			if (desc > p.p_filesz || n.n_descsz > p.p_filesz - desc)
				break;
			if (n.n_type == type && n.n_namesz == strlen(name) + 1 &&
			    memcmp(bytes + pos + sizeof(n), name, n.n_namesz) == 0 &&
			    n.n_descsz <= size) {
				memcpy(buf, bytes + desc, n.n_descsz);
				return n.n_descsz;
			}
			pos = (desc + n.n_descsz + align - 1) / align * align;
			if (pos > p.p_filesz)
				break;
		}
	}
	return 0;
}

/* 1 the very file, 0 cannot be told, -1 another one. */
static int is_same_program(struct image *i, struct elf_file *f, uint64_t bias)
{
	uint8_t want[ELF_FILE_BUILD_ID_BYTES], have[ELF_FILE_BUILD_ID_BYTES];
	uint64_t base = UINT64_MAX;
	size_t n_want, n_have = elf_file_build_id(f, have);

	for (size_t k = 0; k < elf_file_n_segments(f); k++) {
		struct elf_segment s = elf_file_segment(f, k);

		if (s.type == PT_LOAD && s.offset == 0)
			base = s.vaddr + bias;
	}
	n_want = base == UINT64_MAX
	                 ? 0
	                 : note_in_memory(i, base, "GNU", NT_GNU_BUILD_ID, want, sizeof(want));
	if (n_want)
		return n_want == n_have && memcmp(want, have, n_want) == 0 ? 1 : -1;
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

static int open_in_sysroot(const struct image *i, const char *path, struct error *err)
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
	return open_in_sysroot(i, s->path, err);
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
	return 0;
}
