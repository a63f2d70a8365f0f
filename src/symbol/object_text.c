/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/object_text.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

enum {
	MASKS_IN_LINE = 20,
	REFS_OF_ONE = 2, /* that a section keeps to the same target */
	USUAL_MASK = 4,
	LINE_BYTES = 1024,
};

/* ---- writing ---- */

static void write_masks(const struct object_build *b, const struct object_section *s, FILE *to)
{
	uint32_t end = 0;

	for (uint32_t i = 0; i < s->n_masks; i++) {
		const struct object_mask *m = &b->masks[s->first_mask + i];

		fprintf(to, i % MASKS_IN_LINE ? " %x" : "mask %x", m->from - end);
		if (m->to - m->from != USUAL_MASK)
			fprintf(to, "+%x", m->to - m->from);
		if (i % MASKS_IN_LINE == MASKS_IN_LINE - 1 || i + 1 == s->n_masks)
			fputc('\n', to);
		end = m->to;
	}
}

static bool defines(const struct object_build *b, const char *name)
{
	for (size_t i = 0; i < b->n_symbols; i++)
		if (b->symbols[i].bind != STB_LOCAL &&
		    !strcmp(b->strings + b->symbols[i].name, name))
			return true;
	return false;
}

static bool same_target(const struct object_build *b, const struct object_ref *x,
                        const struct object_ref *y)
{
	if (!x->name || !y->name)
		return !x->name && !y->name && x->section == y->section && x->addend == y->addend;
	return !strcmp(b->strings + x->name, b->strings + y->name);
}

static bool is_kept(const struct object_build *b, const struct object_section *s, uint32_t which)
{
	const struct object_ref *refs = &b->refs[s->first_ref];
	unsigned before = 0;

	for (uint32_t i = 0; i < which; i++)
		before += same_target(b, &refs[i], &refs[which]);
	return before < REFS_OF_ONE &&
	       (!refs[which].name || defines(b, b->strings + refs[which].name));
}

static void write_refs(const struct object_build *b, const struct object_section *s, FILE *to)
{
	for (uint32_t i = 0; i < s->n_refs; i++) {
		const struct object_ref *r = &b->refs[s->first_ref + i];

		if (!is_kept(b, s, i))
			continue;
		fprintf(to, "ref %x %c ", r->at, r->kind == OBJECT_REF_GOT ? 'g' : 'd');
		if (r->name)
			fprintf(to, "%s", b->strings + r->name);
		else
			fprintf(to, ".%x", r->section);
		fprintf(to, " %d\n", r->addend);
	}
}

static void write_section(const struct object_build *b, const struct object_section *s, FILE *to)
{
	fprintf(to, "section %x %016" PRIx64 " %016" PRIx64, s->size, s->hash[0], s->hash[1]);
	if (s->anchor == OBJECT_BUILD_NO_ANCHOR)
		fputs(" - 0", to);
	else
		fprintf(to, " %x %016" PRIx64, s->anchor, s->anchor_hash);
	fputs(s->is_jump && is_kept(b, s, 0) ? " jump\n" : "\n", to);
	write_masks(b, s, to);
	write_refs(b, s, to);
}

int object_text_write(const struct object_build *b, FILE *to, struct error *err)
{
	fprintf(to, "title %s\n", b->title);
	for (size_t i = 0; i < b->n_sections; i++)
		write_section(b, &b->sections[i], to);
	for (size_t i = 0; i < b->n_symbols; i++) {
		const struct object_symbol *s = &b->symbols[i];

		fprintf(to, "symbol %x %x %x %x %x %s\n", s->section, s->offset, s->size, s->type,
		        s->bind, b->strings + s->name);
	}
	return fflush(to) || ferror(to) ? error_sys(err, errno, "object code") : 0;
}

/* ---- reading ---- */

struct reader {
	struct object_build *build;
	struct error *err;
	uint32_t mask_end; /* of the last section */
};

static int bad(struct reader *r, const char *why)
{
	return error_set(r->err, EBADMSG, "object code: %s", why);
}

static bool take_number(char **at, uint64_t max, uint64_t *ret)
{
	char *end;

	*at += strspn(*at, " ");
	errno = 0;
	*ret = strtoull(*at, &end, 16);
	if (end == *at || errno || **at == '-' || **at == '+' || *ret > max)
		return false;
	*at = end;
	return true;
}

static char *take_word(char **at)
{
	char *word = *at + strspn(*at, " ");
	size_t len = strcspn(word, " ");

	*at = word + len + (word[len] != '\0');
	word[len] = '\0';
	return word;
}

static int read_section(struct reader *r, char *at)
{
	struct object_build *b = r->build;
	struct object_section s = { .anchor = OBJECT_BUILD_NO_ANCHOR,
		                    .first_mask = b->n_masks,
		                    .first_ref = b->n_refs };
	uint64_t size, anchor;
	int rc;

	if (!take_number(&at, OBJECT_BUILD_SECTION_MAX, &size) ||
	    !take_number(&at, UINT64_MAX, &s.hash[0]) || !take_number(&at, UINT64_MAX, &s.hash[1]))
		return bad(r, "a section");
	at += strspn(at, " ");
	if (*at == '-') {
		take_word(&at);
	} else if (take_number(&at, size, &anchor) && anchor + OBJECT_BUILD_ANCHOR_BYTES <= size) {
		s.anchor = anchor;
	} else {
		return bad(r, "an anchor");
	}
	if (!take_number(&at, UINT64_MAX, &s.anchor_hash))
		return bad(r, "an anchor");
	s.is_jump = !strcmp(take_word(&at), "jump");
	s.size = s.unmasked = size;
	if (b->n_sections >= OBJECT_BUILD_MANY)
		return bad(r, "too many sections");
	rc = array_reserve(&b->sections, &b->cap_sections, b->n_sections + 1, r->err);
	if (rc == 0)
		b->sections[b->n_sections++] = s;
	r->mask_end = 0;
	return rc;
}

