/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * jemalloc's control tree (what mallctl() looks names up in), found in a module
 * without symbols by its shape: an array of nodes whose first names are
 * "version" and "epoch". The surprising rule: parts of the tree hang on functions
 * (arena.<i>....), so these are decoded for the node that they return.
 *
 * ctl_named_node_s, ctl_indexed_node_s: src/ctl.h, root_node, super_root_node: src/ctl.c of
 * jemalloc 5.2 and 5.3. Addresses are those of the file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/code_graph.h"
#include "target/elf_file.h"

enum { JEMALLOC_TREE_NAME = 96 };

struct jemalloc_tree_leaf {
	char name[JEMALLOC_TREE_NAME]; /* "arenas.page"; "" below an index */
	uint64_t function;             /* what answers for it */
};

struct jemalloc_tree {
	uint64_t root, super; /* root_node, super_root_node */
	struct jemalloc_tree_leaf *leaves;
	size_t n, cap;
};
void jemalloc_tree_clear(struct jemalloc_tree *t); /* { 0 } is empty; usable with cleanup() */

/* 1 found; 0 there is none, or more than one, or its words contradict each other. @g is @f's. */
int jemalloc_tree_find(struct elf_file *f, const struct code_graph *g, struct jemalloc_tree *ret,
                       struct error *err);
/* Is there such an array at all? For modules of which no graph was made yet; as above. */
int jemalloc_tree_root(struct elf_file *f, uint64_t *ret, struct error *err);
/* The function that answers for @name ("opt.prof"; no index in it). false: no such name. */
bool jemalloc_tree_leaf_at(struct elf_file *f, uint64_t root, const char *name, uint64_t *ret);
