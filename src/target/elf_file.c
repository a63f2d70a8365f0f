/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/elf_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/elf_file_internal.h"

struct elf_file *elf_file_close(struct elf_file *f)
{
	if (!f)
		return NULL;
	elf_symbols_clear(&f->dynsym);
	elf_symbols_clear(&f->symtab);
	elf_symbols_clear(&f->found);
	free(f->relocs.items);
	free(f->segments);
	free(f->sections);
	free(f->section_names);
	free(f->dynamic);
	free(f->interpreter);
	free(f->soname);
	free(f->name);
	if (f->fd >= 0)
		close(f->fd);
	free(f);
	return NULL;
}

void elf_file_closep(struct elf_file **f)
{
	*f = elf_file_close(*f);
}

int elf_file_read(const struct elf_file *f, uint64_t offset, void *buf, size_t len,
                  struct error *err)
{
	char *to = buf;

	if (offset > f->size || len > f->size - offset)
		return error_set(err, ERANGE, "%s: %zu bytes at %#" PRIx64 " are outside the file",
		                 f->name, len, offset);
	while (len) {
		ssize_t n = pread(f->fd, to, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_sys(err, errno, "%s: read at %#" PRIx64, f->name, offset);
		if (!n) /* cut short since it was opened */
			return error_set(err, EIO, "%s: the file became shorter", f->name);
		to += n;
		offset += n;
		len -= n;
	}
	return 0;
}

int elf_file_copy(const struct elf_file *f, uint64_t offset, uint64_t len, void **ret,
                  struct error *err)
{
	cleanup_free char *data = NULL;
	int r;

	/* before malloc(): a length from the file is no reason for a huge one */
	if (offset > f->size || len > f->size - offset)
		return error_set(err, ERANGE,
		                 "%s: %" PRIu64 " bytes at %#" PRIx64 " are outside the file",
		                 f->name, len, offset);
	data = malloc(len + 1);
	if (!data)
		return error_oom(err);
	r = elf_file_read(f, offset, data, len, err);
	if (r < 0)
		return r;
	data[len] = '\0';
	*ret = take_ptr(data);
	return 0;
}

bool elf_file_dynamic(const struct elf_file *f, int64_t tag, uint64_t *ret)
{
	for (size_t i = 0; i < f->n_dynamic; i++)
		if (f->dynamic[i].d_tag == tag) {
			*ret = f->dynamic[i].d_un.d_val;
			return true;
		}
	return false;
}

int elf_file_open(int fd, const char *name, struct elf_file **ret, struct error *err)
{
	cleanup(elf_file_closep) struct elf_file *f = calloc(1, sizeof(*f));
	int r;

	if (!f) {
		close(fd);
		return error_oom(err);
	}
	f->fd = fd;
	f->name = strdup(name);
	if (!f->name)
		return error_oom(err);
	r = elf_headers_read(f, err);
	if (r < 0)
		return r;
	*ret = take_ptr(f);
	return 0;
}

const char *elf_file_name(const struct elf_file *f)
{
	return f->name;
}

uint16_t elf_file_machine(const struct elf_file *f)
{
	return f->header.e_machine;
}

bool elf_file_is_pie(const struct elf_file *f)
{
	return f->header.e_type == ET_DYN;
}

bool elf_file_is_program(const struct elf_file *f)
{
	uint64_t flags;

	return f->header.e_type == ET_EXEC || f->interpreter ||
	       (elf_file_dynamic(f, DT_FLAGS_1, &flags) && flags & DF_1_PIE);
}

uint64_t elf_file_entry(const struct elf_file *f)
{
	return f->header.e_entry;
}

uint64_t elf_file_size(const struct elf_file *f)
{
	return f->size;
}

int elf_file_fd(const struct elf_file *f)
{
	return f->fd;
}

size_t elf_file_build_id(const struct elf_file *f, uint8_t id[ELF_FILE_BUILD_ID_BYTES])
{
	memcpy(id, f->build_id, f->build_id_len);
	return f->build_id_len;
}

void elf_file_build_id_hex(const struct elf_file *f, char *hex)
{
	*hex = '\0';
	for (size_t i = 0; i < f->build_id_len; i++)
		snprintf(hex + 2 * i, 3, "%02x", f->build_id[i]);
}

const char *elf_file_interpreter(const struct elf_file *f)
{
	return f->interpreter;
}

const char *elf_file_soname(const struct elf_file *f)
{
	return f->soname;
}

size_t elf_file_n_segments(const struct elf_file *f)
{
	return f->n_segments;
}

struct elf_segment elf_file_segment(const struct elf_file *f, size_t i)
{
	const Elf64_Phdr *p = &f->segments[i];

