/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "target/elf_file_internal.h"

static int by_vaddr(const void *a, const void *b)
{
	const struct elf_relocs_entry *x = a, *y = b;

	return (x->vaddr > y->vaddr) - (x->vaddr < y->vaddr);
}

static bool is_relative(const struct elf_file *f, uint64_t info)
{
	uint32_t type = ELF64_R_TYPE(info);

	return f->header.e_machine == EM_AARCH64 ? type == R_AARCH64_RELATIVE
	                                         : type == R_X86_64_RELATIVE;
}

static bool is_sorted(const struct elf_relocs_table *t)
{
	for (size_t i = 1; i < t->n_items; i++)
		if (t->items[i].vaddr < t->items[i - 1].vaddr)
			return false;
	return true;
}

static int keep_relative(struct elf_file *f, const Elf64_Rela *rela, size_t n, struct error *err)
{
	struct elf_relocs_table *t = &f->relocs;

	t->items = malloc((n + 1) * sizeof(*t->items)); /* n is bounded by the file's size */
	if (!t->items)
		return error_oom(err);
	for (size_t i = 0; i < n; i++)
		if (is_relative(f, rela[i].r_info))
			t->items[t->n_items++] = (struct elf_relocs_entry){ rela[i].r_offset,
				                                            rela[i].r_addend };
	/* linkers put them in order (-z combreloc) */
	if (!is_sorted(t))
		qsort(t->items, t->n_items, sizeof(*t->items), by_vaddr);
	return 0;
}

/* RELR (and REL) relocations need nothing: their addend is the word in the
 * file. */
int elf_relocs_load(struct elf_file *f, struct error *err)
{
	cleanup_free void *rela = NULL;
	uint64_t vaddr, bytes, offset;
	int r;

	if (f->relocs.loaded)
		return 0;
	if (elf_file_dynamic(f, DT_RELA, &vaddr) && elf_file_dynamic(f, DT_RELASZ, &bytes) &&
	    bytes) {
		if (!elf_file_offset(f, vaddr, &offset))
			return error_set(err, ERANGE, "%s: relocations outside the file", f->name);
		r = elf_file_copy(f, offset, bytes, &rela, err);
		if (r < 0)
			return r;
		r = keep_relative(f, rela, bytes / sizeof(Elf64_Rela), err);
		if (r < 0)
			return r;
	}
	f->relocs.loaded = true;
	return 0;
}

bool elf_relocs_find(const struct elf_relocs_table *t, uint64_t vaddr, uint64_t *ret_addend)
{
	struct elf_relocs_entry key = { vaddr, 0 }, *e = NULL;

	if (t->n_items)
		e = bsearch(&key, t->items, t->n_items, sizeof(*t->items), by_vaddr);
	if (!e)
		return false;
	*ret_addend = e->addend;
	return true;
}
