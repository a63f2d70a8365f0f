/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * libFuzzer's main() for builds without libFuzzer: runs every file that is
 * named, every file of a named folder, and small damages of each: cut short,
 * one byte changed. Deterministic, so that a failure repeats.
 *
 *	fuzz_NAME [-r ROUNDS] FILE|FOLDER...
 */

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned rounds = 200, n_inputs, n_files;

/* A copy of exactly @size bytes, so that a read past its end is seen. */
static void try(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = malloc(size ? size : 1);

	if (!copy)
		exit(1);
	memcpy(copy, data, size);
	n_inputs++;
	LLVMFuzzerTestOneInput(copy, size);
}

static void damage(uint8_t *data, size_t size)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x7f, 0x80, 0xff };

	for (unsigned i = 0; i < rounds && size; i++) {
		uint64_t dice = hash_u64(hash_u64(size) + i);
		size_t at = dice % size, len = 1 + (dice >> 32) % 8;
		uint8_t old[8];

		len = len > size - at ? size - at : len;
		memcpy(old, data + at, len);
		memset(data + at, values[(dice >> 48) % ARRAY_SIZE(values)], len);
		try(data, size);
		memcpy(data + at, old, len);
		if (i % 4 == 0)
			try(data, at);
	}
}

static int run_file(const char *path)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	cleanup_free uint8_t *data = NULL;
	struct stat st;

	if (!f || fstat(fileno(f), &st)) {
		perror(path);
		return -1;
	}
	data = malloc((size_t)st.st_size + 1);
	if (!data || fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		return -1;
	n_files++;
	try(data, (size_t)st.st_size);
	damage(data, (size_t)st.st_size);
	return 0;
}

static int run_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort), r = 0;

	if (n < 0) {
		perror(path);
		return -1;
	}
	for (int i = 0; i < n; i++) {
		char file[4096];

		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.' && run_file(file) < 0)
			r = -1;
		free(names[i]);
	}
	free(names);
	return r;
}

int main(int argc, char **argv)
{
	int first = 1, r = 0;

	if (argc > 2 && !strcmp(argv[1], "-r")) {
		rounds = (unsigned)strtoul(argv[2], NULL, 10);
		first = 3;
	}
	for (int i = first; i < argc; i++) {
		struct stat st;

		if (!stat(argv[i], &st) && S_ISDIR(st.st_mode))
			r |= run_folder(argv[i]);
		else
			r |= run_file(argv[i]);
	}
	printf("%u inputs from %u files\n", n_inputs, n_files);
	/* a corpus that is empty tests nothing */
	return r || !n_files ? 1 : 0;
}
