/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/object_code.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "symbol/object_archive.h"
#include "symbol/object_code_internal.h"
#include "symbol/object_match.h"

enum { FILE_MAX_BYTES = 1 << 30 };

struct object_code {
	struct object_build *builds;
	size_t n_builds, cap_builds;
	size_t n_given; /* the first ones: by object_code_add_file() */
};

int object_code_new(struct object_code **ret, struct error *err)
{
	struct object_code *c = calloc(1, sizeof(*c));

	if (!c)
		return error_oom(err);
	*ret = c;
	return 0;
}

struct object_code *object_code_free(struct object_code *c)
{
	if (!c)
		return NULL;
	for (size_t i = 0; i < c->n_builds; i++)
		object_build_clear(&c->builds[i]);
	free(c->builds);
	free(c);
	return NULL;
}

void object_code_freep(struct object_code **c)
{
	*c = object_code_free(*c);
}

/* The whole file; read, because one that is cut short under a mapping would kill us. */
static int read_file(const char *path, uint8_t **ret, size_t *ret_len, struct error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free uint8_t *bytes = NULL;
	size_t len = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "%s", path);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ENOEXEC, "%s: not a file", path);
	if (st.st_size > FILE_MAX_BYTES)
		return error_set(err, ENOEXEC, "%s: more than 1G", path);
	bytes = malloc(st.st_size + 1);
	if (!bytes)
		return error_oom(err);
	while (len < (size_t)st.st_size) {
		ssize_t n = read(fd, bytes + len, st.st_size - len);

		if (n < 0)
			return error_sys(err, errno, "%s", path);
		if (!n)
			break;
		len += n;
	}
	*ret = take_ptr(bytes);
	*ret_len = len;
	return 0;
}

int object_code_add_build(struct object_code *c, struct object_build *b, struct error *err)
{
	int r = array_reserve(&c->builds, &c->cap_builds, c->n_builds + 1, err);

	if (r < 0)
		return r;
	c->builds[c->n_builds++] = *b;
	*b = (struct object_build){ 0 };
	return 0;
}

int object_code_add_file(struct object_code *c, const char *path, struct error *err)
{
	cleanup(object_build_clear) struct object_build b = { 0 };
	cleanup_free uint8_t *bytes = NULL;
	size_t len = 0;
	int r = read_file(path, &bytes, &len, err);

	if (r < 0)
		return r;
	r = object_archive_read(&b, bytes, len, NULL, err);
	if (r < 0)
		return error_context(err, "%s", path);
	snprintf(b.title, sizeof(b.title), "%s", path);
	r = object_code_add_build(c, &b, err);
	c->n_given = c->n_builds;
	return r;
}

/* ---- what was found, as symbols ---- */

struct found {
	Elf64_Sym *symbols; /* the first is empty, as in a file */
	size_t n_symbols, cap_symbols;
	char *strings;
	size_t n_strings, cap_strings;
	char *undecided; /* as in struct object_code_found */
	size_t n_undecided, cap_undecided;
	struct error *err;
};

static void found_clear(struct found *f)
{
	free(f->symbols);
	free(f->strings);
	free(f->undecided);
}

static int put(struct found *f, const Elf64_Sym *symbol, const char *name)
{
	size_t len = strlen(name) + 1;
	int r = array_reserve(&f->symbols, &f->cap_symbols, f->n_symbols + 1, f->err);

	if (r == 0)
		r = array_reserve(&f->strings, &f->cap_strings, f->n_strings + len, f->err);
	if (r < 0)
		return r;
	f->symbols[f->n_symbols] = *symbol;
	f->symbols[f->n_symbols++].st_name = f->n_strings;
	memcpy(f->strings + f->n_strings, name, len);
	f->n_strings += len;
	return 0;
}

/* Of the functions of @b that begin at a place: the size. */
static uint64_t size_at(const struct object_build *b, uint32_t section, uint32_t offset)
{
	for (size_t i = 0; i < b->n_symbols; i++)
		if (b->symbols[i].section == section && b->symbols[i].offset == offset)
			return b->symbols[i].size;
	return 0;
}

/* A function that only jumps to another one which was found: whoever calls it gets there. Of
 * several definitions the one that was found is meant, a strong one first. */
static bool lands(const struct object_match *m, const struct object_section *jump, uint64_t *vaddr,
                  uint64_t *size)
{
	const struct object_build *b = m->build;
	const struct object_ref *ref = &b->refs[jump->first_ref];
	const struct object_symbol *to = NULL;

	for (size_t i = 0; ref->name && i < b->n_symbols; i++) {
		const struct object_symbol *s = &b->symbols[i];

		if (s->bind != STB_LOCAL && m->places[s->section].found &&
		    !strcmp(b->strings + s->name, b->strings + ref->name) &&
		    (!to || s->bind == STB_GLOBAL))
			to = s;
	}
	if (!to)
		return false;
	*vaddr = m->places[to->section].vaddr[0] + to->offset;
	*size = size_at(b, to->section, to->offset);
	return true;
}

