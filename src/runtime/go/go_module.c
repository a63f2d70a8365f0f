/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_module.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/search.h"
#include "runtime/go/go_layout_dwarf.h"
#include "runtime/go/go_version.h"
#include "target/maps.h"

enum {
	MODULE_BYTES = 600,
	TYPE_BYTES = 48,
	TFLAG_EXTRA_STAR = 2, /* internal/abi/type.go */
	MAX_NAME = 4096,
	SCAN_BYTES = 1 << 16,
	WORD = 8,
	MAX_FILES = 1024,
	MAX_TABLES = 16,
	MAX_OTHERS_DATA = 1 << 30, /* bytes of all plugins together */
	INFO_HEAD = 32,
	INFO_PIECE = 1024,
	MAX_INFO = 1 << 20,
};

/* ---- finding it ---- */

static bool is_module(struct go_module *m, uint64_t at, uint64_t table, uint64_t table_end)
{
	const struct go_layout *l = m->layout;
	uint64_t names = image_uint64(m->image, at + l->moduledata_funcnametab);
	uint64_t functions = image_uint64(m->image, at + l->moduledata_pclntable);
	uint64_t text = image_uint64(m->image, at + l->moduledata_text);
	uint64_t etext = image_uint64(m->image, at + l->moduledata_etext);
	uint64_t types = image_uint64(m->image, at + l->moduledata_types);
	uint64_t etypes = image_uint64(m->image, at + l->moduledata_etypes);

	return image_uint64(m->image, at) == table && names > table && names < table_end &&
	       functions > table && functions < table_end && text && text < etext && types &&
	       types < etypes;
}

static bool find_table(const struct go_module *m, uint64_t *start, uint64_t *end)
{
	struct elf_section s;

	if (!elf_file_section(m->exe, ".gopclntab", &s) &&
	    !elf_file_section(m->exe, ".data.rel.ro.gopclntab", &s))
		return false;
	*start = s.vaddr + m->bias;
	*end = *start + s.size;
	return true;
}

/* Bytes from @at on that lie in one mapping: data and .bss are two, and neither begins or ends
 * where we do. 0: nothing is there. */
static uint64_t piece_at(const struct go_module *m, uint64_t at, uint64_t end)
{
	const struct image_segment *s = image_find(m->image, at);
	uint64_t n = end - at < SCAN_BYTES ? end - at : SCAN_BYTES;

	if (!s)
		return 0;
	if (n > s->end - at)
		n = s->end - at;
	return n / 8 * 8;
}

/* Goes on to what is mapped next from *at on; false: nothing. */
static bool next_mapped(const struct go_module *m, uint64_t *at)
{
	size_t n = image_n_segments(m->image);
	size_t k = partition_point(n, i, image_segment(m->image, i)->end <= *at);

	if (k == n)
		return false;
	if (image_segment(m->image, k)->start > *at)
		*at = image_segment(m->image, k)->start;
	return true;
}

/* Look for the word @table in the program's segments. */
static uint64_t search(struct go_module *m, uint64_t table, uint64_t table_end)
{
	for (size_t k = 0; k < elf_file_n_segments(m->exe); k++) {
		struct elf_segment s = elf_file_segment(m->exe, k);
		uint64_t at = (s.vaddr + m->bias + 7) & ~7ull, end = s.vaddr + s.memsz + m->bias;

		if (s.type != PT_LOAD || (s.flags & PF_X))
			continue;
		while (next_mapped(m, &at) && at < end && end - at > MODULE_BYTES) {
			uint64_t n = piece_at(m, at, end);
			const uint64_t *words = n ? image_at(m->image, at, n) : NULL;

			for (uint64_t i = 0; words && i < n / 8; i++) {
				if (words[i] == table && is_module(m, at + i * 8, table, table_end))
					return at + i * 8;
			}
			at += n ? n : WORD;
		}
	}
	return 0;
}

/* Does a header of pclntab begin with these bytes: magic, quantum 1, words of 8 bytes (symtab.go,
 * pcHeader)? */
static bool is_table(uint64_t word)
{
	const uint32_t magic = (uint32_t)word;

	return word >> 32 == 0x08010000 &&
	       (magic == 0xfffffff1 || magic == 0xfffffff0 || magic == 0xfffffffa);
}

/* A C compiler's linker puts the table of an archive (-buildmode=c-archive) into .data.rel.ro: by
 * its header, of the first few that look like one. */
