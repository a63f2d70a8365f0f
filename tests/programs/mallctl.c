/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * mallctl FILE: what runtime/jemalloc/jemalloc_code.h proves of a program without
 * symbols, for tests that know its symbols. Exit status 0 found, 1 not, with the
 * reason on standard error.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "runtime/jemalloc/jemalloc_code.h"

int main(int argc, char **argv)
{
	cleanup(jemalloc_code_clear) struct jemalloc_code c = { 0 };
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct error err = { 0 };
	int r = argc == 2 ? elf_file_open(open(argv[1], O_RDONLY), argv[1], &f, &err) : -1;

	if (r == 0)
		r = jemalloc_code_find(f, &c, &err);
	if (r <= 0) {
		fprintf(stderr, "%s\n", r ? err.message : "no control tree");
		return 1;
	}
	printf("mallctl %" PRIx64 "\nleaves %zu\nsites %zu\nfunctions %zu\n", c.mallctl, c.leaves,
	       c.sites, c.functions);
	for (size_t i = 0; i < c.n_ranges; i++)
		printf("range %" PRIx64 " %" PRIx64 "\n", c.ranges[i].start, c.ranges[i].end);
	return 0;
}
