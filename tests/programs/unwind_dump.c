/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * unwind_dump [-c|-C] FILE: the unwind table of an ELF file as text, for comparing
 * it with other programs' reading of the same bytes. -c: only the figures and
 * the time it took; -C: through the cache.
 *
 *	PC(vaddr) TYPE CFA-OFFSET RBP-SLOT
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "target/elf_file.h"
#include "unwind/table.h"

static const char *const type_names[] = {
	[UNWIND_NONE] = "none",       [UNWIND_RSP] = "rsp",       [UNWIND_RBP] = "rbp",
	[UNWIND_PLT] = "plt",         [UNWIND_SIGNAL] = "signal", [UNWIND_END] = "end",
	[UNWIND_RBP_DEREF] = "deref", [UNWIND_RSP_FAR] = "far",
};

static int dump(const char *path, bool figures, bool cached, struct error *err)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	cleanup(unwind_table_freep) struct unwind_table *t = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;
	uint64_t began, ns;

	if (fd < 0)
		return error_set(err, 2, "%s: cannot open", path);
	r = elf_file_open(fd, path, &f, err);
	if (r < 0)
		return r;
	began = clock_self_cpu_ns();
	r = (cached ? unwind_table_cached : unwind_table_make)(f, &t, err);
	if (r < 0)
		return r;
	ns = clock_self_cpu_ns() - began;
	if (figures) {
		printf("%zu FDEs, %zu rows, %zu dropped, %zu followed, %.1f ms\n", t->n_fdes,
		       t->n_rows, t->n_dropped, t->n_followed, ns / 1e6);
		return 0;
	}
	for (size_t i = 0; i < t->n_rows; i++)
		printf("%" PRIx64 " %s %d %u\n", t->text_base + t->rows[i].pc,
		       type_names[t->rows[i].type], t->rows[i].cfa_offset, t->rows[i].rbp_slot);
	return 0;
}

int main(int argc, char **argv)
{
	bool cached = argc > 2 && !strcmp(argv[1], "-C");
	bool figures = cached || (argc > 2 && !strcmp(argv[1], "-c"));
	struct error err = { 0 };

	if (argc != 2 + figures) {
		fprintf(stderr, "usage: unwind_dump [-c|-C] FILE\n");
		return 2;
	}
	if (dump(argv[argc - 1], figures, cached, &err) < 0) {
		error_print(&err, stderr);
		return 1;
	}
	return 0;
}
