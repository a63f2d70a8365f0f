/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/image_internal.h"
#include "target/maps.h"

enum { MAX_SEGMENTS = 1 << 20 };
#define END_OF_MEMORY (1ull << 56) /* of a process, with five levels of page tables */

static const char *machine_name(unsigned machine)
{
	static const struct {
		unsigned machine;
		const char *name;
	} names[] = {
		{ EM_X86_64, "x86-64" },  { EM_386, "32-bit x86" }, { EM_AARCH64, "arm64" },
		{ EM_ARM, "32-bit ARM" }, { EM_RISCV, "RISC-V" },   { EM_PPC64, "POWER" },
		{ EM_S390, "s390" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].machine == machine)
			return names[i].name;
	}
	return NULL;
}

static int refuse_machine(const struct image *i, unsigned machine, struct error *err)
{
	const char *name = machine_name(machine);

	if (name)
		error_set(err, ENOTSUP, "%s is the core of a process on %s", i->name, name);
	else
		error_set(err, ENOTSUP, "%s is the core of another machine (ELF machine %u)",
		          i->name, machine);
	return error_hint(err, "this memwho reads cores of " REGISTERS_MACHINE_NAME
	                       "; viewcore and delve know others");
}

static int refuse_file(const struct image *i, struct error *err)
{
	error_set(err, ENOEXEC, "%s is not a core file", i->name);
	return error_hint(err, "gcore PID writes one, and so does a Go program that dies under "
	                       "GOTRACEBACK=crash");
}

static int refuse_cut(const struct image *i, const char *where, struct error *err)
{
	error_set(err, ENOEXEC, "%s is cut off within its %s", i->name, where);
	return error_hint(err, "was the disk full, or `ulimit -c` too small?");
}

static int check_header(const struct image *i, const Elf64_Ehdr *h, struct error *err)
{
	if (i->core_bytes < EI_NIDENT || memcmp(i->core, ELFMAG, SELFMAG) != 0)
		return refuse_file(i, err);
	if (i->core[EI_CLASS] != ELFCLASS64 || i->core[EI_DATA] != ELFDATA2LSB) {
		error_set(err, ENOTSUP, "%s is the core of a 32-bit or big-endian process",
		          i->name);
		return error_hint(err, "this memwho reads cores of " REGISTERS_MACHINE_NAME);
	}
	if (i->core_bytes < sizeof(*h))
		return refuse_cut(i, "header", err);
	if (h->e_type != ET_CORE) {
		error_set(err, ENOEXEC, "%s is a program or library, not a core", i->name);
		return error_hint(err, "the program goes behind --exe");
	}
	if (h->e_machine != REGISTERS_MACHINE)
		return refuse_machine(i, h->e_machine, err);
	if (h->e_phentsize != sizeof(Elf64_Phdr))
		return error_set(err, ENOEXEC, "%s: damaged header", i->name);
	return 0;
}

/* More than 65534 segments: the number stands in the first section (gABI). */
static uint64_t n_headers(const struct image *i, const Elf64_Ehdr *h)
{
	Elf64_Shdr first;

	if (h->e_phnum != PN_XNUM)
		return h->e_phnum;
	if (h->e_shoff > i->core_bytes || i->core_bytes - h->e_shoff < sizeof(first))
		return 0;
	memcpy(&first, i->core + h->e_shoff, sizeof(first));
	return first.sh_info;
}

static int add_segment(struct image *i, const Elf64_Phdr *p, struct error *err)
{
	struct image_segment s = { .start = p->p_vaddr, .path = "" };
	uint64_t bytes = p->p_filesz, there;
	int r;

	if (!p->p_memsz || p->p_vaddr > END_OF_MEMORY || p->p_memsz > END_OF_MEMORY - p->p_vaddr)
		return 0;
	s.end = p->p_vaddr + p->p_memsz;
	s.prot = (p->p_flags & PF_R ? MAPS_READ : 0u) | (p->p_flags & PF_W ? MAPS_WRITE : 0u) |
	         (p->p_flags & PF_X ? MAPS_EXEC : 0u);
	if (bytes > p->p_memsz)
		bytes = p->p_memsz;
	there = p->p_offset < i->core_bytes ? i->core_bytes - p->p_offset : 0;
	if (bytes > there) {
		i->missing += bytes - there;
		bytes = there;
	}
	s.bytes = bytes;
	s.core_offset = p->p_offset;
	r = array_reserve(&i->segments, &i->cap_segments, i->n_segments + 1, err);
	if (r == 0)
		i->segments[i->n_segments++] = s;
	return r;
}

/* Kernels and debuggers write them ascending; one that overlaps is left out. */
static void drop_disorder(struct image *i)
{
	size_t n = 0;

	for (size_t k = 0; k < i->n_segments; k++) {
		if (n && i->segments[k].start < i->segments[n - 1].end)
			continue;
		i->segments[n++] = i->segments[k];
	}
	i->n_segments = n;
}

static int each_header(struct image *i, const Elf64_Ehdr *h, uint32_t type, struct error *err)
{
	uint64_t n = n_headers(i, h);

	if (n > MAX_SEGMENTS || h->e_phoff > i->core_bytes ||
	    (i->core_bytes - h->e_phoff) / sizeof(Elf64_Phdr) < n)
		return refuse_cut(i, "headers", err);
	for (uint64_t k = 0; k < n; k++) {
		Elf64_Phdr p;
		int r = 0;

		memcpy(&p, i->core + h->e_phoff + k * sizeof(p), sizeof(p));
		if (p.p_type != type)
			continue;
		if (type == PT_LOAD) {
			r = add_segment(i, &p, err);
		} else if (p.p_offset < i->core_bytes) {
			uint64_t bytes = i->core_bytes - p.p_offset;

			r = image_notes_read(i, p.p_offset, p.p_filesz < bytes ? p.p_filesz : bytes,
			                     err);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int image_core_read(struct image *i, struct error *err)
{
	Elf64_Ehdr h = { 0 };
	int r;

	if (i->core_bytes >= sizeof(h))
		memcpy(&h, i->core, sizeof(h));
	r = check_header(i, &h, err);
	if (r == 0)
		r = each_header(i, &h, PT_LOAD, err);
	if (r < 0)
		return r;
	drop_disorder(i);
	if (!i->n_segments) {
		error_set(err, ENOEXEC, "%s holds no memory", i->name);
		return error_hint(err, "/proc/PID/coredump_filter says what the kernel writes");
	}
	r = each_header(i, &h, PT_NOTE, err);
	drop_disorder(i); /* of files, too */
	/* gcore writes its notes last: a truncated one may have none */
	if (r == 0 && !i->n_threads && !i->missing) {
		error_set(err, ENOEXEC, "%s has no threads: not a core of a process", i->name);
		return error_hint(err, "gcore PID writes one");
	}
	return r;
}
