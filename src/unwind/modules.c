/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "unwind/modules.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/log.h"
#include "target/elf_file.h"
#include "unwind/table.h"

void modules_clear(struct modules *m)
{
	for (size_t i = 0; i < m->n_items; i++)
		unwind_table_free(m->items[i].table);
	free(m->items);
	hash_map_clear(&m->by_module);
	*m = (struct modules){ 0 };
}

/* The note is name size, description size, type, "GNU", build-id. */
static void find_check(struct modules_item *item)
{
	struct elf_file *elf = symbol_module_elf(item->module);
	uint8_t id[ELF_FILE_BUILD_ID_BYTES];
	struct elf_section note;

	if (!elf || elf_file_build_id(elf, id) < sizeof(item->check_value) ||
	    !elf_file_section(elf, ".note.gnu.build-id", &note) || !note.vaddr)
		return;
	memcpy(&item->check_value, id, sizeof(item->check_value));
	item->check_vaddr = note.vaddr + 16;
}

static int add_module(struct modules *m, struct symbol_module *module, struct error *err)
{
	struct modules_item item = { .module = module };
	struct error ignored = { 0 };
	int r = array_reserve(&m->items, &m->cap_items, m->n_items + 1, err);

	if (r < 0)
		return r;
	r = hash_map_put(&m->by_module, (uintptr_t)module, m->n_items, err);
	if (r < 0)
		return r;
	/* a module that cannot be read makes stacks end there, not the recording */
	if (!symbol_module_elf(module) ||
	    unwind_table_cached(symbol_module_elf(module), &item.table, &ignored) < 0 ||
	    !item.table->n_rows) {
		m->n_without_table++;
		log_note(LOG_DEBUG, "no unwind table for %s%s%s", symbol_module_path(module),
		         ignored.code ? ": " : "", ignored.message);
	}
	if (item.table)
		m->n_followed += item.table->n_followed;
	find_check(&item);
	m->items[m->n_items++] = item;
	return 0;
}

int modules_add(struct modules *m, struct symbol_module *module, struct error *err)
{
	return module && !hash_map_get(&m->by_module, (uintptr_t)module)
	               ? add_module(m, module, err)
	               : 0;
}

int modules_add_space(struct modules *m, const struct symbol_space *space, struct error *err)
{
	for (size_t i = 0; i < symbol_space_n(space); i++) {
		int r = modules_add(m, symbol_space_at(space, i)->module, err);

		if (r < 0)
			return r;
	}
	return 0;
}

void modules_sizes(const struct modules *m, size_t *rows, size_t *index)
{
	*rows = *index = 0;
	for (size_t i = 0; i < m->n_items; i++) {
		if (m->items[i].table) {
			*rows += m->items[i].table->n_rows;
			*index += m->items[i].table->n_index;
		}
	}
}

int modules_load(struct modules *m, struct bpf_tables *t, struct error *err)
{
	for (size_t i = 0; i < m->n_items; i++) {
		struct modules_item *item = &m->items[i];
		struct error full;

		if (item->loaded || !item->table)
			continue;
		if (bpf_tables_add(t, item->table, &item->at, &full) < 0) {
			m->n_without_table++;
			log_note(LOG_WARN, "%s: stacks through it will be cut (%s)",
			         symbol_module_path(item->module), full.message);
		} else {
			item->loaded = true;
		}
		item->table = unwind_table_free(item->table);
	}
	return 0;
}

const struct bpf_tables_module *modules_find(const struct modules *m,
                                             const struct symbol_module *module)
{
	uint64_t *index = hash_map_get(&m->by_module, (uintptr_t)module);

	return index && m->items[*index].loaded ? &m->items[*index].at : NULL;
}

static void put_check(const struct modules *m, const struct symbol_mapping *map,
                      struct stack_span *to)
{
	uint64_t *index = map->module ? hash_map_get(&m->by_module, (uintptr_t)map->module) : NULL;

	if (!index || !m->items[*index].check_vaddr)
		return;
	to->check_at = m->items[*index].check_vaddr + map->bias;
	to->check_value = m->items[*index].check_value;
}

int modules_spans(const struct modules *m, const struct symbol_space *space,
                  struct stack_span **ret, size_t *ret_n, struct error *err)
{
	size_t n = 0;
	struct stack_span *spans = calloc(symbol_space_n(space) + 1, sizeof(*spans));

	if (!spans)
		return error_oom(err);
	for (size_t i = 0; i < symbol_space_n(space); i++) {
		const struct symbol_mapping *map = symbol_space_at(space, i);
		const struct bpf_tables_module *at = map->module ? modules_find(m, map->module)
		                                                 : NULL;

		if (map->gone)
			continue;
		spans[n] = (struct stack_span){ .start = map->start,
			                        .end = map->end,
			                        .bias = map->bias,
			                        .snapshot = map->first };
		put_check(m, map, &spans[n]);
		if (at) {
			spans[n].text_base = at->text_base;
			spans[n].first_row = at->first_row;
			spans[n].n_rows = at->n_rows;
			spans[n].first_index = at->first_index;
			spans[n].n_index = at->n_index;
		}
		n++;
	}
	*ret = spans;
	*ret_n = n;
	return 0;
}
