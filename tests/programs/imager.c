/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * target/image.h by hand, for the tests:
 *
 *	imager CORE|PID [-e EXE] [-s SYSROOT] [ADDR...]
 *
 * Prints what the image is ("name value"), its segments and threads, and for each
 * ADDR the word there, or "absent".
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/image.h"

static void print_image(struct image *i)
{
	struct error err = { 0 };
	uint64_t bias = 0;
	struct elf_file *exe = image_exe(i, &bias, &err);

	printf("pid %d\ncomm %s\nsignal %d\nmissing %" PRIu64 "\n", (int)image_pid(i),
	       image_comm(i), image_signal(i), image_missing(i));
	if (exe)
		printf("exe %s\nbias 0x%" PRIx64 "\n", elf_file_name(exe), bias);
	else
		printf("no-exe %s\n", err.message);
	for (size_t k = 0; k < image_n_segments(i); k++) {
		const struct image_segment *s = image_segment(i, k);

		printf("segment %" PRIx64 "-%" PRIx64 " %u %" PRIx64 " %s\n", s->start, s->end,
		       s->prot, s->file_offset, s->path);
	}
	for (size_t k = 0; k < image_n_threads(i); k++) {
		const struct image_thread *t = image_thread(i, k);

		printf("thread %d %" PRIx64 " %" PRIx64 "\n", (int)t->tid, t->pc, t->sp);
	}
}

static void print_word(struct image *i, const char *text)
{
	uint64_t v, at = strtoull(text, NULL, 0);

	if (image_read(i, at, &v, sizeof(v)) == 0)
		printf("word 0x%" PRIx64 " 0x%" PRIx64 "\n", at, v);
	else
		printf("word 0x%" PRIx64 " absent\n", at);
}

int main(int argc, char **argv)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(image_closep) struct image *i = NULL;
	struct image_options o = { 0 };
	struct error err;
	int c, r;

	while ((c = getopt(argc, argv, "+e:s:")) > 0) {
		if (c == 'e')
			o.exe = optarg;
		else if (c == 's')
			o.sysroot = optarg;
		else
			return 2;
	}
	if (optind >= argc)
		return 2;
	if (argv[optind][strspn(argv[optind], "0123456789")] == '\0') {
		r = target_open(strtol(argv[optind], NULL, 10), &t, &err);
		if (r == 0)
			r = image_open_process(t, NULL, 0, &i, &err);
	} else {
		r = image_open_core(argv[optind], &o, &i, &err);
	}
	if (r < 0) {
		error_print(&err, stderr);
		return 1;
	}
	print_image(i);
	for (int k = optind + 1; k < argc; k++)
		print_word(i, argv[k]);
	return 0;
}
