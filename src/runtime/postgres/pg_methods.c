/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_methods.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/postgres/pg_code.h"

enum {
	WORD = 8,
	OLD_WORDS = 8,        /* alloc free realloc reset delete get_chunk_space is_empty stats */
	OLD_WORDS_INIT = 9,   /* 10: "init" after realloc */
	CHUNK_WORDS = 9,      /* 16+: get_chunk_context after delete */
	NEAR_BYTES = 0x10000, /* one object file */
	MIN_NEAR = 6,
	MAX_CREATOR_BYTES = 16 << 10,
	MAX_SCAN_BYTES = 8 << 20,
};

static const char *const class_names[PG_N_CLASSES] = {
	[PG_ALLOCSET] = "AllocSet", [PG_GENERATION] = "Generation", [PG_SLAB] = "Slab",
	[PG_BUMP] = "Bump",         [PG_ALIGNED] = "AlignedAlloc",
};

/* Exported creators, newest name first: 12+, 11, 10. */
static const char *const creators[][2] = {
	[PG_ALLOCSET] = { "AllocSetContextCreateInternal", "AllocSetContextCreateExtended" },
	[PG_GENERATION] = { "GenerationContextCreate" },
	[PG_SLAB] = { "SlabContextCreate" },
	[PG_BUMP] = { "BumpContextCreate" },
};
static const char oldest_creator[] = "AllocSetContextCreate";

const char *pg_methods_class_name(enum pg_class c)
{
	return class_names[c];
}

const char *pg_methods_method_name(enum pg_method m)
{
	static const char *const names[PG_N_METHODS] = { "Alloc", "Free", "Realloc", "Reset",
		                                         "Delete" };

	return names[m];
}

int pg_methods_detect(struct elf_file *elf)
{
	struct elf_symbol s;

	return elf_file_symbol(elf, ELF_DYNSYM, "TopMemoryContext", &s) == 0 &&
	       elf_file_symbol(elf, ELF_DYNSYM, "MemoryContextCreate", &s) == 0;
}

static bool is_code(struct elf_file *elf, uint64_t v)
{
	if (v < 4096)
		return false;
	for (size_t i = 0; i < elf_file_n_segments(elf); i++) {
		struct elf_segment s = elf_file_segment(elf, i);

		if (s.type == PT_LOAD && (s.flags & PF_X) && v >= s.vaddr && v - s.vaddr < s.memsz)
			return true;
	}
	return false;
}

/* 0 also for what cannot be read: such a word is no function. */
static uint64_t word_at(struct elf_file *elf, uint64_t vaddr)
{
	struct error ignored;
	uint64_t v;

	return elf_file_word(elf, vaddr, &v, &ignored) < 0 ? 0 : v;
}

static bool is_data_address(struct elf_file *elf, uint64_t v)
{
	return v >= 4096 && !(v & (WORD - 1)) && !is_code(elf, v);
}

/* Functions in a row at @at, up to @max. */
static unsigned run_length(struct elf_file *elf, uint64_t at, unsigned max)
{
	unsigned n = 0;

	while (n < max && is_code(elf, word_at(elf, at + (uint64_t)n * WORD)))
		n++;
	return n;
}

static bool is_near(uint64_t v, uint64_t to)
{
	return v + NEAR_BYTES > to && v < to + NEAR_BYTES;
}

/* Is a whole table of functions from the creator's object file at @at? Without
 * the second condition any other array of functions would do. */
static bool is_old_table(struct elf_file *elf, uint64_t at, uint64_t creator, unsigned n_words)
{
	unsigned near = 0;

	if (!is_data_address(elf, at) || run_length(elf, at, n_words) < n_words)
		return false;
	for (unsigned i = 0; i < OLD_WORDS; i++)
		near += is_near(word_at(elf, at + (uint64_t)i * WORD), creator);
	return near >= MIN_NEAR;
}

static void fill_table(struct elf_file *elf, struct pg_table *t, uint64_t at, unsigned n_words,
                       bool has_init)
{
	t->found = true;
	t->vaddr = at;
	t->n_words = n_words;
	for (unsigned i = 0; i < n_words; i++)
		t->words[i] = word_at(elf, at + (uint64_t)i * WORD);
	for (unsigned m = 0; m < PG_N_METHODS; m++)
		t->method[m] = t->words[m + (has_init && m > PG_REALLOC)];
}

static int find_old_table(struct elf_file *elf, const struct elf_symbol *creator, unsigned n_words,
                          struct pg_table *t, struct error *err)
{
	cleanup(pg_code_refs_clear) struct pg_refs refs = { 0 };
	uint64_t size = creator->size < MAX_CREATOR_BYTES ? creator->size : MAX_CREATOR_BYTES;
	int r = pg_code_refs(elf, creator->value, size, PG_REF_DATA, &refs, err);

