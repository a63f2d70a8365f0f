/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/notes.h"

#include <elf.h>
#include <string.h>

static uint64_t align_up(uint64_t x, uint64_t align)
{
	return (x + align - 1) / align * align;
}

size_t notes_find(const uint8_t *notes, uint64_t len, uint64_t align, const char owner[4],
                  uint32_t type, uint8_t *buf, size_t size)
{
	uint64_t at = 0;

	align = align == 8 ? 8 : 4;
	while (at < len && len - at >= sizeof(Elf64_Nhdr)) {
		uint64_t name = at + sizeof(Elf64_Nhdr), desc;
		Elf64_Nhdr n;

		memcpy(&n, notes + at, sizeof(n));
		desc = align_up(name + n.n_namesz, align);
		if (desc > len || n.n_descsz > len - desc)
			return 0;
		if (n.n_type == type && n.n_namesz == 4 && n.n_descsz && n.n_descsz <= size &&
		    !memcmp(notes + name, owner, 4)) {
			memcpy(buf, notes + desc, n.n_descsz);
			return n.n_descsz;
		}
		at = align_up(desc + n.n_descsz, align);
	}
	return 0;
}