static int read_masks(struct reader *r, char *at)
{
	struct object_section *s = &r->build->sections[r->build->n_sections - 1];

	while (*(at += strspn(at, " "))) {
		uint64_t gap, len = USUAL_MASK;
		int rc;

		if (!take_number(&at, s->size - r->mask_end, &gap))
			return bad(r, "a mask");
		if (*at == '+') {
			at++;
			if (!take_number(&at, s->size, &len))
				return bad(r, "a mask");
		}
		if (len > s->size - r->mask_end - gap || !len)
			return bad(r, "a mask that ends outside its section");
		rc = object_build_add_mask(r->build, r->mask_end + gap, r->mask_end + gap + len,
		                           r->err);
		if (rc < 0)
			return rc;
		r->mask_end += gap + len;
		s->n_masks++;
		s->unmasked -= len;
	}
	return 0;
}

static int read_ref(struct reader *r, char *at)
{
	struct object_section *s = &r->build->sections[r->build->n_sections - 1];
	struct object_ref ref = { 0 };
	uint64_t place, section = 0;
	char *kind, *name, *number = NULL;
	int rc;

	if (!take_number(&at, s->size, &place))
		return bad(r, "a reference");
	kind = take_word(&at);
	name = take_word(&at);
	ref.at = place;
	ref.kind = *kind == 'g' ? OBJECT_REF_GOT : OBJECT_REF_DIRECT;
	ref.addend = strtol(at, &number, 10);
	if (number == at || *number || !*name || ref.addend > OBJECT_BUILD_SECTION_MAX ||
	    ref.addend < -OBJECT_BUILD_SECTION_MAX)
		return bad(r, "a reference");
	if (*name == '.') {
		name++;
		if (!take_number(&name, OBJECT_BUILD_MANY, &section))
			return bad(r, "a reference to a section");
		ref.section = section;
		name += strlen(name);
	}
	rc = object_build_name(r->build, name, strlen(name), &ref.name, r->err);
	if (rc == 0)
		rc = object_build_add_ref(r->build, &ref, r->err);
	s->n_refs += rc == 0;
	return rc;
}

static int read_symbol(struct reader *r, char *at)
{
	const struct object_build *b = r->build;
	uint64_t section, offset, size, type, bind;
	struct object_symbol s;
	int rc;

	if (!take_number(&at, b->n_sections - 1, &section) ||
	    !take_number(&at, b->sections[section].size, &offset) ||
	    !take_number(&at, b->sections[section].size - offset, &size) ||
	    !take_number(&at, STT_HIPROC, &type) || !take_number(&at, STB_HIPROC, &bind))
		return bad(r, "a symbol");
	s = (struct object_symbol){
		.section = section, .offset = offset, .size = size, .type = type, .bind = bind
	};
	at += strspn(at, " ");
	if (!*at)
		return bad(r, "a symbol without a name");
	rc = object_build_name(r->build, at, strlen(at), &s.name, r->err);
	return rc < 0 ? rc : object_build_add_symbol(r->build, &s, r->err);
}

static int read_line(struct reader *r, char *line)
{
	char *at = line, *word = take_word(&at);
	bool inside = r->build->n_sections != 0;

	if (!*word || *word == '#')
		return 0;
	if (!strcmp(word, "title")) {
		snprintf(r->build->title, sizeof(r->build->title), "%s", at);
		return 0;
	}
	if (!strcmp(word, "section"))
		return read_section(r, at);
	if (inside && !strcmp(word, "mask"))
		return read_masks(r, at);
	if (inside && !strcmp(word, "ref"))
		return read_ref(r, at);
	if (inside && !strcmp(word, "symbol"))
		return read_symbol(r, at);
	return bad(r, "a line that begins with no word of it");
}

/* References come before the sections that they name. */
static int check(struct reader *r)
{
	for (size_t i = 0; i < r->build->n_refs; i++)
		if (r->build->refs[i].section >= r->build->n_sections)
			return bad(r, "a reference to no section");
	for (size_t i = 0; i < r->build->n_sections; i++) {
		const struct object_section *s = &r->build->sections[i];

		if (s->is_jump && s->n_refs != 1)
			return bad(r, "a jump to nowhere");
	}
	return 0;
}

int object_text_read(struct object_build *b, const char *text, size_t len, struct error *err)
{
	struct reader r = { .build = b, .err = err };
	char line[LINE_BYTES];

	for (size_t at = 0, n = 1; at < len; n++) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t bytes = (end ? end : text + len) - (text + at);
		int rc;

		if (bytes >= sizeof(line))
			return error_set(err, EBADMSG, "object code: line %zu is too long", n);
		memcpy(line, text + at, bytes);
		line[bytes] = '\0';
		rc = read_line(&r, line);
		if (rc < 0)
			return error_context(err, "line %zu", n);
		at += bytes + 1;
	}
	return check(&r);
}
