/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "target/elf_file_internal.h"

enum { VERSION_HIDDEN = 0x8000 }; /* .gnu.version: "foo@V", not the default "foo@@V" */

void elf_symbols_clear(struct elf_symbols_table *t)
{
	free(t->syms);
	free(t->strings);
	free(t->versions);
	free(t->buckets);
	free(t->chain);
	*t = (struct elf_symbols_table){ 0 };
}

/* An unreadable table is an empty one: the rest of the file may still serve. */
static void give_up(struct elf_file *f, struct elf_symbols_table *t, const struct error *err)
{
	log_note(LOG_DEBUG, "%s: symbols not read: %s", f->name, err->message);
	elf_symbols_clear(t);
	t->loaded = true;
}

/* DT_HASH: word 1 is the number of chains = symbols. */
static uint64_t count_by_hash(const struct elf_file *f)
{
	uint64_t vaddr;
	uint32_t words[2];
	struct error err;

	if (!elf_file_dynamic(f, DT_HASH, &vaddr) ||
	    elf_file_read_vaddr(f, vaddr, words, sizeof(words), &err) < 0)
		return 0;
	return words[1];
}

/* Follow the chain that holds symbol @last to its end; returns the count that
 * it implies, 0 if it leaves the file. */
static uint64_t gnu_chain_end(const struct elf_file *f, uint64_t chains, uint32_t first,
                              uint64_t last)
{
	uint32_t words[256];
	uint64_t offset, at;
	struct error err;

	if (!elf_file_offset(f, chains, &offset))
		return 0;
	at = offset + (last - first) * 4;
	while (at < f->size && f->size - at >= 4) {
		size_t n = (f->size - at) / 4 < ARRAY_SIZE(words) ? (f->size - at) / 4
		                                                  : ARRAY_SIZE(words);

		if (elf_file_read(f, at, words, n * 4, &err) < 0)
			return 0;
		for (size_t i = 0; i < n; i++, last++)
			if (words[i] & 1)
				return last + 1;
		at += n * 4;
	}
	return 0;
}

/* DT_GNU_HASH does not say how many symbols there are: take the bucket that
 * starts last and go to the end of its chain (binutils elf.h, glibc
 * elf/dl-lookup.c). Symbols before the first hashed one are imports. */
static uint64_t count_by_gnu_hash(const struct elf_file *f)
{
	cleanup_free void *data = NULL;
	uint32_t h[4], last = 0, *buckets; /* buckets, first symbol, bloom words, shift */
	uint64_t vaddr, offset;
	struct error err;

	if (!elf_file_dynamic(f, DT_GNU_HASH, &vaddr) ||
	    elf_file_read_vaddr(f, vaddr, h, sizeof(h), &err) < 0)
		return 0;
	vaddr += sizeof(h) + (uint64_t)h[2] * 8;
	if (!elf_file_offset(f, vaddr, &offset) ||
	    elf_file_copy(f, offset, (uint64_t)h[0] * 4, &data, &err) < 0)
		return 0;
	buckets = data;
	for (size_t i = 0; i < h[0]; i++)
		if (buckets[i] > last)
			last = buckets[i];
	if (last < h[1])
		return h[1];
	return gnu_chain_end(f, vaddr + (uint64_t)h[0] * 4, h[1], last);
}

