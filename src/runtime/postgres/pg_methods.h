/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The method tables of a PostgreSQL server's memory contexts, found in its
 * binary without symbols but the exported ones. The surprising rule: no
 * version number is asked. Two families exist, told apart by what is exported:
 *
 *   chunk word  one static array of tables indexed by a few bits of the word
 *               before each chunk; AllocSetAlloc and its sisters are exported
 *               (PostgreSQL 16 and later, src/include/utils/memutils_internal.h)
 *   old         one static table for each class, mentioned by the exported
 *               XxxContextCreate of that class (10 to 15,
 *               src/backend/utils/mmgr/{aset,generation,slab}.c)
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

enum pg_class { PG_ALLOCSET, PG_GENERATION, PG_SLAB, PG_BUMP, PG_ALIGNED, PG_N_CLASSES };
enum pg_method { PG_ALLOC, PG_FREE, PG_REALLOC, PG_RESET, PG_DELETE, PG_N_METHODS };

enum { PG_MAX_WORDS = 9, PG_MAX_ENTRIES = 16 };

struct pg_table {
	bool found;
	uint64_t vaddr;                 /* what a context's `methods` points to, less the bias */
	uint64_t words[PG_MAX_WORDS];   /* every function of the table; 0: none */
	unsigned n_words;               /* words of a table */
	unsigned index;                 /* in the array (chunk word); else 0 */
	uint64_t method[PG_N_METHODS];  /* function vaddrs; 0: the class has none */
	uint64_t creator, creator_size; /* XxxContextCreate; 0 for PG_ALIGNED */
};

struct pg_methods {
	struct pg_table tables[PG_N_CLASSES];
	bool chunk_word;        /* family, see above */
	bool has_init;          /* old: tables have an "init" method (10) */
	unsigned id_bits;       /* chunk word: bits that index the array */
	uint64_t array;         /* chunk word: vaddr of entry 0 */
	unsigned n_entries;     /* chunk word: entries of the array */
	uint64_t unknown_alloc; /* alloc of an entry that no exported name explains; 0: none */
};

const char *pg_methods_class_name(enum pg_class c);   /* "AllocSet", ... */
const char *pg_methods_method_name(enum pg_method m); /* "Alloc", ... */

/* 1 when @elf is a PostgreSQL server (exports TopMemoryContext and
 * MemoryContextCreate), else 0. */
int pg_methods_detect(struct elf_file *elf);

/* Find the tables. -ENOTSUP with what was found when not even AllocSet's is
 * there. */
int pg_methods_find(struct elf_file *elf, struct pg_methods *ret, struct error *err);

/* Class of the table at @vaddr; -1 for none of ours. */
int pg_methods_class(const struct pg_methods *m, uint64_t vaddr);

/* "15.4" out of "PostgreSQL 15.4 on ..." in .rodata; "" if it is not there. For
 * people only: nothing depends on it. */
void pg_methods_version(struct elf_file *elf, char *buf, size_t size);
