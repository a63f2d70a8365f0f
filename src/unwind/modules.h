/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Unwind tables of the traced modules: each is made once and put into the
 * BPF tables once, however many processes have the module. */

#include <stddef.h>

#include "base/hash.h"
#include "symbol/symbol.h"
#include "unwind/bpf_tables.h"

struct modules {
	struct hash_map by_module; /* symbol_module pointer -> index */
	struct modules_item {
		struct symbol_module *module;
		struct unwind_table *table;   /* until it is in the tables */
		bool loaded;                  /* the tables have it */
		u64 check_vaddr, check_value; /* see struct stack_span; 0: no build-id */
		struct bpf_tables_module at;
	} * items;
	size_t n_items, cap_items;
	size_t n_followed;      /* functions without frame information, understood by their code */
	size_t n_without_table; /* no frame information, unreadable, or no room */
};

void modules_clear(struct modules *m);
/* Make the table of @module (NULL: nothing) if it has none yet. */
int modules_add(struct modules *m, struct symbol_module *module, struct error *err);
/* The same of all modules of @space. */
int modules_add_space(struct modules *m, const struct symbol_space *space, struct error *err);
/* What the tables must hold for all of them. */
void modules_sizes(const struct modules *m, size_t *rows, size_t *index);
/* Put into the tables what is not there yet; a module for which there is no
 * room is counted. */
int modules_load(struct modules *m, struct bpf_tables *t, struct error *err);
/* Where @module is in the tables, or NULL. */
const struct bpf_tables_module *modules_find(const struct modules *m,
                                             const struct symbol_module *module);
/* The executable mappings of @space for the programs, malloc'ed. One without a
 * table is there as well, so that a walk that ends in it is told from one that
 * left all we know. */
int modules_spans(const struct modules *m, const struct symbol_space *space,
                  struct stack_span **ret, size_t *ret_n, struct error *err);
