/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One ELF file as bounded bytes: segments, sections, symbols, build-id,
 * relocated words. The file is hostile: every offset is checked, nothing is
 * mapped (a file cut short under a mapping would kill us), and only what is
 * asked for is read, so a file of many GiB costs little.
 *
 * "vaddr" is an address as the file counts it (p_vaddr); what a process has at
 * run time is vaddr + bias. 64-bit little-endian only; anything else is
 * -ENOEXEC with a reason.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { ELF_FILE_BUILD_ID_BYTES = 64 };

struct elf_file;

struct elf_segment {
	uint64_t vaddr, memsz, offset, filesz;
	uint32_t type;  /* PT_LOAD, PT_GNU_EH_FRAME, ... */
	uint32_t flags; /* PF_R | PF_W | PF_X */
};

struct elf_section {
	const char *name; /* valid as long as the file */
	uint32_t index, type, link;
	uint64_t vaddr, offset, size, flags, entsize;
};

struct elf_symbol {
	const char *name; /* valid as long as the file; may be any bytes */
	uint64_t value, size;
	uint8_t type, bind; /* STT_, STB_ */
	bool defined;
	uint16_t section; /* st_shndx: an index, or SHN_ABS... */
};

/* Takes @fd over (also on failure). @name is for messages and is copied. */
int elf_file_open(int fd, const char *name, struct elf_file **ret, struct error *err);
struct elf_file *elf_file_close(struct elf_file *f); /* NULL is fine; returns NULL */
void elf_file_closep(struct elf_file **f);

const char *elf_file_name(const struct elf_file *f);
uint16_t elf_file_machine(const struct elf_file *f); /* EM_X86_64, EM_AARCH64 */
bool elf_file_is_pie(const struct elf_file *f);      /* ET_DYN: has a bias */
/* A program rather than a library: ET_EXEC, PT_INTERP or DF_1_PIE. A library's
 * entry point means nothing. */
bool elf_file_is_program(const struct elf_file *f);
uint64_t elf_file_entry(const struct elf_file *f);
uint64_t elf_file_size(const struct elf_file *f); /* bytes of the file */
int elf_file_fd(const struct elf_file *f);        /* still owned by @f */

/* GNU build-id; returns its length, 0 if there is none. */
size_t elf_file_build_id(const struct elf_file *f, uint8_t id[ELF_FILE_BUILD_ID_BYTES]);
/* The same in hexadecimal ("" if none); @hex has 2 * ELF_FILE_BUILD_ID_BYTES + 1 bytes. */
void elf_file_build_id_hex(const struct elf_file *f, char *hex);
/* Path that PT_INTERP names, or NULL (static). Valid as long as the file. */
const char *elf_file_interpreter(const struct elf_file *f);
/* DT_SONAME, or NULL. */
const char *elf_file_soname(const struct elf_file *f);

size_t elf_file_n_segments(const struct elf_file *f);
struct elf_segment elf_file_segment(const struct elf_file *f, size_t i);
/* false when no section has this name (stripped section headers included). */
bool elf_file_section(const struct elf_file *f, const char *name, struct elf_section *ret);

/* Sections by their index, 0 to n - 1; index 0 is the empty one. */
size_t elf_file_n_sections(const struct elf_file *f);
struct elf_section elf_file_section_at(const struct elf_file *f, size_t i);

/* vaddr <-> file offset inside the file-backed part of a PT_LOAD; false outside. */
bool elf_file_offset(const struct elf_file *f, uint64_t vaddr, uint64_t *ret);
bool elf_file_vaddr(const struct elf_file *f, uint64_t offset, uint64_t *ret);

/* Bias of a mapping of this file: @start is the mapping's address and @offset
 * its file offset. Segments may share a page of the file (lld lays files out
 * so): the one that begins in the mapping's first page is meant, and of two of
 * those the executable one, so ask with an executable mapping. False if no
 * PT_LOAD covers the offset. */
bool elf_file_bias(const struct elf_file *f, uint64_t start, uint64_t offset, uint64_t *ret);

/* Read exactly @len bytes at a file offset / at a vaddr (zero-filled beyond
 * p_filesz up to p_memsz). -ERANGE outside, -EIO when the file is shorter. */
int elf_file_read(const struct elf_file *f, uint64_t offset, void *buf, size_t len,
                  struct error *err);
int elf_file_read_vaddr(const struct elf_file *f, uint64_t vaddr, void *buf, size_t len,
                        struct error *err);
/* A section's bytes in a malloc'ed buffer with a NUL behind them, decompressed if
 * SHF_COMPRESSED. -EFBIG over @max_bytes, -ENODATA for SHT_NOBITS (a separate
 * debug file's), -EBADMSG damaged. */
int elf_file_section_data(const struct elf_file *f, const struct elf_section *s, size_t max_bytes,
                          void **ret, size_t *ret_len, struct error *err);

/* The 64-bit word at @vaddr as it is before the bias is added: the addend of
 * an R_X86_64_RELATIVE / R_AARCH64_RELATIVE or RELR relocation there, else the
 * file's bytes (so 0 where the loader puts a symbol's address). Relocations are
 * read once and sorted. */
int elf_file_word(struct elf_file *f, uint64_t vaddr, uint64_t *ret, struct error *err);

/* Symbols: .dynsym (exported), .symtab, and what somebody found in a file that lacks them.
 * The first two are loaded on first use. */
enum elf_symbols { ELF_DYNSYM = 1, ELF_SYMTAB = 2, ELF_NAMED = 3, ELF_FOUND = 4, ELF_ALL = 7 };
/* Give @f its ELF_FOUND symbols; the first is empty. Takes both malloc'ed arrays over (of
 * Elf64_Sym; strings that end with a NUL). To be called before anybody keeps an older one's names.
 */
void elf_file_set_found(struct elf_file *f, void *symbols, size_t n, char *strings, size_t len);
/* A defined function or object named @name (versions ignored, the default one
 * wins). Returns 0; -ENOENT without filling @err. */
int elf_file_symbol(struct elf_file *f, enum elf_symbols where, const char *name,
                    struct elf_symbol *ret);
/* Call @fn for each symbol until it returns non-zero; returns that. */
int elf_file_each_symbol(struct elf_file *f, enum elf_symbols where,
                         int (*fn)(const struct elf_symbol *s, void *arg), void *arg);
