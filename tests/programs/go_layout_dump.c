/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * go_layout_dump PROGRAM: the Go runtime's layout by the DWARF of a Go program,
 * "NAME VALUE" lines ("-": not there), for tools/go-layout.py. With -c nothing but
 * what differs from the table that memwho has for its version.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/go/go_layout_dwarf.h"
#include "runtime/go/go_version.h"

static uint32_t value(const struct go_layout *l, size_t field)
{
	uint32_t v;

	memcpy(&v, (const char *)l + go_layout_fields[field].at, sizeof(v));
	return v;
}

static void print(uint32_t v)
{
	if (v == GO_LAYOUT_NONE)
		printf(" -");
	else
		printf(" %" PRIu32, v);
}

static int dump(const char *path, bool compare, struct error *err)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct go_layout own = { 0 }, table = { 0 };
	char version[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0)
		return error_set(err, 2, "%s: cannot open", path);
	r = elf_file_open(fd, path, &f, err);
	if (r < 0)
		return r;
	go_version_text(f, version, sizeof(version));
	r = go_layout_dwarf_read(f, go_version_minor(version), &own, err);
	if (r <= 0)
		return r < 0 ? r : error_set(err, 2, "%s: no DWARF of Go's runtime", path);
	if (compare && !go_layout_of(version, &table))
		return error_set(err, 2, "%s: no table for %s", path, version);
	for (size_t i = 0; i < go_layout_n_fields; i++) {
		if (compare && value(&own, i) == value(&table, i))
			continue;
		printf("%s", go_layout_fields[i].name);
		print(value(&own, i));
		if (compare)
			print(value(&table, i));
		putchar('\n');
	}
	return 0;
}

int main(int argc, char **argv)
{
	bool compare = argc == 3 && !strcmp(argv[1], "-c");
	struct error err;

	if (argc != 2 && !compare)
		return 2;
	if (dump(argv[argc - 1], compare, &err) == 0)
		return 0;
	fprintf(stderr, "%s\n", err.message);
	return 1;
}
