/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Print where every function of a file would be probed: "ADDRESS SIZE OFFSET",
 * OFFSET "-" if single-stepped. For probe_points.py. */
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/probe_point.h"

static int print(const struct elf_symbol *s, void *arg)
{
	struct elf_file *f = arg;
	struct error err;
	uint64_t at;
	bool single;

	if (!s->defined || s->type != STT_FUNC || !s->size)
		return 0;
	if (probe_point_find(f, s->value, s->size, &at, &single, &err) < 0)
		printf("%llx %llu error %s\n", (unsigned long long)s->value,
		       (unsigned long long)s->size, err.message);
	else if (single)
		printf("%llx %llu -\n", (unsigned long long)s->value, (unsigned long long)s->size);
	else
		printf("%llx %llu %llu\n", (unsigned long long)s->value,
		       (unsigned long long)s->size, (unsigned long long)(at - s->value));
	return 0;
}

int main(int argc, char **argv)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct error err;

	if (argc != 2 || elf_file_open(open(argv[1], O_RDONLY), argv[1], &f, &err) < 0)
		return 1;
	return elf_file_each_symbol(f, ELF_DYNSYM, print, f);
}