	if (r < 0)
		return r;
	/* the last one wins: a creator passes its table to MemoryContextCreate at its end */
	for (size_t i = refs.n; i-- > 0;) {
		if (!is_old_table(elf, refs.items[i], creator->value, n_words))
			continue;
		fill_table(elf, t, refs.items[i], n_words, n_words == OLD_WORDS_INIT);
		break;
	}
	return 0;
}

static bool find_creator(struct elf_file *elf, enum pg_class c, struct elf_symbol *ret)
{
	for (unsigned i = 0; i < ARRAY_SIZE(creators[0]); i++)
		if (c < ARRAY_SIZE(creators) && creators[c][i] &&
		    elf_file_symbol(elf, ELF_DYNSYM, creators[c][i], ret) == 0)
			return true;
	return false;
}

static int find_old(struct elf_file *elf, struct pg_methods *m, struct error *err)
{
	unsigned n_words;
	struct elf_symbol s;

	/* Only 10 has the plain name as a function; its tables have one word more. */
	if (!find_creator(elf, PG_ALLOCSET, &s) &&
	    elf_file_symbol(elf, ELF_DYNSYM, oldest_creator, &s) == 0)
		m->has_init = true;
	n_words = m->has_init ? OLD_WORDS_INIT : OLD_WORDS;
	for (unsigned c = 0; c < PG_ALIGNED; c++) {
		struct pg_table *t = &m->tables[c];
		int r;

		if (!find_creator(elf, c, &s) &&
		    (c != PG_ALLOCSET || elf_file_symbol(elf, ELF_DYNSYM, oldest_creator, &s) < 0))
			continue;
		t->creator = s.value;
		t->creator_size = s.size;
		r = find_old_table(elf, &s, n_words, t, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* An entry of the array: free, realloc, get_chunk_context, get_chunk_space are
 * always there (unused ids have functions that complain), the rest may be NULL. */
static bool is_entry(struct elf_file *elf, uint64_t at)
{
	static const uint8_t must[CHUNK_WORDS] = { 0, 1, 1, 0, 0, 1, 1, 0, 0 };

	for (unsigned i = 0; i < CHUNK_WORDS; i++) {
		uint64_t w = word_at(elf, at + (uint64_t)i * WORD);

		if (w ? !is_code(elf, w) : must[i])
			return false;
	}
	return true;
}

static uint64_t symbol_value(struct elf_file *elf, const char *class_name, const char *method)
{
	struct elf_symbol s;
	char name[64];

	snprintf(name, sizeof(name), "%s%s", class_name, method);
	return elf_file_symbol(elf, ELF_DYNSYM, name, &s) == 0 ? s.value : 0;
}

/* Entries around the one at @at, both ways; the array's start and length. */
static void array_bounds(struct elf_file *elf, uint64_t at, uint64_t *start, unsigned *n)
{
	const uint64_t entry = CHUNK_WORDS * WORD;

	*start = at;
	*n = 1;
	while (*n < PG_MAX_ENTRIES && is_entry(elf, *start - entry)) {
		*start -= entry;
		++*n;
	}
	while (*n < PG_MAX_ENTRIES && is_entry(elf, *start + *n * entry))
		++*n;
}

/* Which class has this alloc/free pair? By exported name. */
static int entry_class(struct elf_file *elf, uint64_t alloc, uint64_t free_fn)
{
	for (unsigned c = 0; c < PG_N_CLASSES; c++) {
		uint64_t want = symbol_value(elf, class_names[c], "Free");

		if (want && free_fn == want && alloc == symbol_value(elf, class_names[c], "Alloc"))
			return c;
	}
	return -1;
}

static void fill_array(struct elf_file *elf, struct pg_methods *m)
{
	for (unsigned i = 0; i < m->n_entries; i++) {
		uint64_t at = m->array + (uint64_t)i * CHUNK_WORDS * WORD;
		uint64_t alloc = word_at(elf, at);
		int c = entry_class(elf, alloc, word_at(elf, at + WORD));
		struct elf_symbol s;

		if (c < 0) {
			if (alloc)
				m->unknown_alloc = alloc;
			continue;
		}
		fill_table(elf, &m->tables[c], at, CHUNK_WORDS, false);
		m->tables[c].index = i;
		if (find_creator(elf, c, &s)) {
			m->tables[c].creator = s.value;
			m->tables[c].creator_size = s.size;
		}
	}
}

/* AllocSet's entry among the words after @from; 0: not there. */
static uint64_t find_entry(struct elf_file *elf, uint64_t from, uint64_t n_words, uint64_t alloc,
                           uint64_t free_fn)
{
	for (uint64_t i = 0; i < n_words; i++)
		if (word_at(elf, from + i * WORD) == alloc &&
		    word_at(elf, from + (i + 1) * WORD) == free_fn &&
		    is_entry(elf, from + i * WORD))
			return from + i * WORD;
	return 0;
}

static int entry_by_code(struct elf_file *elf, uint64_t alloc, uint64_t free_fn, uint64_t *ret,
                         struct error *err)
{
	cleanup(pg_code_refs_clear) struct pg_refs refs = { 0 };
	struct elf_symbol s;
	int r = elf_file_symbol(elf, ELF_DYNSYM, "MemoryContextCreate", &s);

	if (r < 0)
		return 0;
	r = pg_code_refs(elf, s.value, s.size, PG_REF_DATA, &refs, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < refs.n && !*ret; i++)
		if (is_data_address(elf, refs.items[i]))
			*ret = find_entry(elf, refs.items[i],
			                  (uint64_t)PG_MAX_ENTRIES * CHUNK_WORDS, alloc, free_fn);
	return 0;
}

/* Where code gives no hint (another machine, LTO): look at all constant data. */
static void entry_by_data(struct elf_file *elf, uint64_t alloc, uint64_t free_fn, uint64_t *ret)
{
	static const char *const sections[] = { ".data.rel.ro", ".rodata", ".data" };

	for (unsigned i = 0; i < ARRAY_SIZE(sections) && !*ret; i++) {
		struct elf_section s;

		if (elf_file_section(elf, sections[i], &s) && s.type == SHT_PROGBITS)
			*ret = find_entry(elf, (s.vaddr + WORD - 1) & ~(uint64_t)(WORD - 1),
			                  (s.size < MAX_SCAN_BYTES ? s.size : MAX_SCAN_BYTES) /
			                          WORD,
			                  alloc, free_fn);
	}
}

static int find_array(struct elf_file *elf, uint64_t alloc, struct pg_methods *m, struct error *err)
{
	uint64_t free_fn = symbol_value(elf, "AllocSet", "Free");
	uint64_t entry = 0;
	int r = entry_by_code(elf, alloc, free_fn, &entry, err);

	if (r < 0)
		return r;
	if (!entry)
		entry_by_data(elf, alloc, free_fn, &entry);
	if (!entry)
		return 0;
	m->chunk_word = true;
	array_bounds(elf, entry, &m->array, &m->n_entries);
	for (m->id_bits = 1; 2u << m->id_bits <= m->n_entries;)
		m->id_bits++;
	fill_array(elf, m);
	return 0;
}

int pg_methods_find(struct elf_file *elf, struct pg_methods *ret, struct error *err)
{
	uint64_t alloc = symbol_value(elf, "AllocSet", "Alloc");
	struct pg_methods m = { 0 };
	int r = alloc ? find_array(elf, alloc, &m, err) : find_old(elf, &m, err);

	if (r < 0)
		return r;
	if (!m.tables[PG_ALLOCSET].found) {
		char version[32];

		pg_methods_version(elf, version, sizeof(version));
		return error_set(
			err, ENOTSUP,
			"no method table of PostgreSQL's AllocSet in this server (version %s, "
			"AllocSetAlloc is %sexported)",
			version[0] ? version : "unknown", alloc ? "" : "not ");
	}
	*ret = m;
	return 0;
}

int pg_methods_class(const struct pg_methods *m, uint64_t vaddr)
{
	for (unsigned c = 0; c < PG_N_CLASSES; c++)
		if (m->tables[c].found && m->tables[c].vaddr == vaddr)
			return c;
	return -1;
}

void pg_methods_version(struct elf_file *elf, char *buf, size_t size)
{
	static const char mark[] = "PostgreSQL ";
	cleanup_free void *data = NULL;
	struct error ignored;
	struct elf_section s;
	size_t len = 0;

	buf[0] = '\0';
	if (!elf_file_section(elf, ".rodata", &s) ||
	    elf_file_section_data(elf, &s, 64 << 20, &data, &len, &ignored) < 0)
		return;
	for (const char *p = data, *end = p + len; p && p < end; p++) {
		size_t n = 0;

		p = memmem(p, end - p, mark, sizeof(mark) - 1);
		if (!p)
			return;
		p += sizeof(mark) - 1;
		while (p + n < end && (isalnum((unsigned char)p[n]) || p[n] == '.'))
			n++;
		/* vendors put theirs between: "PostgreSQL 15.4 (Debian 15.4-1) on ..." */
		if (n && isdigit((unsigned char)p[0]) && (size_t)(end - p) > n + 4 &&
		    (memcmp(p + n, " on ", 4) == 0 || memcmp(p + n, " (", 2) == 0)) {
			snprintf(buf, size, "%.*s", (int)(n < 31 ? n : 31), p);
			return;
		}
	}
}
