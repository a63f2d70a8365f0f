/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/inlines_dwarf.h"

#include <dwarf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <elfutils/libdw.h>
#include <elfutils/libdwelf.h>

#include "base/cleanup.h"
#include "symbol/spans.h"
#include "target/rooted.h"

enum {
	MAX_UNITS = 1 << 20,
	MAX_RANGES = 1 << 23,
};

struct inlines_dwarf {
	Elf *elf;
	Dwarf *dwarf;
	struct spans units; /* rank: offset of the unit's DIE */
	Dwarf *alt;         /* shared debug information (dwz), or NULL */
	int alt_fd;
};

struct inlines_dwarf *inlines_dwarf_close(struct inlines_dwarf *d)
{
	if (!d)
		return NULL;
	spans_clear(&d->units);
	if (d->dwarf)
		dwarf_end(d->dwarf);
	if (d->alt)
		dwarf_end(d->alt);
	if (d->alt_fd >= 0)
		close(d->alt_fd);
	if (d->elf)
		elf_end(d->elf);
	free(d);
	return NULL;
}

static void dwarf_closep(struct inlines_dwarf **d)
{
	inlines_dwarf_close(*d);
}

/*
 * Units by address. .debug_aranges would be shorter, but LLVM (clang, rustc)
 * does not write it. A range that starts at 0 is of a function that the linker
 * dropped.
 */
