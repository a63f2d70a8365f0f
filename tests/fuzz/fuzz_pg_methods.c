/* SPDX-License-Identifier: GPL-2.0-or-later */

/* An ELF file as the postgres runtime looks at it: tables, functions, ranges. */

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/postgres/pg_code.h"
#include "runtime/postgres/pg_methods.h"
#include "runtime/postgres/pg_ranges.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(struct elf_file *elf)
{
	cleanup(pg_code_functions_clear) struct pg_functions functions = { 0 };
	cleanup(pg_ranges_clear) struct pg_ranges ranges = { 0 };
	struct pg_methods m;
	struct error err;
	char version[32];

	pg_methods_version(elf, version, sizeof(version));
	if (!pg_methods_detect(elf) || pg_methods_find(elf, &m, &err) < 0 ||
	    pg_code_functions(elf, &functions, &err) < 0)
		return;
	for (unsigned c = 0; c < PG_N_CLASSES; c++)
		pg_ranges_add(elf, &functions, &m, c, &ranges, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(elf_file_closep) struct elf_file *elf = NULL;
	struct error err;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	if (write(fd, data, size) != (ssize_t)size) {
		close(fd);
		return 0;
	}
	if (elf_file_open(fd, "fuzz", &elf, &err) == 0)
		look(elf);
	return 0;
}
