/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the parts of the ELF reader share; nobody else includes it. */

#include <elf.h>

#include "target/elf_file.h"

/* One symbol table in memory. Everything in it is as the file has it and
 * checked at use; @strings is terminated by a NUL of ours. */
struct elf_symbols_table {
	bool loaded; /* tried; an unreadable table stays empty */
	Elf64_Sym *syms;
	size_t n;
	char *strings;
	size_t strings_len;
	uint16_t *versions; /* .gnu.version, n entries, or NULL */
	/* hash chains over the defined names, made by the first look-up; 0 ends */
	uint32_t *buckets, *chain;
	size_t n_buckets;
};

struct elf_relocs_entry {
	uint64_t vaddr, addend;
};

struct elf_relocs_table {
	bool loaded;
	struct elf_relocs_entry *items;
	size_t n_items;
};

struct elf_file {
	int fd;
	char *name;
	uint64_t size;
	Elf64_Ehdr header;
	Elf64_Phdr *segments;
	size_t n_segments;
	Elf64_Shdr *sections; /* NULL: none, or not to be believed */
	size_t n_sections;
	char *section_names; /* terminated by a NUL of ours */
	size_t section_names_len;
	Elf64_Dyn *dynamic;
	size_t n_dynamic;
	uint8_t build_id[ELF_FILE_BUILD_ID_BYTES];
	size_t build_id_len;
	char *interpreter, *soname;
	struct elf_symbols_table dynsym, symtab, found;
	struct elf_relocs_table relocs;
};

/* First value of a tag of PT_DYNAMIC. */
bool elf_file_dynamic(const struct elf_file *f, int64_t tag, uint64_t *ret);
/* @len bytes of the file in a malloc'ed buffer with a NUL behind them. */
int elf_file_copy(const struct elf_file *f, uint64_t offset, uint64_t len, void **ret,
                  struct error *err);

/* Fills a file of which only fd and name are known. */
int elf_headers_read(struct elf_file *f, struct error *err);

void elf_symbols_load_dynsym(struct elf_file *f);
void elf_symbols_load_symtab(struct elf_file *f);
void elf_symbols_clear(struct elf_symbols_table *t);
int elf_symbols_find(struct elf_symbols_table *t, const char *name, struct elf_symbol *ret);
int elf_symbols_each(const struct elf_symbols_table *t,
                     int (*fn)(const struct elf_symbol *s, void *arg), void *arg);

/* Sorted addends of the RELATIVE relocations of PT_DYNAMIC's DT_RELA. */
int elf_relocs_load(struct elf_file *f, struct error *err);
bool elf_relocs_find(const struct elf_relocs_table *t, uint64_t vaddr, uint64_t *ret_addend);

/* The content of an SHF_COMPRESSED section (header included in @data). */
int elf_inflate(const void *data, size_t len, size_t max_bytes, void **ret, size_t *ret_len,
                struct error *err);
