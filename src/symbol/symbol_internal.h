/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What symbol_pool.c, symbol_module.c and symbol_space.c share. */

#include "base/hash.h"
#include "symbol/fetch.h"
#include "symbol/inlines.h"
#include "symbol/intern.h"
#include "symbol/names.h"
#include "symbol/object_code.h"
#include "symbol/symbol.h"

enum {
	SYMBOL_MAX_INLINED = 64, /* functions at one address */
	SYMBOL_MAX_WORKERS = 16, /* processes that read DWARF, of a pool */
};

struct symbol_module {
	struct symbol_pool *pool; /* outlives its modules */
	char *path;
	struct elf_file *elf; /* NULL: could not be opened */
	int root_fd;          /* the target's root; the pool's */

	/* looked up by */
	uint32_t dev_major, dev_minor;
	uint64_t inode;

	/* made at the first question */
	bool loaded;
	bool searched; /* for functions by their code */
	struct object_code_found found;
	struct elf_file *mini, *debug; /* NULL: none */
	struct names names;
	struct elf_file *dwarf;  /* one of the above; NULL: none, or given up */
	struct inlines *inlines; /* NULL: not asked yet, or stopped for others */
	uint64_t asked;          /* the pool's n_asked when it was asked last */
	struct intern strings;

	/* answers: vaddr -> index into results */
	struct hash_map by_vaddr;
	struct symbol_result {
		size_t first, n; /* in frames */
	} * results;
	size_t n_results, cap_results;
	struct symbol_frame *frames;
	size_t n_frames, cap_frames;
};

int symbol_module_new(struct symbol_pool *pool, const char *path, struct elf_file *elf,
                      struct symbol_module **ret, struct error *err); /* takes @elf over */
struct symbol_module *symbol_module_free(struct symbol_module *m);

struct symbol_pool {
	struct symbol_options options;
	struct fetch fetch;
	struct object_code *given; /* by options.archives; NULL: none */
	struct object_code *known; /* NULL: not needed yet */
	bool learned;              /* all of them */
	int own_root;              /* O_PATH of "/" */
	size_t n_workers;
	uint64_t n_asked;
	struct symbol_module **items;
	size_t n_items, cap_items;
	struct symbol_root {
		uint64_t dev, inode;
		int fd;
	} * roots; /* of targets whose root is not ours */
	size_t n_roots, cap_roots;
};

/* The module of an executable mapping, made if it is new. NULL in *ret and 0:
 * the mapping is no file (code of a JIT). */
int symbol_pool_module(struct symbol_pool *p, const struct target *t, const struct mapping *m,
                       struct symbol_module **ret, struct error *err);