static uint64_t search_table(struct go_module *m)
{
	uint64_t found = 0;
	unsigned tried = 0;

	for (size_t k = 0; !found && k < elf_file_n_segments(m->exe); k++) {
		struct elf_segment s = elf_file_segment(m->exe, k);
		uint64_t at = (s.vaddr + m->bias + 7) & ~7ull, end = s.vaddr + s.memsz + m->bias;

		if (s.type != PT_LOAD || (s.flags & PF_X))
			continue;
		while (!found && next_mapped(m, &at) && at < end && end - at > MODULE_BYTES) {
			uint64_t n = piece_at(m, at, end);
			const uint64_t *words = n ? image_at(m->image, at, n) : NULL;

			for (uint64_t i = 0; words && !found && i < n / 8; i++) {
				if (is_table(words[i]) && tried++ < MAX_TABLES)
					found = search(m, at + i * 8, end);
			}
			at += n ? n : WORD;
		}
	}
	return found;
}

static uint64_t find(struct go_module *m)
{
	uint64_t table, end;
	struct elf_section s;

	if (!find_table(m, &table, &end))
		return search_table(m);
	if (elf_file_section(m->exe, ".go.module", &s) &&
	    is_module(m, s.vaddr + m->bias, table, end))
		return s.vaddr + m->bias;
	return search(m, table, end);
}

/* ---- reading it ---- */

/* Of the @n entries of the table of functions those that are in memory: no more is said of it. */
static uint64_t entries_there(const struct go_module *m, uint64_t n)
{
	const struct image_segment *s = image_find(m->image, m->ftab);
	uint64_t room = s ? (s->end - m->ftab) / (m->layout->minor >= 18 ? 8 : 16) : 0;

	return n < room ? n : room;
}

uint64_t go_module_end_of(const struct go_module *m, uint64_t addr)
{
	for (size_t k = 0; k < elf_file_n_segments(m->exe); k++) {
		struct elf_segment s = elf_file_segment(m->exe, k);

		if (s.type == PT_LOAD && addr - m->bias - s.vaddr < s.memsz)
			return s.vaddr + s.memsz + m->bias;
	}
	return addr;
}

/* Not further than there are bytes, and not behind @end. */
static void cut(const struct go_module *m, struct go_module_data *d, uint64_t end)
{
	uint64_t at = d->start;
	const struct image_segment *s;

	if (d->end > end)
		d->end = end;
	while (at < d->end && (s = image_find(m->image, at)) != NULL)
		at = s->end;
	if (d->end > at)
		d->end = at;
}

/* Of the moduledata at @at: data, bss. */
static void read_data(const struct go_module *m, uint64_t at, struct go_module_data *ret)
{
	struct image *i = m->image;
	const struct go_layout *l = m->layout;

	for (unsigned k = 0; k < 2; k++) {
		struct go_module_data *d = &ret[k];

		d->start = image_uint64(i, at + (k ? l->moduledata_bss : l->moduledata_data));
		d->end = image_uint64(i, at + (k ? l->moduledata_bss : l->moduledata_data) + 8);
		cut(m, d, at == m->at ? go_module_end_of(m, d->start) : d->end);
		/* bitvector { n int32; bytedata *uint8 } */
		d->mask_bits = image_uint32(
			i, at + (k ? l->moduledata_gcbssmask : l->moduledata_gcdatamask));
		d->mask = image_uint64(
			i, at + (k ? l->moduledata_gcbssmask : l->moduledata_gcdatamask) + 8);
	}
}

static uint64_t data_bytes(const struct go_module_data *d)
{
	return (d[0].end > d[0].start ? d[0].end - d[0].start : 0) +
	       (d[1].end > d[1].start ? d[1].end - d[1].start : 0);
}

static void read_others(struct go_module *m)
{
	struct image *i = m->image;
	const struct go_layout *l = m->layout;
	uint64_t at = image_uint64(i, m->at + l->moduledata_next), room = MAX_OTHERS_DATA;

	for (; at && m->n_others < GO_MODULE_OTHERS;
	     at = image_uint64(i, at + l->moduledata_next)) {
		struct go_module_other o = {
			.text = image_uint64(i, at + l->moduledata_text),
			.etext = image_uint64(i, at + l->moduledata_etext),
			.types = image_uint64(i, at + l->moduledata_types),
			.etypes = image_uint64(i, at + l->moduledata_etypes),
		};

		read_data(m, at, o.data);
		if (at % 8 || o.text >= o.etext || o.types >= o.etypes || data_bytes(o.data) > room)
			return;
		room -= data_bytes(o.data);
		m->others[m->n_others++] = o;
	}
}

