/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/object_match.h"

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"

enum {
	CHUNK_BYTES = 1 << 20,
	/* compared bytes that prove a section that is there once; less needs a call */
	ENOUGH_BYTES = 128,
	FILTER_BITS = 1 << 20,
	MOST_ROUNDS = 64,
	MOST_SCANS = 2, /* more, for what short sections call */
};
/* Anchors that are everywhere (a hostile file) end the comparing: what is not found by then
 * is not found. */
static const uint64_t most_compared = 1ULL << 30;

struct search {
	struct object_match *matches;
	struct elf_file *file;
	struct hash_map anchors; /* hash -> match << 32 | section */
	uint64_t *filter;
	uint64_t compared; /* bytes */
	struct callers *callers;
	struct error *err;
};

void object_match_clear(struct object_match *m)
{
	free(m->places);
	m->places = NULL;
}

static void search_clear(struct search *s)
{
	hash_map_clear(&s->anchors);
	free(s->filter);
}

static bool is_executable(const struct elf_segment *s)
{
	return s->type == PT_LOAD && s->flags & PF_X;
}

/* Are the @size bytes at @vaddr inside one executable segment of the file? */
static bool is_code(const struct elf_file *f, uint64_t vaddr, uint64_t size)
{
	for (size_t i = 0; i < elf_file_n_segments(f); i++) {
		const struct elf_segment s = elf_file_segment(f, i);

		if (is_executable(&s) && vaddr >= s.vaddr && vaddr - s.vaddr < s.filesz &&
		    size <= s.filesz - (vaddr - s.vaddr))
			return true;
	}
	return false;
}

/* Is the section at @vaddr, byte for byte but for what is masked? */
static bool is_at(struct search *s, const struct object_build *b,
                  const struct object_section *section, uint64_t vaddr)
{
	cleanup_free uint8_t *bytes = NULL;
	struct error ignored;
	uint64_t hash[2];

	if (!section->size || !is_code(s->file, vaddr, section->size) ||
	    s->compared > most_compared)
		return false;
	s->compared += section->size + 64;
	bytes = malloc(section->size);
	if (!bytes || elf_file_read_vaddr(s->file, vaddr, bytes, section->size, &ignored) < 0)
		return false;
	object_build_hash(b, section, bytes, hash);
	return hash[0] == section->hash[0] && hash[1] == section->hash[1];
}

/* ---- anchors ---- */

