/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "map/settings_internal.h"
#include "target/elf_file.h"
#include "target/maps.h"

enum { RODATA_MOST = 8 << 20, VALUE_BYTES = 256 };

static bool is_libc(const struct mapping *m)
{
	const char *name = path_base(m->name);

	return !strcmp(name, "libc.so.6") || !strcmp(name, "libc.so") ||
	       !strncmp(name, "libc-2.", 7) || !strncmp(name, "ld-musl-", 8) ||
	       !strncmp(name, "libc.musl-", 10);
}

/* "GNU C Library (Debian GLIBC 2.36-9+deb12u10) stable release version 2.36.\n":
 * the banner that libc.so.6 prints when it is run (csu/version.c). */
static bool find_banner(const struct elf_file *f, char *buf, size_t size)
{
	static const char mark[] = "GNU C Library ";
	cleanup_free void *data = NULL;
	struct elf_section s;
	struct error ignored;
	const char *at;
	size_t n;

	if (!elf_file_section(f, ".rodata", &s) ||
	    elf_file_section_data(f, &s, RODATA_MOST, &data, &n, &ignored) < 0)
		return false;
	at = memmem(data, n, mark, strlen(mark));
	if (!at)
		return false;
	at += strlen(mark);
	snprintf(buf, size, "glibc %.*s", (int)strcspn(at, "\n"), at);
	n = strlen(buf);
	if (n && buf[n - 1] == '.')
		buf[n - 1] = '\0';
	return true;
}

static int add_file(const struct settings *s, const struct mapping *m, struct error *err)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	char value[VALUE_BYTES], id[2 * ELF_FILE_BUILD_ID_BYTES + 1];
	const char *name = path_base(m->name);
	struct error ignored;
	int fd, r;

	if (maps_open_file(s->t, m, &fd, &ignored) < 0 ||
	    elf_file_open(fd, m->name, &f, &ignored) < 0)
		return 0;
	if (!find_banner(f, value, sizeof(value)))
		snprintf(value, sizeof(value), "%s%s", strstr(name, "musl") ? "musl " : "", name);
	r = settings_add(s, "libc", value, err);
	elf_file_build_id_hex(f, id);
	return r < 0 || !id[0] ? r : settings_add(s, "libc build-id", id, err);
}

int settings_libc_add(const struct settings *s, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error ignored;

	if (maps_read(s->t, &maps, &ignored) < 0)
		return 0;
	for (size_t i = 0; i < maps.n_items; i++) {
		if (is_libc(&maps.items[i]))
			return add_file(s, &maps.items[i], err);
	}
	return settings_add(s, "libc", "none mapped (static)", err);
}
