/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/object_archive.h"

#include <ar.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* AMD64 supplement 1.0; not in every elf.h */
enum {
	RELOC_GOTPCRELX = 41,
	RELOC_REX_GOTPCRELX = 42,
	RELOC_CODE_4_GOTPCRELX = 43,
	RELOC_CODE_4_GOTTPOFF = 44,
	RELOC_CODE_4_GOTPC32_TLSDESC = 45,
};

enum { NONE = UINT32_MAX };

struct object_file {
	const uint8_t *bytes;
	size_t len;
	const Elf64_Shdr *sections;
	size_t n_sections;
	const Elf64_Sym *symbols;
	size_t n_symbols;
	const char *strings; /* ends with a NUL inside */
	size_t strings_len;
	struct {
		uint32_t becomes; /* which section of the build; NONE */
		uint32_t relocs;  /* its relocations' section; 0: none, NONE: not to be used */
	} * of;                   /* each section */
};

static bool is_inside(const struct object_file *o, uint64_t offset, uint64_t size)
{
	return offset <= o->len && size <= o->len - offset;
}

/* A copy of @what would be aligned; the members of an archive are to 2 bytes only. */
static void *copy_of(const struct object_file *o, uint64_t offset, uint64_t size)
{
	void *copy = is_inside(o, offset, size) ? malloc(size + 1) : NULL;

	if (copy)
		memcpy(copy, o->bytes + offset, size);
	return copy;
}

static void object_file_clear(struct object_file *o)
{
	free((void *)o->sections);
	free((void *)o->symbols);
	free(o->of);
}

static bool is_code(const Elf64_Shdr *s)
{
	return s->sh_type == SHT_PROGBITS && s->sh_flags & SHF_ALLOC &&
	       s->sh_flags & SHF_EXECINSTR && !(s->sh_flags & SHF_COMPRESSED) && s->sh_size &&
	       s->sh_size <= OBJECT_BUILD_SECTION_MAX;
}

static int open_headers(struct object_file *o, struct error *err)
{
	Elf64_Ehdr h;

	if (o->len < sizeof(h))
		return error_set(err, ENOEXEC, "cut short");
	memcpy(&h, o->bytes, sizeof(h));
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0)
		return error_set(err, ENOEXEC, "not an ELF object");
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB ||
	    h.e_machine != EM_X86_64)
		return error_set(err, ENOEXEC, "for another machine than x86-64");
	if (h.e_type != ET_REL)
		return error_set(err, ENOEXEC, "not an object file: it is linked already");
	if (h.e_shentsize != sizeof(Elf64_Shdr) || !h.e_shnum)
		return error_set(err, ENOEXEC, "without sections");
	o->n_sections = h.e_shnum;
	o->sections = copy_of(o, h.e_shoff, h.e_shnum * sizeof(Elf64_Shdr));
	o->of = calloc(o->n_sections, sizeof(*o->of));
	if (!o->sections || !o->of)
		return error_set(err, ENOEXEC, "its sections are outside of it");
	for (size_t i = 0; i < o->n_sections; i++) {
		const Elf64_Shdr *s = &o->sections[i];

		o->of[i].becomes = NONE;
		if ((s->sh_type == SHT_RELA || s->sh_type == SHT_REL) && s->sh_info < o->n_sections)
			o->of[s->sh_info].relocs = o->of[s->sh_info].relocs || s->sh_type == SHT_REL
			                                   ? NONE
			                                   : i;
	}
	return 0;
}

static int open_symbols(struct object_file *o, struct error *err)
{
	for (size_t i = 0; i < o->n_sections; i++) {
		const Elf64_Shdr *s = &o->sections[i], *strings;

		if (s->sh_type != SHT_SYMTAB || s->sh_link >= o->n_sections)
			continue;
		strings = &o->sections[s->sh_link];
		if (strings->sh_type != SHT_STRTAB || !strings->sh_size ||
		    !is_inside(o, strings->sh_offset, strings->sh_size) ||
		    o->bytes[strings->sh_offset + strings->sh_size - 1])
			break;
		o->strings = (const char *)o->bytes + strings->sh_offset;
		o->strings_len = strings->sh_size;
		o->n_symbols = s->sh_size / sizeof(Elf64_Sym);
		o->symbols = copy_of(o, s->sh_offset, o->n_symbols * sizeof(Elf64_Sym));
		if (o->symbols)
			return 0;
		break;
	}
	return error_set(err, ENOEXEC, "without symbols");
}