static int add_anchors(struct search *s, size_t n)
{
	s->filter = calloc(FILTER_BITS / 64, sizeof(*s->filter));
	if (!s->filter)
		return error_oom(s->err);
	for (size_t m = 0; m < n; m++) {
		const struct object_build *b = s->matches[m].build;

		for (size_t i = 0; i < b->n_sections; i++) {
			uint64_t hash = b->sections[i].anchor_hash;
			int r;

			if (b->sections[i].anchor == OBJECT_BUILD_NO_ANCHOR)
				continue;
			s->filter[(hash >> 44) / 64] |= 1ULL << ((hash >> 44) & 63);
			r = hash_map_add(&s->anchors, hash, (uint64_t)m << 32 | i, s->err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

static void add_candidate(struct search *s, uint64_t which, uint64_t anchor_vaddr)
{
	struct object_match *m = &s->matches[which >> 32];
	const struct object_section *section = &m->build->sections[which & UINT32_MAX];
	struct object_place *p = &m->places[which & UINT32_MAX];
	uint64_t vaddr = anchor_vaddr - section->anchor;

	if (p->n > OBJECT_MATCH_CANDIDATES || !is_at(s, m->build, section, vaddr))
		return;
	if (p->n < OBJECT_MATCH_CANDIDATES)
		p->vaddr[p->n] = vaddr;
	p->n++;
}

static void look_at(struct search *s, uint64_t hash, uint64_t vaddr)
{
	size_t pos = 0;
	uint64_t *which;

	while ((which = hash_map_next(&s->anchors, hash, &pos)))
		add_candidate(s, *which, vaddr);
}

static void scan_anchors(struct search *s, const uint8_t *bytes, size_t n, uint64_t vaddr)
{
	for (size_t i = 0; i + OBJECT_BUILD_ANCHOR_BYTES <= n; i++) {
		uint64_t hash = object_build_anchor_hash(bytes + i);

		if (s->filter[(hash >> 44) / 64] >> ((hash >> 44) & 63) & 1)
			look_at(s, hash, vaddr + i);
	}
}

typedef void scan_fn(struct search *s, const uint8_t *bytes, size_t n, uint64_t vaddr);

static int scan_segment(struct search *s, const struct elf_segment *segment, scan_fn *scan)
{
	const size_t overlap = OBJECT_BUILD_ANCHOR_BYTES - 1;
	cleanup_free uint8_t *bytes = malloc(CHUNK_BYTES + overlap);
	uint64_t size = elf_file_size(s->file), end = segment->filesz;
	struct error ignored;

	if (!bytes)
		return error_oom(s->err);
	if (segment->offset >= size)
		return 0;
	if (end > size - segment->offset)
		end = size - segment->offset;
	for (uint64_t at = 0; at < end; at += CHUNK_BYTES) {
		uint64_t n = end - at < CHUNK_BYTES + overlap ? end - at : CHUNK_BYTES + overlap;

		if (elf_file_read(s->file, segment->offset + at, bytes, n, &ignored) < 0)
			return 0;
		scan(s, bytes, n, segment->vaddr + at);
	}
	return 0;
}

static int scan_all(struct search *s, scan_fn *scan)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < elf_file_n_segments(s->file); i++) {
		struct elf_segment segment = elf_file_segment(s->file, i);

		if (is_executable(&segment))
			r = scan_segment(s, &segment, scan);
	}
	return r;
}

/* ---- what calls what ---- */

/* Where the reference of a section at @vaddr goes; false: through the GOT, or not readable. */
static bool follow(const struct elf_file *f, const struct object_ref *ref, uint64_t vaddr,
                   uint64_t *ret)
{
	uint64_t at = vaddr + ref->at;
	struct error ignored;
	uint8_t opcode[2];
	int32_t field;

	if (ref->kind == OBJECT_REF_GOT) {
		if (ref->at < 2 || elf_file_read_vaddr(f, at - 2, opcode, 2, &ignored) < 0)
			return false;
		if (opcode[0] == 0xe9) /* call or jmp *f(%rip) became "jmp f; nop" */
			at--;
		else if (opcode[0] != 0x8d && !(opcode[0] == 0x67 && opcode[1] == 0xe8))
			return false;
	}
	if (elf_file_read_vaddr(f, at, &field, sizeof(field), &ignored) < 0)
		return false;
	*ret = at + (int64_t)field - ref->addend;
	return true;
}

/* Global names -> symbols. */
struct names_of {
	const struct object_build *build;
	struct hash_map map;
};

static void names_of_clear(struct names_of *n)
{
	hash_map_clear(&n->map);
}

static int names_of_make(struct names_of *n, struct error *err)
{
	const struct object_build *b = n->build;

	for (size_t i = 0; i < b->n_symbols; i++) {
		const char *name = b->strings + b->symbols[i].name;
		int r = 0;

		if (b->symbols[i].bind != STB_LOCAL)
			r = hash_map_add(&n->map, hash_bytes(name, strlen(name), 0), i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The next definition of what @ref names: a section and an offset in it. */
static bool next_definition(const struct names_of *n, const struct object_ref *ref, size_t *pos,
                            uint32_t *section, uint32_t *offset)
{
	const char *name = n->build->strings + ref->name;
	uint64_t *at;

	if (!ref->name) {
		*section = ref->section;
		*offset = 0;
		return !(*pos)++;
	}
	while ((at = hash_map_next(&n->map, hash_bytes(name, strlen(name), 0), pos))) {
		const struct object_symbol *s = &n->build->symbols[*at];

		if (strcmp(n->build->strings + s->name, name) != 0)
			continue;
		*section = s->section;
		*offset = s->offset;
		return true;
	}
	return false;
}

struct verdict {
	unsigned agree, differ;
};

/* What do the references of @section, were it at @vaddr, say of what is found? */
static struct verdict judge(const struct search *s, const struct object_match *m,
                            const struct names_of *names, size_t section, uint64_t vaddr)
{
	const struct object_section *o = &m->build->sections[section];
	struct verdict v = { 0 };

	for (uint32_t i = 0; i < o->n_refs; i++) {
		const struct object_ref *ref = &m->build->refs[o->first_ref + i];
		bool known = false, same = false;
		uint32_t to, offset;
		uint64_t target;

		if (!follow(s->file, ref, vaddr, &target))
			continue;
		for (size_t pos = 0; next_definition(names, ref, &pos, &to, &offset);) {
			if (!m->places[to].found)
				continue;
			known = true;
			same |= m->places[to].vaddr[0] + offset == target;
		}
		v.agree += same;
		v.differ += known && !same;
	}
	return v;
}

/* A section's only place that what it calls confirms. */
static bool decide(const struct search *s, struct object_match *m, const struct names_of *names,
                   size_t section)
{
	struct object_place *p = &m->places[section];
	unsigned enough = 0, which = 0;

	if (p->n > OBJECT_MATCH_CANDIDATES)
		return false;
	for (unsigned i = 0; i < p->n; i++) {
		struct verdict v = judge(s, m, names, section, p->vaddr[i]);

		if (v.differ)
			continue;
		if (!v.agree && (p->n > 1 || m->build->sections[section].unmasked < ENOUGH_BYTES))
			continue;
		enough++;
		which = i;
	}
	if (enough != 1)
		return false;
	p->vaddr[0] = p->vaddr[which];
	p->n = 1;
	p->found = true;
	return true;
}

/* What found sections call: is it the section that they name? Those without an anchor are
 * found by this alone. @named, of each section: 0 nothing names it, UINT64_MAX different ones. */
static void name_targets(struct search *s, struct object_match *m, const struct names_of *names,
                         uint64_t *named)
{
	const struct object_build *b = m->build;

	for (size_t k = 0; k < b->n_sections; k++) {
		const struct object_section *o = &b->sections[k];

		for (uint32_t i = 0; m->places[k].found && i < o->n_refs; i++) {
			const struct object_ref *ref = &b->refs[o->first_ref + i];
			uint32_t to, offset;
			uint64_t target;

			if (!follow(s->file, ref, m->places[k].vaddr[0], &target))
				continue;
			for (size_t pos = 0; next_definition(names, ref, &pos, &to, &offset);) {
				uint64_t at = target - offset;

				if (m->places[to].found || named[to] == UINT64_MAX)
					continue;
				if (!is_at(s, b, &b->sections[to], at))
					continue;
				named[to] = named[to] && named[to] != at ? UINT64_MAX : at;
			}
		}
	}
}

static int find_named(struct search *s, struct object_match *m, const struct names_of *names,
                      bool *changed)
{
	const struct object_build *b = m->build;
	cleanup_free uint64_t *named = calloc(b->n_sections + 1, sizeof(*named));

	if (!named)
		return error_oom(s->err);
	name_targets(s, m, names, named);
	for (size_t i = 0; i < b->n_sections; i++) {
		if (!named[i] || named[i] == UINT64_MAX || judge(s, m, names, i, named[i]).differ)
			continue;
		m->places[i] = (struct object_place){ { named[i] }, 1, true };
		*changed = true;
	}
	return 0;
}

/* Short ones that nothing found calls (an entry point that only sets an argument and goes on in
 * what is found): by whoever refers to what they refer to. */
struct callers {
	struct object_match *match;
	const struct names_of *names;
	struct hash_map wanted; /* what a field and its place sum to -> section */
	uint64_t least, most;   /* of those sums */
	uint64_t *at;           /* of each section; 0 none, UINT64_MAX different ones */
};

static void callers_clear(struct callers *c)
{
	hash_map_clear(&c->wanted);
	free(c->at);
}

static int want(struct callers *c, size_t section, struct error *err)
{
	const struct object_build *b = c->match->build;
	const struct object_ref *ref = &b->refs[b->sections[section].first_ref];
	uint32_t to, offset;

	for (size_t pos = 0; next_definition(c->names, ref, &pos, &to, &offset);) {
		uint64_t sum;
		int r;

		if (!c->match->places[to].found)
			continue;
		sum = c->match->places[to].vaddr[0] + offset + ref->addend;
		r = hash_map_add(&c->wanted, sum, section, err);
		if (r < 0)
			return r;
		c->least = sum < c->least ? sum : c->least;
		c->most = sum > c->most ? sum : c->most;
	}
	return 0;
}

static void try_caller(struct search *s, size_t section, uint64_t field)
{
	struct callers *c = s->callers;
	const struct object_build *b = c->match->build;
	const struct object_section *o = &b->sections[section];
	uint64_t at = field - b->refs[o->first_ref].at;
	struct verdict v;

	if (c->at[section] == at || c->at[section] == UINT64_MAX || !is_at(s, b, o, at))
		return;
	v = judge(s, c->match, c->names, section, at);
	if (v.agree && !v.differ)
		c->at[section] = c->at[section] ? UINT64_MAX : at;
}

static void scan_callers(struct search *s, const uint8_t *bytes, size_t n, uint64_t vaddr)
{
	struct callers *c = s->callers;

	for (size_t i = 0; i + 4 <= n; i++) {
		size_t pos = 0;
		uint64_t *section;
		int32_t field;
		uint64_t sum;

		memcpy(&field, bytes + i, sizeof(field));
		sum = vaddr + i + (int64_t)field;
		if (sum < c->least || sum > c->most)
			continue;
		while ((section = hash_map_next(&c->wanted, sum, &pos)))
			try_caller(s, *section, vaddr + i);
	}
}

static bool is_wanted(const struct object_match *m, size_t section)
{
	const struct object_section *o = &m->build->sections[section];

	return !m->places[section].found && !o->is_jump && o->n_refs && o->size &&
	       m->build->refs[o->first_ref].kind == OBJECT_REF_DIRECT;
}

static int find_callers(struct search *s, struct object_match *m, const struct names_of *names,
                        bool *changed)
{
	cleanup(callers_clear) struct callers c = { .match = m,
		                                    .names = names,
		                                    .least = UINT64_MAX };
	const size_t n = m->build->n_sections;
	int r = 0;

	c.at = calloc(n + 1, sizeof(*c.at));
	if (!c.at)
		return error_oom(s->err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = is_wanted(m, i) ? want(&c, i, s->err) : 0;
	if (r < 0 || !c.wanted.n)
		return r;
	s->callers = &c;
	r = scan_all(s, scan_callers);
	s->callers = NULL;
	for (size_t i = 0; i < n; i++) {
		if (!c.at[i] || c.at[i] == UINT64_MAX)
			continue;
		m->places[i] = (struct object_place){ { c.at[i] }, 1, true };
		*changed = true;
	}
	return r;
}

/* ---- what contradicts ---- */

struct claim {
	uint64_t from, to;
	size_t section;
};

static int by_address(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* "__libc_calloc" -> "calloc" */
static const char *plain_name(const char *name)
{
	name += strspn(name, "_");
	return !strncmp(name, "libc_", 5) ? name + 5 : name;
}

/* The only exported function of a section, at its start; NULL: there are others. */
static const char *only_name(const struct object_build *b, size_t section)
{
	const char *name = NULL;

	for (size_t i = 0; i < b->n_symbols; i++) {
		const struct object_symbol *s = &b->symbols[i];

		if (s->section != section || s->bind == STB_LOCAL)
			continue;
		if (name || s->offset)
			return NULL;
		name = b->strings + s->name;
	}
	return name;
}

/* Of sections at one place, those at [from, to) of @claims: one that all are but for the
 * name's prefix (musl has a calloc and a __libc_calloc); -1: none. */
static long same_function(const struct object_build *b, const struct claim *claims, size_t from,
                          size_t to)
{
	const char *best = only_name(b, claims[from].section);
	size_t which = from;

	for (size_t i = from + 1; best && i < to; i++) {
		const char *name = only_name(b, claims[i].section);

		if (!name || claims[i].from != claims[from].from ||
		    claims[i].to != claims[from].to ||
		    strcmp(plain_name(name), plain_name(best)) != 0)
			return -1;
		if (strlen(name) < strlen(best)) {
			best = name;
			which = i;
		}
	}
	return best ? (long)which : -1;
}

/* Two sections at one place: both can't be (equal code, other names). */
static int drop_overlapping(struct object_match *m, struct error *err)
{
	const struct object_build *b = m->build;
	cleanup_free struct claim *claims = calloc(b->n_sections + 1, sizeof(*claims));
	size_t n = 0;
	long keep;

	if (!claims)
		return error_oom(err);
	for (size_t i = 0; i < b->n_sections; i++) {
		uint64_t at = m->places[i].vaddr[0];

		if (m->places[i].found)
			claims[n++] = (struct claim){ at, at + b->sections[i].size, i };
	}
	qsort(claims, n, sizeof(*claims), by_address);
	for (size_t i = 0, k; i < n; i = k) {
		uint64_t end = claims[i].to;

		for (k = i + 1; k < n && claims[k].from < end; k++)
			end = claims[k].to > end ? claims[k].to : end;
		keep = k > i + 1 ? same_function(b, claims, i, k) : (long)i;
		for (size_t j = i; j < k; j++)
			m->places[claims[j].section].found = (long)j == keep;
	}
	return 0;
}

static int conclude(struct search *s, struct object_match *m)
{
	const struct object_build *b = m->build;
	cleanup(names_of_clear) struct names_of names = { .build = b };
	bool changed = true;
	unsigned n_scans = 0;
	int r = names_of_make(&names, s->err);

	for (int round = 0; r == 0 && changed && round < MOST_ROUNDS; round++) {
		changed = false;
		for (size_t i = 0; i < b->n_sections; i++)
			if (!m->places[i].found && m->places[i].n)
				changed |= decide(s, m, &names, i);
		r = find_named(s, m, &names, &changed);
		if (r == 0 && !changed && n_scans++ < MOST_SCANS)
			r = find_callers(s, m, &names, &changed);
	}
	if (r == 0)
		r = drop_overlapping(m, s->err);
	for (size_t i = 0; r == 0 && i < b->n_sections; i++)
		m->bytes += m->places[i].found ? b->sections[i].unmasked : 0;
	return r;
}

int object_match_find(struct object_match *matches, size_t n, struct elf_file *f, struct error *err)
{
	cleanup(search_clear) struct search s = { .matches = matches, .file = f, .err = err };
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		matches[i].bytes = 0;
		matches[i].places = calloc(matches[i].build->n_sections + 1,
		                           sizeof(*matches[i].places));
		if (!matches[i].places)
			return error_oom(err);
	}
	r = add_anchors(&s, n);
	if (r == 0)
		r = scan_all(&s, scan_anchors);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = conclude(&s, &matches[i]);
	return r;
}
