/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/jemalloc/jemalloc_opt.h"

#include <elf.h>
#include <errno.h>

#include "base/cleanup.h"
#include "runtime/code_graph.h"
#include "runtime/jemalloc/jemalloc_tree.h"
#include "target/reader.h"

enum { MOST_CODE = 1024 }; /* of a function that reads one variable */

struct variables {
	const struct elf_file *f;
	uint64_t addr;
	bool has_more;
};

static int look_at(const struct code_insn *in, const uint64_t names[2], void *arg)
{
	struct variables *to = arg;

	(void)in;
	for (unsigned i = 0; i < 2; i++) {
		if (!names[i] || !code_graph_is_variable(to->f, names[i]))
			continue;
		to->has_more |= to->addr && to->addr != names[i];
		to->addr = names[i];
	}
	return 0;
}

/* The one variable that the function at @vaddr names; 0: none, or more. */
static int variable_of(struct elf_file *f, uint64_t vaddr, uint64_t *ret, struct error *err)
{
	cleanup(code_graph_clear) struct code_graph g = { 0 };
	struct variables v = { .f = f };
	int r = code_graph_functions(f, &g, err);
	size_t at = code_graph_at(&g, vaddr);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	if (at == g.n || g.functions[at].end - vaddr > MOST_CODE)
		return 0;
	r = code_graph_each(f, &g, at, look_at, &v, err);
	if (r == 0 && !v.has_more)
		*ret = v.addr;
	return r;
}

/* NULL: the same module once more, or none that can be read. */
static struct elf_file *next_elf(const struct symbol_mapping *m, const struct symbol_module **last)
{
	struct elf_file *elf = m->module && !m->gone && m->module != *last
	                               ? symbol_module_elf(m->module)
	                               : NULL;

	*last = m->module;
	return elf && elf_file_machine(elf) == EM_X86_64 ? elf : NULL;
}

bool jemalloc_opt_is_there(const struct symbol_space *space)
{
	const struct symbol_module *last = NULL;
	struct error ignored;
	uint64_t root;

	for (size_t i = 0; i < symbol_space_n(space); i++) {
		struct elf_file *elf = next_elf(symbol_space_at(space, i), &last);

		if (elf && jemalloc_tree_root(elf, &root, &ignored) > 0)
			return true;
	}
	return false;
}

int jemalloc_opt_read(const struct target *t, const struct symbol_space *space, const char *name,
                      bool *ret, struct error *err)
{
	const struct symbol_module *last = NULL;
	uint64_t addr = 0, n = 0;
	uint8_t value = 2;

	for (size_t i = 0; i < symbol_space_n(space); i++) {
		const struct symbol_mapping *m = symbol_space_at(space, i);
		struct elf_file *elf = next_elf(m, &last);
		uint64_t root, function = 0, at = 0;
		int r;

		if (!elf)
			continue;
		r = jemalloc_tree_root(elf, &root, err);
		if (r > 0 && jemalloc_tree_leaf_at(elf, root, name, &function))
			r = variable_of(elf, function, &at, err);
		if (r == -ENOMEM)
			return r;
		n += function != 0;
		addr = at ? at + m->bias : addr;
	}
	if (n != 1 || !addr || reader_try(t, addr, &value, 1) < 0 || value > 1)
		return 0;
	*ret = value;
	return 1;
}