static const char *name_of(const struct object_file *o, const Elf64_Sym *s)
{
	return s->st_name < o->strings_len ? o->strings + s->st_name : "";
}

/* Bytes before and behind a relocation's place that it, or its relaxation, may change. */
static bool reach(uint32_t type, int *before, int *behind)
{
	*before = 0;
	*behind = 4;
	switch (type) {
	case R_X86_64_NONE: *behind = 0; return true;
	case R_X86_64_PC32:
	case R_X86_64_GOT32:
	case R_X86_64_PLT32:
	case R_X86_64_GOTPCREL: /* binutils relaxes mov to lea of this, too */
	case R_X86_64_32:
	case R_X86_64_32S:
	case R_X86_64_DTPOFF32:
	case R_X86_64_TPOFF32:
	case R_X86_64_GOTPC32:
	case R_X86_64_SIZE32: *before = type == R_X86_64_GOTPCREL ? 3 : 0; return true;
	case R_X86_64_64:
	case R_X86_64_DTPOFF64:
	case R_X86_64_TPOFF64:
	case R_X86_64_PC64:
	case R_X86_64_GOTOFF64:
	case R_X86_64_GOT64:
	case R_X86_64_GOTPCREL64:
	case R_X86_64_GOTPC64:
	case R_X86_64_GOTPLT64:
	case R_X86_64_PLTOFF64:
	case R_X86_64_SIZE64: *behind = 8; return true;
	case R_X86_64_16:
	case R_X86_64_PC16: *behind = 2; return true;
	case R_X86_64_8:
	case R_X86_64_PC8: *behind = 1; return true;
	case RELOC_GOTPCRELX: *before = 2; return true;
	case RELOC_REX_GOTPCRELX:
	case R_X86_64_GOTTPOFF:
	case R_X86_64_GOTPC32_TLSDESC: *before = 3; return true;
	case RELOC_CODE_4_GOTPCRELX:
	case RELOC_CODE_4_GOTTPOFF:
	case RELOC_CODE_4_GOTPC32_TLSDESC: *before = 4; return true;
	/* with the call of __tls_get_addr behind it */
	case R_X86_64_TLSGD:
		*before = 4;
		*behind = 12;
		return true;
	case R_X86_64_TLSLD:
		*before = 3;
		*behind = 10;
		return true;
	case R_X86_64_TLSDESC_CALL: *behind = 2; return true;
	default: return false;
	}
}

static int add_ref(struct object_build *b, const struct object_file *o, const Elf64_Rela *rela,
                   struct error *err)
{
	uint32_t type = ELF64_R_TYPE(rela->r_info);
	bool direct = type == R_X86_64_PC32 || type == R_X86_64_PLT32;
	const Elf64_Sym *s = &o->symbols[ELF64_R_SYM(rela->r_info)];
	struct object_ref ref = { .at = rela->r_offset, .addend = rela->r_addend };
	int r = 0;

	if (!direct && type != RELOC_GOTPCRELX && type != RELOC_REX_GOTPCRELX)
		return 0;
	if (rela->r_addend != ref.addend)
		return 0;
	ref.kind = direct ? OBJECT_REF_DIRECT : OBJECT_REF_GOT;
	if (ELF64_ST_BIND(s->st_info) != STB_LOCAL) {
		const char *name = name_of(o, s);

		r = object_build_name(b, name, strlen(name), &ref.name, err);
		return r < 0 || !ref.name ? r : object_build_add_ref(b, &ref, err);
	}
	if (s->st_shndx >= o->n_sections || o->of[s->st_shndx].becomes == NONE ||
	    s->st_value > OBJECT_BUILD_SECTION_MAX || rela->r_addend > OBJECT_BUILD_SECTION_MAX ||
	    rela->r_addend < -OBJECT_BUILD_SECTION_MAX)
		return 0;
	ref.section = o->of[s->st_shndx].becomes;
	ref.addend += (int32_t)s->st_value;
	return object_build_add_ref(b, &ref, err);
}

