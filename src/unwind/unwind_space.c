/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/unwind_space.h"

#include <stdlib.h>

#include "base/array.h"
#include "unwind/table.h"

void unwind_space_clear(struct unwind_space *s)
{
	for (size_t i = 0; i < s->n_tables; i++)
		unwind_table_free(s->tables[i].table);
	free(s->tables);
	free(s->modules);
	*s = (struct unwind_space){ 0 };
}

static int table_of(struct unwind_space *s, struct symbol_module *m, struct unwind_table **ret,
                    struct error *err)
{
	struct elf_file *elf = symbol_module_elf(m);
	int r;

	*ret = NULL;
	for (size_t i = 0; i < s->n_tables; i++) {
		if (s->tables[i].module == m) {
			*ret = s->tables[i].table;
			return 0;
		}
	}
	r = array_reserve(&s->tables, &s->cap_tables, s->n_tables + 1, err);
	if (r == 0 && elf)
		r = unwind_table_cached(elf, ret, err);
	if (r == 0)
		s->tables[s->n_tables++] = (struct unwind_space_table){ m, *ret };
	return r;
}

int unwind_space_read(struct unwind_space *s, const struct target *t, struct symbol_space *symbols,
                      struct error *err)
{
	int r = symbol_space_refresh(symbols, t, err);

	s->n_modules = 0;
	for (size_t i = 0; r >= 0 && i < symbol_space_n(symbols); i++) {
		const struct symbol_mapping *m = symbol_space_at(symbols, i);
		struct unwind_table *table = NULL;

		if (m->gone)
			continue;
		r = array_reserve(&s->modules, &s->cap_modules, s->n_modules + 1, err);
		if (r == 0 && m->module)
			r = table_of(s, m->module, &table, err);
		if (r == 0)
			s->modules[s->n_modules++] = (struct unwind_module){ m->start, m->end,
				                                             m->bias, table };
	}
	return r < 0 ? r : 0;
}