static void read_fields(struct go_module *m)
{
	struct image *i = m->image;
	const struct go_layout *l = m->layout;

	m->text = image_uint64(i, m->at + l->moduledata_text);
	m->etext = image_uint64(i, m->at + l->moduledata_etext);
	m->types = image_uint64(i, m->at + l->moduledata_types);
	m->etypes = image_uint64(i, m->at + l->moduledata_etypes);
	m->func_names = image_uint64(i, m->at + l->moduledata_funcnametab);
	m->pc_table = image_uint64(i, m->at + l->moduledata_pctab);
	m->functions = image_uint64(i, m->at + l->moduledata_pclntable);
	m->ftab = image_uint64(i, m->at + l->moduledata_ftab);
	m->n_ftab = entries_there(m, image_uint64(i, m->at + l->moduledata_ftab + 8));
	read_data(m, m->at, m->data);
	read_others(m);
}

/* Fields of a descriptor are taken out of a copy of it. */
static bool is_type_sane(const struct go_layout *l)
{
	const uint32_t at[] = { l->type_size, l->type_ptr_bytes, l->type_gc_data,
		                l->type_str,  l->type_tflag,     l->type_kind };

	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		if (at[i] > TYPE_BYTES - (i < 3 ? 8 : 4))
			return false;
	}
	return l->type_bytes == TYPE_BYTES;
}

static int find_layout(struct go_module *m, const char *version, struct error *err)
{
	unsigned minor = go_version_minor(version);
	const char *lacks;
	int r = minor ? go_layout_of(version, &m->own) : 0;

	if (r == 0 && (minor >= GO_LAYOUT_OLDEST || !minor)) {
		m->by_dwarf = true;
		r = go_layout_dwarf_read(m->exe, minor ? minor : GO_LAYOUT_NEWEST, &m->own, err);
	}
	if (r < 0)
		return r;
	if (r == 0) {
		error_set(err, ENOTSUP, "%s was built by %s", image_name(m->image), version);
		return error_hint(err, "known are Go 1.17 to 1.26, and newer ones if the program "
		                       "has DWARF");
	}
	lacks = go_layout_lacks(&m->own);
	if (lacks || !is_type_sane(&m->own)) {
		error_set(err, ENOTSUP, "%s was built by %s, whose runtime has no %s",
		          image_name(m->image), version, lacks ? lacks : "known types");
		return error_hint(err, "known are Go 1.17 to 1.26");
	}
	return 0;
}

/* ---- is it the same build? ---- */

/* Text that the linker wrote: version, modules, settings, revision (debug/buildinfo; inline and
 * behind 32 bytes since 1.18). Other bytes in the core: another program. */
static bool has_other_info(struct go_module *m)
{
	uint8_t file[INFO_PIECE], core[INFO_PIECE];
	struct elf_section s;
	struct error unused = { 0 };

	if (!elf_file_section(m->exe, ".go.buildinfo", &s))
		return false;
	for (uint64_t at = INFO_HEAD; at < s.size && at < MAX_INFO; at += sizeof(file)) {
		uint64_t n = s.size - at < sizeof(file) ? s.size - at : sizeof(file);

		if (elf_file_read_vaddr(m->exe, s.vaddr + at, file, n, &unused) < 0 ||
		    image_read(m->image, s.vaddr + m->bias + at, core, n) < 0)
			return false;
		if (memcmp(file, core, n) != 0)
			return true;
	}
	return false;
}

/* Module data up to the types' end is as the linker wrote it: where everything lies, and how much
 * of it there is (symtab.go). */
static bool has_other_places(struct go_module *m)
{
	for (uint64_t k = 0; k <= m->layout->moduledata_etypes; k += sizeof(uint64_t)) {
		struct error unused = { 0 };
		uint64_t linked, now;

		if (elf_file_word(m->exe, m->at - m->bias + k, &linked, &unused) < 0 ||
		    image_read(m->image, m->at + k, &now, sizeof(now)) < 0)
			return false;
		if (now != linked && now != linked + m->bias)
			return true;
	}
	return false;
}

/* A core that was cut off before it says nothing of the build. */
static bool has_its_data(const struct go_module *m)
{
	const struct image_segment *s = image_find(m->image, m->at);

	return s && m->at - s->start < s->bytes;
}

static int refuse_other(const struct go_module *m, struct error *err)
{
	error_set(err, EMEDIUMTYPE, "%s is not the program that %s is of: it was built anew",
	          elf_file_name(m->exe), image_name(m->image));
	return error_hint(err, "the program that crashed goes behind --exe");
}