/* 1: done, 0: there is a relocation that this does not know. */
static int add_reloc(struct object_build *b, const struct object_file *o, const Elf64_Shdr *code,
                     const Elf64_Rela *rela, struct error *err)
{
	int before, behind, r;
	uint64_t at = rela->r_offset;

	if (at >= code->sh_size || ELF64_R_SYM(rela->r_info) >= o->n_symbols ||
	    !reach(ELF64_R_TYPE(rela->r_info), &before, &behind))
		return 0;
	r = object_build_add_mask(b, at > (uint64_t)before ? at - before : 0, at + behind, err);
	if (r == 0)
		r = add_ref(b, o, rela, err);
	return r < 0 ? r : 1;
}

/* 1: done, 0: the section cannot be used. */
static int add_relocs(struct object_build *b, const struct object_file *o, size_t section,
                      struct error *err)
{
	uint32_t relocs = o->of[section].relocs;
	const Elf64_Shdr *s = relocs == NONE ? NULL : &o->sections[relocs];
	cleanup_free Elf64_Rela *items = s ? copy_of(o, s->sh_offset, s->sh_size) : NULL;

	if (!relocs)
		return 1;
	if (!items)
		return 0;
	for (size_t k = 0; k < s->sh_size / sizeof(*items); k++) {
		int r = add_reloc(b, o, &o->sections[section], &items[k], err);

		if (r <= 0)
			return r;
	}
	return 1;
}

static int add_symbol(struct object_build *b, const struct object_file *o, const Elf64_Sym *s,
                      struct error *err)
{
	const char *name = name_of(o, s);
	unsigned type = ELF64_ST_TYPE(s->st_info);
	uint32_t section = s->st_shndx < o->n_sections ? o->of[s->st_shndx].becomes : NONE;
	struct object_symbol symbol = { .section = section,
		                        .offset = s->st_value,
		                        .size = s->st_size,
		                        .type = type,
		                        .bind = ELF64_ST_BIND(s->st_info) };
	int r;

	if (section == NONE || (type != STT_FUNC && type != STT_GNU_IFUNC) || !*name ||
	    s->st_value >= b->sections[section].size ||
	    s->st_size > b->sections[section].size - s->st_value)
		return 0;
	r = object_build_name(b, name, strlen(name), &symbol.name, err);
	return r < 0 ? r : object_build_add_symbol(b, &symbol, err);
}

/* What a section that cannot be used has left behind. */
static void forget(struct object_build *b)
{
	const struct object_section *last = b->n_sections ? &b->sections[b->n_sections - 1] : NULL;

	b->n_masks = last ? last->first_mask + last->n_masks : 0;
	b->n_refs = last ? last->first_ref + last->n_refs : 0;
}

/* A section that cannot be used keeps its number, as one without bytes to compare. */
static int add_code(struct object_build *b, const struct object_file *o, size_t section,
                    struct error *err)
{
	const Elf64_Shdr *s = &o->sections[section];
	cleanup_free uint8_t *bytes = copy_of(o, s->sh_offset, s->sh_size);
	int usable = bytes ? add_relocs(b, o, section, err) : 0;

	if (usable < 0)
		return usable;
	if (!usable)
		forget(b);
	return object_build_add_section(b, bytes, usable ? s->sh_size : 0, err);
}

static bool is_bitcode(const uint8_t *bytes, size_t len)
{
	return len >= 4 &&
	       (!memcmp(bytes, "BC\xc0\xde", 4) || !memcmp(bytes, "\xde\xc0\x17\x0b", 4));
}

static int add_object(struct object_build *b, const uint8_t *bytes, size_t len, struct error *err)
{
	cleanup(object_file_clear) struct object_file o = { .bytes = bytes, .len = len };
	uint32_t next = b->n_sections;
	int r;

	if (is_bitcode(bytes, len))
		return error_set(err, ENOEXEC, "LLVM bitcode: no machine code yet");
	r = open_headers(&o, err);
	if (r == 0)
		r = open_symbols(&o, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < o.n_sections; i++)
		if (is_code(&o.sections[i]))
			o.of[i].becomes = next++;
	if (next == b->n_sections)
		return error_set(err, ENOEXEC, "no machine code in it");
	for (size_t i = 0; i < o.n_sections && r == 0; i++)
		r = o.of[i].becomes != NONE ? add_code(b, &o, i, err) : 0;
	for (size_t i = 1; i < o.n_symbols && r == 0; i++)
		r = add_symbol(b, &o, &o.symbols[i], err);
	return r;
}

