/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What elf_file_open() reads at once: headers, PT_DYNAMIC, notes, two strings. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "target/elf_file_internal.h"
#include "target/notes.h"

enum {
	MAX_SEGMENTS = 65536,
	MAX_SECTIONS = 1 << 20,
	MAX_SECTION_NAMES = 64 << 20,
	MAX_DYNAMIC = 65536,
	MAX_NOTES = 1 << 20,
};

static int check_header(const struct elf_file *f, struct error *err)
{
	const Elf64_Ehdr *h = &f->header;

	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
		return error_set(err, ENOEXEC, "%s: not an ELF file", f->name);
	if (h->e_ident[EI_CLASS] != ELFCLASS64)
		return error_set(err, ENOEXEC, "%s: not a 64-bit ELF file", f->name);
	if (h->e_ident[EI_DATA] != ELFDATA2LSB)
		return error_set(err, ENOEXEC, "%s: not a little-endian ELF file", f->name);
	if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
		return error_set(err, ENOEXEC, "%s: neither a program nor a shared library",
		                 f->name);
	return 0;
}

static int read_header(struct elf_file *f, struct error *err)
{
	struct stat st;
	int r;

	if (fstat(f->fd, &st) < 0)
		return error_sys(err, errno, "%s", f->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ENOEXEC, "%s: not a regular file", f->name);
	f->size = st.st_size;
	if (f->size < sizeof(f->header))
		return error_set(err, ENOEXEC, "%s: not an ELF file", f->name);
	r = elf_file_read(f, 0, &f->header, sizeof(f->header), err);
	if (r < 0)
		return r;
	return check_header(f, err);
}

/* Section headers that cannot be right are taken as missing: the kernel never
 * looks at them, so such a file runs. */
static void read_sections(struct elf_file *f)
{
	const Elf64_Ehdr *h = &f->header;
	uint64_t n = h->e_shnum, names = h->e_shstrndx;
	Elf64_Shdr first;
	struct error err;

	if (!h->e_shoff || h->e_shentsize != sizeof(first) ||
	    elf_file_read(f, h->e_shoff, &first, sizeof(first), &err) < 0)
		return;
	if (!n) /* gABI: extended numbering */
		n = first.sh_size;
	if (names == SHN_XINDEX)
		names = first.sh_link;
	if (!n || n > MAX_SECTIONS || names >= n ||
	    elf_file_copy(f, h->e_shoff, n * sizeof(first), (void **)&f->sections, &err) < 0)
		return;
	f->n_sections = n;
	if (f->sections[names].sh_size > MAX_SECTION_NAMES ||
	    elf_file_copy(f, f->sections[names].sh_offset, f->sections[names].sh_size,
	                  (void **)&f->section_names, &err) < 0)
		return;
	f->section_names_len = f->sections[names].sh_size;
}

static int read_segments(struct elf_file *f, struct error *err)
{
	uint64_t n = f->header.e_phnum;
	int r;

	if (n == PN_XNUM && f->n_sections)
		n = f->sections[0].sh_info;
	if (!n)
		return 0;
	if (f->header.e_phentsize != sizeof(Elf64_Phdr) || n > MAX_SEGMENTS)
		return error_set(err, ENOEXEC, "%s: program headers are damaged", f->name);
	r = elf_file_copy(f, f->header.e_phoff, n * sizeof(Elf64_Phdr), (void **)&f->segments, err);
	if (r < 0)
		return error_set(err, ENOEXEC, "%s: program headers are outside the file", f->name);
	f->n_segments = n;
	return 0;
}

static const Elf64_Phdr *segment_of_type(const struct elf_file *f, uint32_t type)
{
	for (size_t i = 0; i < f->n_segments; i++)
		if (f->segments[i].p_type == type)
			return &f->segments[i];
	return NULL;
}

static void read_dynamic(struct elf_file *f)
{
	const Elf64_Phdr *p = segment_of_type(f, PT_DYNAMIC);
	struct elf_section s;
	struct error err;
	uint64_t n;

	/* objcopy --only-keep-debug keeps the program header, not the bytes */
	if (!p || (elf_file_section(f, ".dynamic", &s) && s.type == SHT_NOBITS))
		return;
	n = p->p_filesz / sizeof(Elf64_Dyn);
	if (n > MAX_DYNAMIC)
		n = MAX_DYNAMIC;
	if (elf_file_copy(f, p->p_offset, n * sizeof(Elf64_Dyn), (void **)&f->dynamic, &err) < 0)
		return;
	while (f->n_dynamic < n && f->dynamic[f->n_dynamic].d_tag != DT_NULL)
		f->n_dynamic++;
}

static bool find_build_id_at(struct elf_file *f, uint64_t offset, uint64_t len, uint64_t align)
{
	cleanup_free void *data = NULL;
	struct error err;

	if (len > MAX_NOTES || elf_file_copy(f, offset, len, &data, &err) < 0)
		return false;
	f->build_id_len = notes_find(data, len, align, NOTES_OWNER_GNU, NT_GNU_BUILD_ID,
	                             f->build_id, sizeof(f->build_id));
	return f->build_id_len != 0;
}

/* The section first: in a separate debug file PT_NOTE's offset is stale. */
static void read_build_id(struct elf_file *f)
{
	struct elf_section s;

	if (elf_file_section(f, ".note.gnu.build-id", &s) && s.type == SHT_NOTE &&
	    find_build_id_at(f, s.offset, s.size, 4))
		return;
	for (size_t i = 0; i < f->n_segments; i++) {
		const Elf64_Phdr *p = &f->segments[i];

		if (p->p_type == PT_NOTE &&
		    find_build_id_at(f, p->p_offset, p->p_filesz, p->p_align))
			return;
	}
}

static void read_strings(struct elf_file *f)
{
	const Elf64_Phdr *p = segment_of_type(f, PT_INTERP);
	uint64_t strings, len, name, offset;
	struct error err;

	if (p && p->p_filesz && p->p_filesz <= PATH_MAX)
		elf_file_copy(f, p->p_offset, p->p_filesz, (void **)&f->interpreter, &err);
	if (!elf_file_dynamic(f, DT_STRTAB, &strings) || !elf_file_dynamic(f, DT_STRSZ, &len) ||
	    !elf_file_dynamic(f, DT_SONAME, &name) || name >= len ||
	    !elf_file_offset(f, strings, &offset))
		return;
	len -= name;
	elf_file_copy(f, offset + name, len < PATH_MAX ? len : PATH_MAX, (void **)&f->soname, &err);
}

int elf_headers_read(struct elf_file *f, struct error *err)
{
	int r = read_header(f, err);

	if (r < 0)
		return r;
	read_sections(f);
	r = read_segments(f, err);
	if (r < 0)
		return r;
	read_dynamic(f);
	read_build_id(f);
	read_strings(f);
	return 0;
}