/* Imports have no hash entry, but relocations name them. */
static uint64_t count_by_relocs(const struct elf_file *f, int64_t tag, int64_t size_tag)
{
	cleanup_free void *data = NULL;
	uint64_t vaddr, bytes, offset, max = 0;
	const Elf64_Rela *rela;
	struct error err;

	if (!elf_file_dynamic(f, tag, &vaddr) || !elf_file_dynamic(f, size_tag, &bytes) ||
	    !elf_file_offset(f, vaddr, &offset) || elf_file_copy(f, offset, bytes, &data, &err) < 0)
		return 0;
	rela = data;
	for (size_t i = 0; i < bytes / sizeof(*rela); i++)
		if (ELF64_R_SYM(rela[i].r_info) >= max)
			max = ELF64_R_SYM(rela[i].r_info) + 1;
	return max;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static const Elf64_Shdr *section_of_type(const struct elf_file *f, uint32_t type)
{
	for (size_t i = 0; i < f->n_sections; i++)
		if (f->sections[i].sh_type == type)
			return &f->sections[i];
	return NULL;
}

/* How many dynamic symbols there are: DT_HASH says it; DT_GNU_HASH leaves
 * imports out, so the section (if it describes the same table) or the
 * relocations are asked too. */
static uint64_t count_dynamic(const struct elf_file *f, uint64_t symbols_offset)
{
	const Elf64_Shdr *s = section_of_type(f, SHT_DYNSYM);
	uint64_t n = count_by_hash(f);

	if (n)
		return n;
	n = count_by_gnu_hash(f);
	if (s && s->sh_offset == symbols_offset)
		return max_u64(n, s->sh_size / sizeof(Elf64_Sym));
	n = max_u64(n, count_by_relocs(f, DT_JMPREL, DT_PLTRELSZ));
	return max_u64(n, count_by_relocs(f, DT_RELA, DT_RELASZ));
}

static int load(const struct elf_file *f, struct elf_symbols_table *t, uint64_t syms, uint64_t n,
                uint64_t strings, uint64_t strings_len, struct error *err)
{
	int r;

	if (n >= UINT32_MAX)
		return error_set(err, EFBIG, "too many symbols");
	r = elf_file_copy(f, syms, n * sizeof(Elf64_Sym), (void **)&t->syms, err);
	if (r < 0)
		return r;
	r = elf_file_copy(f, strings, strings_len, (void **)&t->strings, err);
	if (r < 0)
		return r;
	t->strings_len = strings_len;
	t->n = n;
	t->loaded = true;
	return 0;
}

static int load_by_section(struct elf_file *f, struct elf_symbols_table *t, uint32_t type,
                           struct error *err)
{
	const Elf64_Shdr *s = section_of_type(f, type), *strings;

	if (!s || s->sh_link >= f->n_sections)
		return error_set(err, ENOENT, "no such section");
	strings = &f->sections[s->sh_link];
	if (strings->sh_type != SHT_STRTAB)
		return error_set(err, EBADMSG, "symbols without strings");
	return load(f, t, s->sh_offset, s->sh_size / sizeof(Elf64_Sym), strings->sh_offset,
	            strings->sh_size, err);
}

/* PT_DYNAMIC first: the loader reads it, so it is right where section headers
 * are gone or lie. */
static int load_by_dynamic(struct elf_file *f, struct elf_symbols_table *t, struct error *err)
{
	uint64_t syms, strings, strings_len, syms_offset, strings_offset;

	if (!elf_file_dynamic(f, DT_SYMTAB, &syms) || !elf_file_dynamic(f, DT_STRTAB, &strings) ||
	    !elf_file_dynamic(f, DT_STRSZ, &strings_len) ||
	    !elf_file_offset(f, syms, &syms_offset) ||
	    !elf_file_offset(f, strings, &strings_offset))
		return error_set(err, ENOENT, "no dynamic symbols");
	return load(f, t, syms_offset, count_dynamic(f, syms_offset), strings_offset, strings_len,
	            err);
}

static void load_versions(struct elf_file *f)
{
	uint64_t vaddr, offset;
	struct error err;

	if (elf_file_dynamic(f, DT_VERSYM, &vaddr) && elf_file_offset(f, vaddr, &offset) &&
	    elf_file_copy(f, offset, f->dynsym.n * 2, (void **)&f->dynsym.versions, &err) < 0)
		f->dynsym.versions = NULL;
}

void elf_symbols_load_dynsym(struct elf_file *f)
{
	struct error err = { 0 };

	if (f->dynsym.loaded)
		return;
	if (load_by_dynamic(f, &f->dynsym, &err) < 0) {
		elf_symbols_clear(&f->dynsym);
		if (load_by_section(f, &f->dynsym, SHT_DYNSYM, &err) < 0)
			return give_up(f, &f->dynsym, &err);
	}
	load_versions(f);
}

void elf_symbols_load_symtab(struct elf_file *f)
{
	struct error err = { 0 };

	if (!f->symtab.loaded && load_by_section(f, &f->symtab, SHT_SYMTAB, &err) < 0)
		give_up(f, &f->symtab, &err);
}

static const char *name_of(const struct elf_symbols_table *t, size_t i)
{
	return t->syms[i].st_name < t->strings_len ? t->strings + t->syms[i].st_name : "";
}

static struct elf_symbol symbol_at(const struct elf_symbols_table *t, size_t i)
{
	const Elf64_Sym *s = &t->syms[i];

	return (struct elf_symbol){
		.name = name_of(t, i),
		.value = s->st_value,
		.size = s->st_size,
		.type = ELF64_ST_TYPE(s->st_info),
		.bind = ELF64_ST_BIND(s->st_info),
		.defined = s->st_shndx != SHN_UNDEF,
		.section = s->st_shndx,
	};
}

static bool is_function_or_object(const Elf64_Sym *s)
{
	unsigned type = ELF64_ST_TYPE(s->st_info);

	return s->st_shndx != SHN_UNDEF && (type == STT_FUNC || type == STT_OBJECT ||
	                                    type == STT_GNU_IFUNC || type == STT_NOTYPE);
}

static uint64_t bucket_of(const struct elf_symbols_table *t, const char *name)
{
	return hash_bytes(name, strlen(name), 0) & (t->n_buckets - 1);
}

/* The sum of all names' lengths may be quadratic in a hostile file (names that
 * share their tails), so work is bounded by cutting it off. */
static int make_index(struct elf_symbols_table *t)
{
	uint64_t work = 0, most = 64 * (t->strings_len + t->n) + (64 << 20);

	for (t->n_buckets = 16; t->n_buckets < t->n; t->n_buckets *= 2)
		;
	t->buckets = calloc(t->n_buckets, sizeof(*t->buckets));
	t->chain = calloc(t->n + 1, sizeof(*t->chain));
	if (!t->buckets || !t->chain) {
		free(t->buckets);
		free(t->chain);
		t->buckets = t->chain = NULL;
		return -ENOMEM;
	}
	/* backwards, so that the first of equal names comes first; 0 is no symbol */
	for (size_t i = t->n; i-- > 1 && work <= most;) {
		uint64_t b;

		if (!is_function_or_object(&t->syms[i]))
			continue;
		work += strlen(name_of(t, i));
		b = bucket_of(t, name_of(t, i));
		t->chain[i] = t->buckets[b];
		t->buckets[b] = i;
	}
	return 0;
}

/* Lower is better: default version before hidden, typed before NOTYPE. */
static unsigned rank(const struct elf_symbols_table *t, size_t i)
{
	bool hidden = t->versions && t->versions[i] & VERSION_HIDDEN;

	return 2 * hidden + (ELF64_ST_TYPE(t->syms[i].st_info) == STT_NOTYPE);
}

int elf_symbols_find(struct elf_symbols_table *t, const char *name, struct elf_symbol *ret)
{
	size_t best = 0;

	if (!t->n || !*name)
		return -ENOENT;
	if (!t->chain && make_index(t) < 0)
		return -ENOENT;
	for (size_t i = t->buckets[bucket_of(t, name)]; i; i = t->chain[i])
		if (!strcmp(name_of(t, i), name) && (!best || rank(t, i) < rank(t, best)))
			best = i;
	if (!best)
		return -ENOENT;
	*ret = symbol_at(t, best);
	return 0;
}

int elf_symbols_each(const struct elf_symbols_table *t,
                     int (*fn)(const struct elf_symbol *s, void *arg), void *arg)
{
	for (size_t i = 1; i < t->n; i++) {
		struct elf_symbol s = symbol_at(t, i);
		int r = fn(&s, arg);

		if (r)
			return r;
	}
	return 0;
}
