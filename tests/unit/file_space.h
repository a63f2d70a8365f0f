/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * In place of symbol/: a space whose modules are files that a test names. For
 * tests of what runtimes find in files; tests on processes use the real one.
 */

#include <fcntl.h>
#include <stddef.h>
#include <string.h>

#include "runtime/runtime.h"

struct symbol_module {
	struct elf_file *elf;
	const char *path;
};

struct symbol_space {
	struct symbol_module modules[4];
	struct symbol_mapping mappings[4];
	size_t n;
};

const char *symbol_module_path(const struct symbol_module *m)
{
	return m->path;
}

bool symbol_module_is_undecided(struct symbol_module *m, const char *name)
{
	return false;
}

struct elf_file *symbol_module_elf(struct symbol_module *m)
{
	return m->elf;
}

size_t symbol_space_n(const struct symbol_space *s)
{
	return s->n;
}

const struct symbol_mapping *symbol_space_at(const struct symbol_space *s, size_t i)
{
	return &s->mappings[i];
}

/* Takes @fd over; false: it is no ELF file. */
static inline bool file_space_add_fd(struct symbol_space *s, int fd, const char *path)
{
	struct symbol_module *m = &s->modules[s->n];
	struct error err = { 0 };

	m->path = path;
	if (elf_file_open(fd, path, &m->elf, &err) < 0)
		return false;
	s->mappings[s->n] = (struct symbol_mapping){ .module = m, .start = 0x1000 * (s->n + 1) };
	s->n++;
	return true;
}

/* false: there is no such file. */
static inline bool file_space_add(struct symbol_space *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && file_space_add_fd(s, fd, path);
}

static inline void file_space_clear(struct symbol_space *s)
{
	for (size_t i = 0; i < s->n; i++)
		elf_file_close(s->modules[i].elf);
	*s = (struct symbol_space){ 0 };
}
