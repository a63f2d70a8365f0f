/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_version.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { VERSION_BYTES = 64 };

static bool is_version(const char *s)
{
	return strncmp(s, "go1.", 4) == 0 || strncmp(s, "devel", 5) == 0;
}

/* Since 1.18 a string follows the header of 32 bytes; before, a pointer to a string header does
 * (cmd/link/internal/ld/data.go, debug/buildinfo). */
static void read_version(struct elf_file *elf, char *buf, size_t size)
{
	uint8_t b[32 + 1 + VERSION_BYTES] = { 0 };
	uint64_t header, text, len;
	struct elf_section s;
	struct error err;

	if (!elf_file_section(elf, ".go.buildinfo", &s) ||
	    elf_file_read(elf, s.offset, b, s.size < sizeof(b) - 1 ? s.size : sizeof(b) - 1, &err) <
	            0)
		return;
	if (b[15] & 2) {
		snprintf(buf, size, "%.*s", b[32] < VERSION_BYTES ? b[32] : 0, b + 33);
		return;
	}
	if (elf_file_word(elf, s.vaddr + 16, &header, &err) < 0 ||
	    elf_file_word(elf, header, &text, &err) < 0 ||
	    elf_file_word(elf, header + 8, &len, &err) < 0 || len >= VERSION_BYTES ||
	    elf_file_read_vaddr(elf, text, b, len, &err) < 0)
		return;
	snprintf(buf, size, "%.*s", (int)len, b);
}

void go_version_text(struct elf_file *elf, char *buf, size_t size)
{
	buf[0] = 0;
	read_version(elf, buf, size);
	for (const char *c = buf; *c; c++) {
		if (*c < 32 || *c > 126)
			buf[0] = 0;
	}
	if (!is_version(buf))
		buf[0] = 0;
}

unsigned go_version_minor(const char *text)
{
	unsigned minor = 0;

	return sscanf(text, "go1.%u", &minor) == 1 ? minor : 0;
}