/* The program, or the first library that is Go: m->exe and its bias. */
static void find_file(struct go_module *m, char *version, size_t version_bytes)
{
	const char *last = "";

	go_version_text(m->exe, version, version_bytes);
	for (size_t k = 0, n = 0; !version[0] && k < image_n_segments(m->image); k++) {
		const struct image_segment *s = image_segment(m->image, k);
		struct error unused = { 0 };
		struct elf_file *f;
		uint64_t bias;

		/* a core does not say of what it has not whether it is code */
		if ((!(s->prot & MAPS_EXEC) && image_kind(m->image) == IMAGE_PROCESS) ||
		    s->path[0] != '/' || !strcmp(s->path, last) || n++ >= MAX_FILES)
			continue;
		last = s->path;
		f = image_file(m->image, s->start, &bias, &unused);
		if (f)
			go_version_text(f, version, version_bytes);
		if (version[0]) {
			m->exe = f;
			m->bias = bias;
		}
	}
}

int go_module_open(struct image *i, struct go_module *ret, char *version, size_t version_bytes,
                   struct error *err)
{
	struct go_module m = { .image = i };
	int r;

	m.exe = image_exe(i, &m.bias, err);
	if (!m.exe)
		return err->code;
	find_file(&m, version, version_bytes);
	if (!version[0])
		return error_set(err, ENOTSUP, "%s is not a Go program", image_name(i));
	r = find_layout(&m, version, err);
	if (r < 0)
		return r;
	m.layout = &m.own;
	m.at = find(&m);
	if (!m.at) {
		error_set(err, ENOTSUP, "%s: the module data of %s is not where its program says",
		          image_name(i), version);
		return image_kind(i) == IMAGE_CORE
		               ? error_hint(err, "is this the program that the core is of?")
		               : -ENOTSUP;
	}
	if (image_kind(i) == IMAGE_CORE && !image_exe_is_proven(i) && has_its_data(&m) &&
	    (has_other_places(&m) || has_other_info(&m)))
		return refuse_other(&m, err);
	read_fields(&m);
	*ret = m;
	ret->layout = &ret->own;
	return 0;
}

/* ---- what is where ---- */

bool go_module_is_code(const struct go_module *m, uint64_t at)
{
	bool is = at >= m->text && at < m->etext;

	for (size_t k = 0; !is && k < m->n_others; k++)
		is = at >= m->others[k].text && at < m->others[k].etext;
	return is;
}

bool go_module_is_type(const struct go_module *m, uint64_t at)
{
	bool is = at >= m->types && at < m->etypes;

	for (size_t k = 0; !is && k < m->n_others; k++)
		is = at >= m->others[k].types && at < m->others[k].etypes;
	return is;
}

/* ---- names ---- */

static void copy_text(struct image *i, uint64_t at, uint64_t len, char *buf, size_t size)
{
	if (len >= size)
		len = size - 1;
	if (!len || image_read(i, at, buf, len) < 0)
		len = 0;
	buf[len] = '\0';
	for (char *c = buf; *c; c++) {
		if ((unsigned char)*c < ' ')
			*c = '?';
	}
}

/* abi.Name: a byte of flags, the length as a varint (1.17+), the bytes. */
void go_module_type_name(const struct go_module *m, uint64_t type, char *buf, size_t size)
{
	const struct go_layout *l = m->layout;
	uint8_t head[TYPE_BYTES], length[2];
	int32_t offset;
	uint64_t start = m->types, end = m->etypes, at, len;

	buf[0] = '\0';
	if (image_read(m->image, type, head, sizeof(head)) < 0)
		return;
	memcpy(&offset, head + l->type_str, sizeof(offset));
	/* in the types of the same module */
	for (size_t k = 0; k < m->n_others; k++) {
		if (type >= m->others[k].types && type < m->others[k].etypes) {
			start = m->others[k].types;
			end = m->others[k].etypes;
		}
	}
	at = start + (uint64_t)(int64_t)offset;
	if (offset <= 0 || at >= end || image_read(m->image, at + 1, length, 2) < 0)
		return;
	len = length[0] & 0x7f;
	at += 2;
	if (length[0] & 0x80) {
		len |= (uint64_t)(length[1] & 0x7f) << 7;
		at++;
	}
	if ((head[l->type_tflag] & TFLAG_EXTRA_STAR) && len) {
		at++;
		len--;
	}
	copy_text(m->image, at, len, buf, size);
}