	return (struct elf_segment){
		.vaddr = p->p_vaddr,
		.memsz = p->p_memsz,
		.offset = p->p_offset,
		.filesz = p->p_filesz,
		.type = p->p_type,
		.flags = p->p_flags,
	};
}

static const char *section_name(const struct elf_file *f, size_t i)
{
	uint32_t at = f->sections[i].sh_name;

	return at < f->section_names_len ? f->section_names + at : "";
}

struct elf_section elf_file_section_at(const struct elf_file *f, size_t i)
{
	const Elf64_Shdr *s = &f->sections[i];

	return (struct elf_section){
		.name = section_name(f, i),
		.index = i,
		.type = s->sh_type,
		.link = s->sh_link,
		.vaddr = s->sh_addr,
		.offset = s->sh_offset,
		.size = s->sh_size,
		.flags = s->sh_flags,
		.entsize = s->sh_entsize,
	};
}

size_t elf_file_n_sections(const struct elf_file *f)
{
	return f->n_sections;
}

bool elf_file_section(const struct elf_file *f, const char *name, struct elf_section *ret)
{
	for (size_t i = 1; i < f->n_sections; i++)
		if (!strcmp(section_name(f, i), name)) {
			*ret = elf_file_section_at(f, i);
			return true;
		}
	return false;
}

bool elf_file_offset(const struct elf_file *f, uint64_t vaddr, uint64_t *ret)
{
	for (size_t i = 0; i < f->n_segments; i++) {
		const Elf64_Phdr *p = &f->segments[i];

		if (p->p_type == PT_LOAD && vaddr >= p->p_vaddr &&
		    vaddr - p->p_vaddr < p->p_filesz &&
		    !__builtin_add_overflow(vaddr - p->p_vaddr, p->p_offset, ret))
			return true;
	}
	return false;
}

bool elf_file_vaddr(const struct elf_file *f, uint64_t offset, uint64_t *ret)
{
	for (size_t i = 0; i < f->n_segments; i++) {
		const Elf64_Phdr *p = &f->segments[i];

		if (p->p_type == PT_LOAD && offset >= p->p_offset &&
		    offset - p->p_offset < p->p_filesz) {
			*ret = offset - p->p_offset + p->p_vaddr;
			return true;
		}
	}
	return false;
}

/* How well a segment explains a mapping of the file that begins at @offset:
 * 0 not at all. Segments may share a page of the file (lld does it), and only
 * the one that begins in the mapping's first page begins there. */
static unsigned bias_rank(const Elf64_Phdr *p, uint64_t offset)
{
	uint64_t page = sysconf(_SC_PAGESIZE);
	uint64_t first = p->p_offset & ~(page - 1);

	if (p->p_type != PT_LOAD || !p->p_filesz || offset < first)
		return 0;
	if (offset >= p->p_offset && offset - p->p_offset >= p->p_filesz)
		return 0;
	return 1 + !!(p->p_flags & PF_X) + 2 * (offset == first);
}

bool elf_file_bias(const struct elf_file *f, uint64_t start, uint64_t offset, uint64_t *ret)
{
	const Elf64_Phdr *best = NULL;

	for (size_t i = 0; i < f->n_segments; i++) {
		const Elf64_Phdr *p = &f->segments[i];

		if (bias_rank(p, offset) > (best ? bias_rank(best, offset) : 0))
			best = p;
	}
	if (!best)
		return false;
	*ret = start - (best->p_vaddr - best->p_offset + offset);
	return true;
}

int elf_file_read_vaddr(const struct elf_file *f, uint64_t vaddr, void *buf, size_t len,
                        struct error *err)
{
	for (size_t i = 0; i < f->n_segments; i++) {
		const Elf64_Phdr *p = &f->segments[i];
		uint64_t at = vaddr - p->p_vaddr, from_file;
		uint64_t size = p->p_memsz > p->p_filesz ? p->p_memsz : p->p_filesz;
		int r;

		if (p->p_type != PT_LOAD || vaddr < p->p_vaddr || at >= size || len > size - at)
			continue;
		from_file = at >= p->p_filesz ? 0 : p->p_filesz - at;
		if (from_file > len)
			from_file = len;
		if (p->p_offset > f->size || at > f->size)
			break;
		r = from_file ? elf_file_read(f, p->p_offset + at, buf, from_file, err) : 0;
		if (r < 0)
			return r;
		memset((char *)buf + from_file, 0, len - from_file);
		return 0;
	}
	return error_set(err, ERANGE, "%s: %zu bytes at address %#" PRIx64 " are in no segment",
	                 f->name, len, vaddr);
}

int elf_file_section_data(const struct elf_file *f, const struct elf_section *s, size_t max_bytes,
                          void **ret, size_t *ret_len, struct error *err)
{
	cleanup_free void *data = NULL;
	int r;

	if (s->type == SHT_NOBITS)
		return error_set(err, ENODATA, "%s: section %s has no bytes in this file", f->name,
		                 s->name);
	if (s->size > max_bytes)
		return error_set(err, EFBIG, "%s: section %s is too big", f->name, s->name);
	r = elf_file_copy(f, s->offset, s->size, &data, err);
	if (r < 0)
		return error_context(err, "section %s", s->name);
	if (s->flags & SHF_COMPRESSED) {
		r = elf_inflate(data, s->size, max_bytes, ret, ret_len, err);
		return r < 0 ? error_context(err, "%s: %s", f->name, s->name) : 0;
	}
	*ret_len = s->size;
	*ret = take_ptr(data);
	return 0;
}

int elf_file_word(struct elf_file *f, uint64_t vaddr, uint64_t *ret, struct error *err)
{
	uint64_t word;
	int r = elf_relocs_load(f, err);

	if (r < 0)
		return r;
	if (elf_relocs_find(&f->relocs, vaddr, ret))
		return 0;
	r = elf_file_read_vaddr(f, vaddr, &word, sizeof(word), err);
	if (r < 0)
		return r;
	*ret = word;
	return 0;
}

void elf_file_set_found(struct elf_file *f, void *symbols, size_t n, char *strings, size_t len)
{
	elf_symbols_clear(&f->found);
	f->found = (struct elf_symbols_table){
		.loaded = true, .syms = symbols, .n = n, .strings = strings, .strings_len = len
	};
}

int elf_file_symbol(struct elf_file *f, enum elf_symbols where, const char *name,
                    struct elf_symbol *ret)
{
	if (where & ELF_DYNSYM) {
		elf_symbols_load_dynsym(f);
		if (!elf_symbols_find(&f->dynsym, name, ret))
			return 0;
	}
	if (where & ELF_SYMTAB) {
		elf_symbols_load_symtab(f);
		if (!elf_symbols_find(&f->symtab, name, ret))
			return 0;
	}
	if (where & ELF_FOUND && !elf_symbols_find(&f->found, name, ret))
		return 0;
	return -ENOENT;
}

int elf_file_each_symbol(struct elf_file *f, enum elf_symbols where,
                         int (*fn)(const struct elf_symbol *s, void *arg), void *arg)
{
	int r = 0;

	if (where & ELF_DYNSYM) {
		elf_symbols_load_dynsym(f);
		r = elf_symbols_each(&f->dynsym, fn, arg);
	}
	if (!r && where & ELF_SYMTAB) {
		elf_symbols_load_symtab(f);
		r = elf_symbols_each(&f->symtab, fn, arg);
	}
	if (!r && where & ELF_FOUND)
		r = elf_symbols_each(&f->found, fn, arg);
	return r;
}
