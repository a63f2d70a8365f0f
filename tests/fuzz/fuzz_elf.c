/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A whole ELF file: everything that elf_file offers, and its unwind table. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/elf_file.h"
#include "unwind/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile size_t sink;

static int read_name(const struct elf_symbol *s, void *arg)
{
	sink += strlen(s->name);
	return 0;
}

static void read_addresses(struct elf_file *f)
{
	struct error err;

	for (size_t i = 0; i < elf_file_n_segments(f) && i < 64; i++) {
		struct elf_segment s = elf_file_segment(f, i);
		uint64_t word, offset;
		char bytes[64];

		elf_file_word(f, s.vaddr, &word, &err);
		elf_file_read_vaddr(f, s.vaddr + s.filesz - 8, bytes, sizeof(bytes), &err);
		if (elf_file_offset(f, s.vaddr, &offset))
			elf_file_vaddr(f, offset, &offset);
		elf_file_bias(f, 0x7f0000000000, s.offset & ~4095ull, &word);
	}
}

static void read_sections(struct elf_file *f)
{
	static const char *const names[] = { ".text", ".debug_frame", ".debug_info", ".symtab",
		                             ".z" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		cleanup_free void *bytes = NULL;
		struct elf_section s;
		struct error err;
		size_t len;

		if (elf_file_section(f, names[i], &s))
			elf_file_section_data(f, &s, 1 << 20, &bytes, &len, &err);
	}
}

static void read_table(struct elf_file *f)
{
	cleanup(unwind_table_freep) struct unwind_table *t = NULL;
	struct error err;

	if (unwind_table_make(f, &t, &err) < 0 || !t->n_rows)
		return;
	for (uint64_t pc = t->text_base; pc < t->text_end;
	     pc += 1 + (t->text_end - t->text_base) / 999) {
		const struct unwind_row *row = unwind_table_find(t, pc);

		if (!row || row->pc > pc - t->text_base)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);
	struct elf_symbol symbol;
	struct error err;

	if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
	    elf_file_open(fd, "fuzz", &f, &err) < 0)
		return 0;
	elf_file_build_id_hex(f, hex);
	sink += elf_file_interpreter(f) ? strlen(elf_file_interpreter(f)) : 0;
	sink += elf_file_soname(f) ? strlen(elf_file_soname(f)) : 0;
	elf_file_symbol(f, ELF_ALL, "main", &symbol);
	elf_file_each_symbol(f, ELF_ALL, read_name, NULL);
	read_addresses(f);
	read_sections(f);
	read_table(f);
	return 0;
}
