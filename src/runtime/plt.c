/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/plt.h"

#include <elf.h>
#include <string.h>

#include "base/cleanup.h"

enum { MAX_SECTION_BYTES = 64 << 20, STUB_BYTES = 16 };

bool plt_contains(const struct elf_file *f, uint64_t vaddr)
{
	static const char *const names[] = { ".plt", ".plt.got", ".plt.sec", ".iplt" };
	struct elf_section s;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (elf_file_section(f, names[i], &s) && vaddr >= s.vaddr &&
		    vaddr - s.vaddr < s.size)
			return true;
	return false;
}

/* Address of the word that a stub jumps through: [endbr64] [bnd] jmp *d(%rip);
 * 0: it does not look like one. */
static uint64_t stub_slot(const struct elf_file *f, uint64_t vaddr)
{
	static const uint8_t endbr64[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	uint8_t b[STUB_BYTES];
	struct error ignored;
	int32_t displacement;
	size_t at = 0;

	if (elf_file_read_vaddr(f, vaddr, b, sizeof(b), &ignored) < 0)
		return 0;
	if (!memcmp(b, endbr64, sizeof(endbr64)))
		at += sizeof(endbr64);
	if (b[at] == 0xf2)
		at++;
	if (b[at] != 0xff || b[at + 1] != 0x25)
		return 0;
	memcpy(&displacement, b + at + 2, sizeof(displacement));
	return vaddr + at + 6 + displacement;
}

/* Index in .dynsym of what the dynamic linker puts at @slot; 0: none. */
static uint32_t slot_symbol(const struct elf_file *f, const char *section, uint64_t slot)
{
	cleanup_free void *data = NULL;
	struct elf_section s;
	struct error ignored;
	size_t len = 0;

	if (!elf_file_section(f, section, &s) ||
	    elf_file_section_data(f, &s, MAX_SECTION_BYTES, &data, &len, &ignored) < 0)
		return 0;
	for (size_t at = 0; len - at >= sizeof(Elf64_Rela); at += sizeof(Elf64_Rela)) {
		Elf64_Rela r;

		memcpy(&r, (char *)data + at, sizeof(r));
		if (r.r_offset == slot && (ELF64_R_TYPE(r.r_info) == R_X86_64_JUMP_SLOT ||
		                           ELF64_R_TYPE(r.r_info) == R_X86_64_GLOB_DAT))
			return ELF64_R_SYM(r.r_info);
	}
	return 0;
}

/* Value of a symbol of .dynsym that this file defines; else 0. */
static uint64_t defined_value(const struct elf_file *f, uint32_t index)
{
	struct elf_section s;
	struct error ignored;
	Elf64_Sym sym;

	if (!elf_file_section(f, ".dynsym", &s) || index >= s.size / sizeof(sym) ||
	    elf_file_read(f, s.offset + (uint64_t)index * sizeof(sym), &sym, sizeof(sym),
	                  &ignored) < 0 ||
	    sym.st_shndx == SHN_UNDEF || ELF64_ST_TYPE(sym.st_info) != STT_FUNC)
		return 0;
	return sym.st_value;
}

uint64_t plt_slot(const struct elf_file *f, uint64_t vaddr)
{
	return plt_contains(f, vaddr) ? stub_slot(f, vaddr) : 0;
}

uint64_t plt_own_function(struct elf_file *f, uint64_t vaddr)
{
	uint64_t slot;
	uint32_t index;

	if (!plt_contains(f, vaddr))
		return 0;
	slot = stub_slot(f, vaddr);
	if (!slot)
		return 0;
	index = slot_symbol(f, ".rela.plt", slot);
	if (!index)
		index = slot_symbol(f, ".rela.dyn", slot);
	return index ? defined_value(f, index) : 0;
}