/* ---- archives (System V and GNU: ar(5), binutils bfd/archive.c) ---- */

struct member {
	char name[256];
	const uint8_t *bytes;
	size_t len;
};

struct archive {
	const uint8_t *bytes;
	size_t len, at;
	const char *long_names;
	size_t long_names_len;
};

static void set_name(const struct archive *a, const struct ar_hdr *h, struct member *m)
{
	const char *from = h->ar_name;
	size_t len = sizeof(h->ar_name), at;

	if (h->ar_name[0] == '/' && a->long_names) {
		at = strtoul((const char[]){ h->ar_name[1], h->ar_name[2], h->ar_name[3],
		                             h->ar_name[4], h->ar_name[5], h->ar_name[6],
		                             h->ar_name[7], 0 },
		             NULL, 10);
		from = at < a->long_names_len ? a->long_names + at : "";
		len = at < a->long_names_len ? a->long_names_len - at : 0;
	}
	at = 0;
	while (at < len && at < sizeof(m->name) - 1 && from[at] != '/' && from[at] != '\n')
		at++;
	memcpy(m->name, from, at);
	m->name[at] = '\0';
}

/* The next member that is no table; false: the end, or damaged. */
static bool next_member(struct archive *a, struct member *m)
{
	while (a->at <= a->len && a->len - a->at >= sizeof(struct ar_hdr)) {
		struct ar_hdr h;
		char digits[sizeof(h.ar_size) + 1] = { 0 };

		memcpy(&h, a->bytes + a->at, sizeof(h));
		memcpy(digits, h.ar_size, sizeof(h.ar_size));
		if (memcmp(h.ar_fmag, ARFMAG, sizeof(h.ar_fmag)) != 0)
			return false;
		m->bytes = a->bytes + a->at + sizeof(h);
		m->len = strtoul(digits, NULL, 10);
		if (m->len > a->len - a->at - sizeof(h))
			return false;
		a->at += sizeof(h) + m->len + (m->len & 1);
		if (!strncmp(h.ar_name, "// ", 3)) {
			a->long_names = (const char *)m->bytes;
			a->long_names_len = m->len;
		} else if (strncmp(h.ar_name, "/ ", 2) != 0 && strncmp(h.ar_name, "/SYM64/", 7)) {
			set_name(a, &h, m);
			return true;
		}
	}
	return false;
}

static bool is_wanted(const char *const *members, const char *name)
{
	for (size_t i = 0; members && members[i]; i++)
		if (!strcmp(members[i], name))
			return true;
	return !members;
}

/* Members that are of no use (assembler without code, foreign files) are passed over, if
 * others are. */
static int read_members(struct object_build *b, struct archive *a, const char *const *members,
                        struct error *err)
{
	struct error one, why = { 0 };
	struct member m;

	while (next_member(a, &m)) {
		int r = is_wanted(members, m.name) ? add_object(b, m.bytes, m.len, &one) : 0;

		if (r < 0 && r != -ENOEXEC) {
			*err = one;
			return r;
		}
		if (r < 0 && !why.code) {
			error_context(&one, "%s in it", m.name);
			why = one;
		}
	}
	if (b->n_sections)
		return 0;
	if (!why.code)
		return error_set(err, ENOEXEC, "an archive without object files, or damaged");
	*err = why;
	return why.code;
}

int object_archive_read(struct object_build *b, const uint8_t *bytes, size_t len,
                        const char *const *members, struct error *err)
{
	struct archive a = { .bytes = bytes, .len = len, .at = SARMAG };

	if (len >= SARMAG && !memcmp(bytes, ARMAG, SARMAG))
		return read_members(b, &a, members, err);
	if (len >= SARMAG && !memcmp(bytes, "!<thin>\n", SARMAG)) {
		error_set(err, ENOEXEC, "a thin archive: the object files are elsewhere");
		return error_hint(err, "give those object files, each with --archive");
	}
	return add_object(b, bytes, len, err);
}
