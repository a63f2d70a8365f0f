/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The symbol tables of an ELF file as an index of names. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "symbol/names.h"
#include "target/elf_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A name that is given belongs to a span that covers the address. */
static void check(const struct names *n, const struct spans *spans)
{
	for (size_t i = 0; i < spans->n_items; i++) {
		const struct span *one = &spans->items[i];

		if (one->start >= one->end)
			abort();
		if (spans->n_items < SPANS_MAX_WALK &&
		    (!names_find(n, one->start) || !names_find(n, one->end - 1)))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	cleanup(names_clear) struct names names = { 0 };
	cleanup_close int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct error err;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
	    elf_file_open(take_fd(fd), "fuzz", &f, &err) < 0)
		return 0;
	if (names_add(&names, f, ELF_DYNSYM, false, &err) < 0 ||
	    names_add(&names, f, ELF_SYMTAB, true, &err) < 0 || names_finish(&names, &err) < 0)
		return 0;
	check(&names, &names.sized);
	check(&names, &names.unsized);
	return 0;
}
