/* SPDX-License-Identifier: GPL-2.0-or-later */

/* object_code_text TITLE ARCHIVE [MEMBER...]: an archive's object code as the text that
 * symbol/object_text.h describes. */

#include <stdio.h>
#include <stdlib.h>

#include "symbol/object_archive.h"
#include "symbol/object_text.h"

static unsigned char *read_all(const char *path, size_t *len)
{
	FILE *f = fopen(path, "re");
	unsigned char *bytes = NULL;

	*len = 0;
	while (f && !feof(f) && !ferror(f)) {
		bytes = realloc(bytes, *len + (1 << 20));
		if (!bytes)
			break;
		*len += fread(bytes + *len, 1, 1 << 20, f);
	}
	if (f)
		fclose(f);
	return bytes;
}

int main(int argc, char **argv)
{
	struct object_build build = { 0 };
	struct error err = { 0 };
	unsigned char *bytes;
	size_t len;
	int r;

	if (argc < 3) {
		fprintf(stderr, "usage: object_code_text TITLE ARCHIVE [MEMBER...]\n");
		return 2;
	}
	bytes = read_all(argv[2], &len);
	if (!bytes) {
		perror(argv[2]);
		return 1;
	}
	r = object_archive_read(&build, bytes, len, argc > 3 ? (const char *const *)argv + 3 : NULL,
	                        &err);
	snprintf(build.title, sizeof(build.title), "%s", argv[1]);
	if (r == 0)
		r = object_text_write(&build, stdout, &err);
	if (r < 0)
		error_print(&err, stderr);
	object_build_clear(&build);
	free(bytes);
	return r < 0;
}