/* Where a symbol is; false: not found. */
static bool locate(const struct object_match *m, const struct object_symbol *s, uint64_t *vaddr,
                   uint64_t *size)
{
	const struct object_section *section = &m->build->sections[s->section];

	*vaddr = m->places[s->section].vaddr[0] + s->offset;
	*size = s->size;
	if (m->places[s->section].found)
		return true;
	return section->is_jump && s->offset + 5u + 4u >= section->size &&
	       lands(m, section, vaddr, size);
}

static int put_all(struct found *to, const struct object_match *m)
{
	const struct object_build *b = m->build;
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->n_symbols; i++) {
		const struct object_symbol *s = &b->symbols[i];
		Elf64_Sym symbol = { .st_info = ELF64_ST_INFO(s->bind, s->type),
			             .st_shndx = SHN_ABS };

		if (locate(m, s, &symbol.st_value, &symbol.st_size))
			r = put(to, &symbol, b->strings + s->name);
	}
	return r;
}

static bool overlaps(const struct object_match *a, const struct object_match *b)
{
	for (size_t i = 0; i < a->build->n_sections; i++) {
		uint64_t from = a->places[i].vaddr[0], to = from + a->build->sections[i].size;

		for (size_t k = 0; a->places[i].found && k < b->build->n_sections; k++)
			if (b->places[k].found && b->places[k].vaddr[0] < to &&
			    from < b->places[k].vaddr[0] + b->build->sections[k].size)
				return true;
	}
	return false;
}

/* Does another one say more about the same code? Given ones know best. */
static bool is_best(const struct object_code *c, const struct object_match *all, size_t which)
{
	for (size_t i = 0; i < c->n_builds; i++) {
		bool given = i < c->n_given, itself_given = which < c->n_given;
		bool better = given != itself_given              ? given
		              : all[i].bytes != all[which].bytes ? all[i].bytes > all[which].bytes
		                                                 : i < which;

		if (i != which && all[i].bytes && better && overlaps(&all[i], &all[which]))
			return false;
	}
	return all[which].bytes != 0;
}

/* What was seen and not believed. */
static int put_undecided(struct found *to, const struct object_match *m)
{
	const struct object_build *b = m->build;
	int r = 0;

	for (size_t i = 0; r == 0 && i < b->n_symbols; i++) {
		const struct object_symbol *s = &b->symbols[i];
		const char *name = b->strings + s->name;
		const size_t len = strlen(name) + 1;

		if (s->bind == STB_LOCAL || m->places[s->section].found || !m->places[s->section].n)
			continue;
		r = array_reserve(&to->undecided, &to->cap_undecided, to->n_undecided + len + 1,
		                  to->err);
		if (r < 0)
			return r;
		memcpy(to->undecided + to->n_undecided, name, len);
		to->n_undecided += len;
		to->undecided[to->n_undecided] = '\0';
	}
	return r;
}

static void say_title(struct object_code_found *f, const char *title)
{
	size_t at = strlen(f->title);

	snprintf(f->title + at, sizeof(f->title) - at, "%s%s", at ? ", " : "", title);
}

static int collect(const struct object_code *c, const struct object_match *matches,
                   struct found *to, struct object_code_found *ret)
{
	int r = put(to, &(Elf64_Sym){ 0 }, "");

	for (size_t i = 0; r == 0 && i < c->n_builds; i++) {
		if (!is_best(c, matches, i))
			continue;
		say_title(ret, c->builds[i].title);
		r = put_all(to, &matches[i]);
		if (r == 0)
			r = put_undecided(to, &matches[i]);
	}
	ret->n_functions = to->n_symbols - 1;
	return r;
}

static int give(struct elf_file *f, struct found *found)
{
	elf_file_set_found(f, found->symbols, found->n_symbols, found->strings, found->n_strings);
	found->symbols = NULL;
	found->strings = NULL;
	return 0;
}

int object_code_find(const struct object_code *c, struct elf_file *f, struct object_code_found *ret,
                     struct error *err)
{
	cleanup(found_clear) struct found found = { .err = err };
	cleanup_free struct object_match *matches = calloc(c->n_builds + 1, sizeof(*matches));
	struct object_code_found result = { .n_functions = 0 };
	int r;

	if (!matches)
		return error_oom(err);
	for (size_t i = 0; i < c->n_builds; i++)
		matches[i].build = &c->builds[i];
	r = elf_file_machine(f) == EM_X86_64 ? object_match_find(matches, c->n_builds, f, err) : 0;
	if (r == 0 && elf_file_machine(f) == EM_X86_64)
		r = collect(c, matches, &found, &result);
	if (r == 0 && result.n_functions)
		r = give(f, &found);
	for (size_t i = 0; i < c->n_builds; i++)
		object_match_clear(&matches[i]);
	if (r < 0)
		return r;
	result.undecided = take_ptr(found.undecided);
	*ret = result;
	return 0;
}
