/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_ranges.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	NEAR_BYTES = 0x10000, /* one object file */
	MAX_FUNCTIONS = 256,  /* of one class; AllocSet has about 20 */
};

void pg_ranges_clear(struct pg_ranges *r)
{
	free(r->items);
	*r = (struct pg_ranges){ 0 };
}

struct exported {
	uint64_t vaddr, size;
	bool found;
};

static int is_at(const struct elf_symbol *s, void *arg)
{
	struct exported *e = arg;

	if (!s->defined || s->type != STT_FUNC || s->value != e->vaddr)
		return 0;
	e->found = true;
	e->size = s->size;
	return 1;
}

static struct exported find_exported(struct elf_file *elf, uint64_t vaddr)
{
	struct exported e = { .vaddr = vaddr };

	elf_file_each_symbol(elf, ELF_DYNSYM, is_at, &e);
	return e;
}

uint64_t pg_ranges_function_size(struct elf_file *elf, const struct pg_functions *functions,
                                 uint64_t vaddr)
{
	uint64_t size = pg_code_function_size(functions, vaddr);

	return size ? size : find_exported(elf, vaddr).size;
}

static bool has(const struct pg_ranges *r, uint64_t vaddr)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->items[i].vaddr == vaddr)
			return true;
	return false;
}

static int add(struct elf_file *elf, const struct pg_functions *functions, uint64_t vaddr,
               struct pg_ranges *to, struct error *err)
{
	uint64_t size;
	int r;

	if (!vaddr || has(to, vaddr))
		return 0;
	size = pg_ranges_function_size(elf, functions, vaddr);
	if (!size)
		return 0;
	r = array_reserve(&to->items, &to->cap, to->n + 1, err);
	if (r < 0)
		return r;
	to->items[to->n++] = (struct pg_range){ vaddr, size };
	return 0;
}

static bool is_near_class(const struct pg_table *t, uint64_t vaddr)
{
	for (unsigned i = 0; i < t->n_words; i++)
		if (t->words[i] && vaddr + NEAR_BYTES > t->words[i] &&
		    vaddr < t->words[i] + NEAR_BYTES)
			return true;
	return false;
}

/* A helper of the class: begins where a function begins, is close by, and
 * nobody outside can name it. */
static bool is_helper(struct elf_file *elf, const struct pg_functions *functions,
                      const struct pg_table *t, uint64_t vaddr)
{
	return pg_code_function_size(functions, vaddr) && is_near_class(t, vaddr) &&
	       !find_exported(elf, vaddr).found;
}

int pg_ranges_add(struct elf_file *elf, const struct pg_functions *functions,
                  const struct pg_methods *m, enum pg_class c, struct pg_ranges *to,
                  struct error *err)
{
	const struct pg_table *t = &m->tables[c];
	size_t first = to->n;
	int r = 0;

	/* it calls pfree() and palloc() like anybody else */
	if (!t->found || c == PG_ALIGNED)
		return 0;
	for (unsigned i = 0; i < t->n_words && r == 0; i++)
		r = add(elf, functions, t->words[i], to, err);
	if (r == 0)
		r = add(elf, functions, t->creator, to, err);
	for (size_t i = first; i < to->n && i < first + MAX_FUNCTIONS && r == 0; i++) {
		cleanup(pg_code_refs_clear) struct pg_refs refs = { 0 };

		r = pg_code_refs(elf, to->items[i].vaddr, to->items[i].size, PG_REF_BRANCH, &refs,
		                 err);
		for (size_t k = 0; k < refs.n && r == 0; k++)
			if (!has(to, refs.items[k]) && is_helper(elf, functions, t, refs.items[k]))
				r = add(elf, functions, refs.items[k], to, err);
	}
	return r;
}