static int add_unit(struct inlines_dwarf *d, Dwarf_Die *unit)
{
	Dwarf_Addr base, start, end;
	ptrdiff_t at = 0;
	struct error err;

	if (dwarf_tag(unit) != DW_TAG_compile_unit)
		return 0;
	while ((at = dwarf_ranges(unit, at, &base, &start, &end)) > 0) {
		struct span one = { start, end, dwarf_dieoffset(unit), "" };

		if (d->units.n_items == MAX_RANGES)
			return -EFBIG;
		if (start && spans_add(&d->units, one, &err) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int index_units(struct inlines_dwarf *d)
{
	Dwarf_Off at = 0, next;
	size_t header;
	struct error err;

	for (int n = 0;
	     n < MAX_UNITS && dwarf_nextcu(d->dwarf, at, &next, &header, NULL, NULL, NULL) == 0;
	     n++) {
		Dwarf_Die unit;
		int r;

		if (dwarf_offdie(d->dwarf, at + header, &unit)) {
			r = add_unit(d, &unit);
			if (r < 0)
				return r;
		}
		if (next <= at)
			break;
		at = next;
	}
	return spans_sort(&d->units, &err);
}

/* Open a file of ours by absolute path; regular files only. */
static int open_safely(const char *path)
{
	cleanup_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? -errno : rooted_open(root, path);
}

/* Path of the file shared by several (dwz): by build-id, else beside ours. */
static int open_alt(int fd, const char *name, const uint8_t *id, size_t id_len)
{
	char path[PATH_MAX * 2], hex[2 * 64 + 1], link[64], *slash;
	ssize_t n;
	int r;

	if (id_len < 2 || id_len > 64)
		return -ENOENT;
	for (size_t i = 0; i < id_len; i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	snprintf(path, sizeof(path), "/usr/lib/debug/.build-id/%.2s/%s.debug", hex, hex + 2);
	r = open_safely(path);
	if (r >= 0 || name[0] == '/')
		return r >= 0 ? r : open_safely(name);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, PATH_MAX - 1);
	if (n <= 0)
		return -ENOENT;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -ENOENT;
	snprintf(slash + 1, sizeof(path) - (slash + 1 - path), "%s", name);
	return open_safely(path);
}

static bool has_build_id(Dwarf *dwarf, const uint8_t *id, size_t id_len)
{
	const void *have;

	return dwelf_elf_gnu_build_id(dwarf_getelf(dwarf), &have) == (ssize_t)id_len &&
	       !memcmp(have, id, id_len);
}

/*
 * Left alone, libdw opens whatever path the file names, a FIFO or a device
 * included. So the shared file is opened here; without it, -1 is libdw's own
 * mark for "do not look for it" (elfutils libdw/dwarf_getalt.c, 0.186 to 0.193).
 */
static void set_alt(struct inlines_dwarf *d, int fd)
{
	const char *name;
	const void *id;
	ssize_t len = dwelf_dwarf_gnu_debugaltlink(d->dwarf, &name, &id);

	if (len <= 0)
		return;
	d->alt_fd = open_alt(fd, name, id, len);
	if (d->alt_fd >= 0)
		d->alt = dwarf_begin(d->alt_fd, DWARF_C_READ);
	if (d->alt && !has_build_id(d->alt, id, len)) {
		dwarf_end(d->alt);
		d->alt = NULL;
	}
	dwarf_setalt(d->dwarf, d->alt ? d->alt : (Dwarf *)-1);
}

int inlines_dwarf_open(int fd, struct inlines_dwarf **ret)
{
	cleanup(dwarf_closep) struct inlines_dwarf *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->alt_fd = -1;
	elf_version(EV_CURRENT);
	d->elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	d->dwarf = d->elf ? dwarf_begin_elf(d->elf, DWARF_C_READ, NULL) : NULL;
	if (!d->dwarf)
		return -EBADMSG;
	set_alt(d, fd);
	r = index_units(d);
	if (r < 0)
		return r;
	*ret = take_ptr(d);
	return 0;
}

/* libdw follows at most 16 references from one entry to another. */
static const char *name_of(Dwarf_Die *die)
{
	static const unsigned attributes[] = { DW_AT_linkage_name, DW_AT_MIPS_linkage_name,
		                               DW_AT_name };
	Dwarf_Attribute attribute;

	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		const char *name = dwarf_formstring(
			dwarf_attr_integrate(die, attributes[i], &attribute));

		if (name && *name)
			return name;
	}
	return NULL;
}

static Dwarf_Word number_of(Dwarf_Die *die, unsigned name)
{
	Dwarf_Attribute attribute;
	Dwarf_Word value;

	return dwarf_formudata(dwarf_attr(die, name, &attribute), &value) == 0 ? value : 0;
}

/* Where the code at @vaddr comes from. */
static void set_line(Dwarf_Die *unit, uint64_t vaddr, struct inlines_frame *frame)
{
	Dwarf_Line *line = dwarf_getsrc_die(unit, vaddr);
	int n;

	if (!line || dwarf_lineno(line, &n) != 0 || n <= 0)
		return;
	frame->line = n;
	frame->file = dwarf_linesrc(line, NULL, NULL);
}

/* Where the inlined function @die was called: a line of the function around it. */
static void set_call(Dwarf_Die *unit, Dwarf_Die *die, struct inlines_frame *around)
{
	Dwarf_Word file = number_of(die, DW_AT_call_file), line = number_of(die, DW_AT_call_line);
	Dwarf_Files *files;
	size_t n;

	around->line = line <= UINT_MAX ? line : 0;
	if (file && dwarf_getsrcfiles(unit, &files, &n) == 0 && file < n)
		around->file = dwarf_filesrc(files, file, NULL, NULL);
}

/* From the innermost function outwards to the one that is there in code; without
 * reaching that, nothing is known. */
static size_t walk(Dwarf_Die *unit, uint64_t vaddr, Dwarf_Die *scopes, int n_scopes,
                   struct inlines_frame *frames, size_t max)
{
	size_t n = 0;

	for (int i = 0; i < n_scopes; i++) {
		int tag = dwarf_tag(&scopes[i]);
		bool inlined = tag == DW_TAG_inlined_subroutine;

		if (!inlined && tag != DW_TAG_subprogram)
			continue;
		if (n == max)
			return 0;
		if (n == 0) {
			frames[0] = (struct inlines_frame){ 0 };
			set_line(unit, vaddr, &frames[0]);
		}
		frames[n].name = name_of(&scopes[i]);
		frames[n++].inlined = inlined;
		if (!inlined)
			return n;
		if (n < max) {
			frames[n] = (struct inlines_frame){ 0 };
			set_call(unit, &scopes[i], &frames[n]);
		}
	}
	return 0;
}

static bool is_function(Dwarf_Die *die)
{
	return dwarf_tag(die) == DW_TAG_subprogram || dwarf_tag(die) == DW_TAG_inlined_subroutine;
}

size_t inlines_dwarf_find(struct inlines_dwarf *d, uint64_t vaddr, struct inlines_frame *frames,
                          size_t max)
{
	const struct span *span = spans_innermost(&d->units, vaddr);
	cleanup_free Dwarf_Die *scopes = NULL, *parents = NULL;
	Dwarf_Die unit;
	int n, i = 0;

	if (!span || !dwarf_offdie(d->dwarf, span->rank, &unit))
		return 0;
	n = dwarf_getscopes(&unit, vaddr, &scopes);
	while (i < n && !is_function(&scopes[i]))
		i++;
	if (i >= n)
		return 0;
	/* from an inlined function on, scopes are those of its definition: what is
	 * around it in code are its parents */
	n = dwarf_getscopes_die(&scopes[i], &parents);
	return n > 0 ? walk(&unit, vaddr, parents, n, frames, max) : 0;
}
