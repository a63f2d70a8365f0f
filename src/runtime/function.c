/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/function.h"

#include "target/elf_file.h"

/* What is found by its code alone is watched, never called. */
uint64_t function_find(const struct symbol_space *space, const char *name)
{
	for (size_t i = 0; i < symbol_space_n(space); i++) {
		const struct symbol_mapping *m = symbol_space_at(space, i);
		struct elf_file *elf = m->module && !m->gone ? symbol_module_elf(m->module) : NULL;
		struct elf_symbol s;

		if (elf && elf_file_symbol(elf, ELF_NAMED, name, &s) == 0 &&
		    symbol_space_find(space, s.value + m->bias))
			return s.value + m->bias;
	}
	return 0;
}
