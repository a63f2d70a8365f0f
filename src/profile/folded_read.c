/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "profile/folded.h"
#include "profile/line_reader.h"
#include "profile/text.h"

struct reader {
	struct line_reader lines;
	struct profile *p;
	struct text text;
	uint32_t *frames; /* of the stack being read */
	size_t n_frames;
};

static void reader_clear(struct reader *r)
{
	profile_free(r->p);
	text_clear(&r->text);
	free(r->frames);
}

static int reader_init(struct reader *r, const char *data, size_t len, struct error *err)
{
	/* the texts don't say what they count; ours is held bytes */
	static const struct profile_type held = { "inuse_space", "bytes" };

	r->lines = (struct line_reader){ data, data + len, 0 };
	r->frames = calloc(PROFILE_MAX_FRAMES, sizeof(*r->frames));
	if (!r->frames)
		return error_oom(err);
	return profile_new(&r->p, &held, 1, 0, err);
}

static int bad(const struct reader *r, struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "line %zu: %s", r->lines.number, what);
}

static int clean_string(struct reader *r, struct line l, uint32_t *ret, struct error *err)
{
	int e;

	r->text.n = 0;
	e = text_append_utf8(&r->text, l.at, l.n, err);
	return e < 0 ? e : profile_string(r->p, r->text.s, r->text.n, ret, err);
}

static int push_frame(struct reader *r, const struct profile_frame *f, struct error *err)
{
	int e;

	if (r->n_frames == PROFILE_MAX_FRAMES)
		return bad(r, err, "a stack of more than 4096 frames");
	e = profile_frame(r->p, f, &r->frames[r->n_frames], err);
	r->n_frames += e == 0;
	return e;
}

static int add_stack(struct reader *r, int64_t value, struct error *err)
{
	int e = profile_add(r->p, r->frames, r->n_frames, NULL, 0, &value, err);

	r->n_frames = 0;
	return e;
}

/* "module+0xoffset", written as we write it, is code without a name. */
static bool is_place(struct line name, struct line *ret_module, uint64_t *ret_offset)
{
	ptrdiff_t plus = line_reader_last(name, "+0x");
	struct line hex;
	char again[32];
	int n;

	if (plus <= 0)
		return false;
	hex = (struct line){ name.at + plus + 3, name.n - (size_t)plus - 3 };
	if (!line_reader_hex(hex, ret_offset))
		return false;
	n = snprintf(again, sizeof(again), "%" PRIx64, *ret_offset);
	*ret_module = (struct line){ name.at, (size_t)plus };
	return (size_t)n == hex.n && memcmp(again, hex.at, hex.n) == 0;
}

static int push_named(struct reader *r, struct line name, struct error *err)
{
	struct profile_frame f = { 0 };
	struct line module;
	uint64_t offset;
	int e;

	if (is_place(name, &module, &offset)) {
		f.offset = offset;
		e = clean_string(r, module, &f.module, err);
	} else {
		e = clean_string(r, name, &f.name, err);
	}
	return e < 0 ? e : push_frame(r, &f, err);
}

static int read_folded_line(struct reader *r, struct line l, struct error *err)
{
	ptrdiff_t blank = line_reader_last(l, " ");
	size_t end = blank < 0 ? 0 : (size_t)blank;
	int64_t value;
	int e = 0;

	if (blank < 0 || !line_reader_value((struct line){ l.at + end + 1, l.n - end - 1 }, &value))
		return bad(r, err, "no value behind the stack");
	/* from the leaf, which is last */
	while (e == 0 && end > 0) {
		struct line rest = { l.at, end };
		ptrdiff_t semicolon = line_reader_last(rest, ";");
		size_t start = semicolon < 0 ? 0 : (size_t)semicolon + 1;

		e = push_named(r, (struct line){ l.at + start, end - start }, err);
		end = semicolon < 0 ? 0 : (size_t)semicolon;
	}
	return e < 0 ? e : add_stack(r, value, err);
}

int folded_read(const char *data, size_t len, struct profile **ret, struct error *err)
{
	cleanup(reader_clear) struct reader r = { 0 };
	struct line l;
	int e = reader_init(&r, data, len, err);

	while (e == 0 && line_reader_next(&r.lines, &l)) {
		struct line trimmed = line_reader_trim(l);

		/* blanks before the root are its name's */
		l.n = (size_t)(trimmed.at + trimmed.n - l.at);
		if (trimmed.n)
			e = read_folded_line(&r, l, err);
	}
	if (e == 0 && !r.lines.number)
		e = error_set(err, EBADMSG, "the file is empty");
	if (e == 0)
		*ret = take_ptr(r.p);
	return e;
}

/* SystemTap */

/* A frame's line in parts. */
struct stap_frame {
	struct line name, module;
	uint64_t address;
	bool is_place; /* no symbol: address is the module's offset */
};

enum { EXTENT_BYTES = 2 * (2 + 16) + 1 + 1 }; /* "0xOFF/0xSIZE", and what ends it */

static bool is_extent(struct line l, uint64_t *ret_offset)
{
	ptrdiff_t slash = line_reader_last(l, "/");
	uint64_t offset, size;

	if (slash < 0 || !line_reader_starts(l, "0x") ||
	    !line_reader_hex((struct line){ l.at, (size_t)slash }, &offset) ||
	    !line_reader_hex((struct line){ l.at + slash + 1, l.n - (size_t)slash - 1 }, &size))
		return false;
	*ret_offset = offset;
	return true;
}

/*
 * "NAME+0xOFF/0xSIZE [MODULE]" into NAME and MODULE. The '+' is the last one
 * behind which that stands, so that a '+' in the module's name, which
 * SystemTap prints as it is, does no harm.
 */
static bool split_extent(struct line l, struct line *ret_name, struct line *ret_module)
{
	uint64_t offset;

	for (ptrdiff_t plus = (ptrdiff_t)l.n; plus >= 0;) {
		struct line tail;
		const char *blank;
		size_t n;

		plus = line_reader_last((struct line){ l.at, (size_t)plus }, "+");
		if (plus < 0)
			break;
		tail = (struct line){ l.at + plus + 1, l.n - (size_t)plus - 1 };
		/* not further: a line may be a megabyte of '+' */
		n = tail.n < EXTENT_BYTES ? tail.n : EXTENT_BYTES;
		blank = memchr(tail.at, ' ', n);
		n = blank ? (size_t)(blank - tail.at) : n;
		if (!is_extent((struct line){ tail.at, n }, &offset))
			continue;
		*ret_name = (struct line){ l.at, (size_t)plus };
		*ret_module = (struct line){ tail.at + n, tail.n - n };
		*ret_module = line_reader_trim(*ret_module);
		if (ret_module->n >= 2 && ret_module->at[0] == '[' &&
		    ret_module->at[ret_module->n - 1] == ']') {
			ret_module->at++;
			ret_module->n -= 2;
		}
		return true;
	}
	return false;
}

/* What SystemTap prints without a symbol: "0xADDR [MODULE+0xOFF/0xSIZE]". */
static bool split_place(struct line l, struct line *ret_module, uint64_t *ret_offset)
{
	const char *blank = memchr(l.at, ' ', l.n);
	size_t head = blank ? (size_t)(blank - l.at) : 0;
	struct line body;
	ptrdiff_t plus;
	uint64_t address;

	if (!head || !line_reader_hex((struct line){ l.at, head }, &address) || l.n < head + 3 ||
	    blank[1] != '[' || l.at[l.n - 1] != ']')
		return false;
	body = (struct line){ blank + 2, l.n - head - 3 };
	plus = line_reader_last(body, "+");
	if (plus < 0)
		return false;
	if (!is_extent((struct line){ body.at + plus + 1, body.n - (size_t)plus - 1 }, ret_offset))
		return false;
	*ret_module = (struct line){ body.at, (size_t)plus };
	return true;
}

/* The address is before the first blank, the name behind the last colon. */
static void split_address(struct stap_frame *f)
{
	ptrdiff_t colon = line_reader_last(f->name, " : ");
	const char *blank;

	if (colon < 0)
		return;
	blank = memchr(f->name.at, ' ', f->name.n);
	if (!line_reader_hex((struct line){ f->name.at, (size_t)(blank - f->name.at) },
	                     &f->address))
		f->address = 0;
	f->name = (struct line){ f->name.at + colon + 3, f->name.n - (size_t)colon - 3 };
}

static void split_frame(struct line l, struct stap_frame *ret)
{
	bool has_extent;

	*ret = (struct stap_frame){ .name = l };
	if (l.n > 10 && line_reader_last(l, " (inexact)") == (ptrdiff_t)l.n - 10)
		ret->name.n -= 10;
	/* the module first: there may be a colon in its name */
	has_extent = split_extent(ret->name, &ret->name, &ret->module);
	split_address(ret);
	ret->is_place = !has_extent && split_place(ret->name, &ret->module, &ret->address);
}

/* The writer hides '+' and '%' of a module's name. */
static int module_string(struct reader *r, struct line module, uint32_t *ret, struct error *err)
{
	cleanup(text_clear) struct text plain = { 0 };
	int e = text_append(&plain, "", 0, err);

	for (size_t i = 0; e == 0 && i < module.n; i++) {
		struct line rest = { module.at + i, module.n - i };
		const char *c = &module.at[i];

		if (line_reader_starts(rest, "%2B"))
			c = "+";
		else if (line_reader_starts(rest, "%25"))
			c = "%";
		i += c == &module.at[i] ? 0 : 2;
		e = text_append(&plain, c, 1, err);
	}
	return e < 0 ? e : clean_string(r, (struct line){ plain.s, plain.n }, ret, err);
}

/* Our own way to say that there is no symbol. */
static bool is_own_place(const struct reader *r, struct line name, const struct profile_frame *f)
{
	const char *base = path_base(profile_text(r->p, f->module));
	struct line module;
	uint64_t offset;

	return is_place(name, &module, &offset) && offset == f->offset &&
	       module.n == strlen(base) && memcmp(module.at, base, module.n) == 0;
}

static int push_stap(struct reader *r, struct line l, struct error *err)
{
	struct profile_frame f = { 0 };
	struct stap_frame parts;
	int e;

	split_frame(l, &parts);
	e = module_string(r, parts.module, &f.module, err);
	if (e == 0 && !parts.is_place)
		e = clean_string(r, parts.name, &f.name, err);
	if (e < 0)
		return e;
	f.offset = f.module ? parts.address : 0;
	if (f.module && is_own_place(r, parts.name, &f))
		f.name = 0;
	return push_frame(r, &f, err);
}

static int read_stap_line(struct reader *r, struct line l, struct error *err)
{
	int64_t value;

	l = line_reader_trim(l);
	if (!l.n)
		return 0;
	if (l.at[0] >= '0' && l.at[0] <= '9' && line_reader_integer(l, &value))
		return add_stack(r, value, err);
	return push_stap(r, l, err);
}

int folded_read_stap(const char *data, size_t len, struct profile **ret, struct error *err)
{
	cleanup(reader_clear) struct reader r = { 0 };
	struct line l;
	int e = reader_init(&r, data, len, err);

	while (e == 0 && line_reader_next(&r.lines, &l))
		e = read_stap_line(&r, l, err);
	if (e == 0 && !r.lines.number)
		e = error_set(err, EBADMSG, "the file is empty");
	if (e == 0 && r.n_frames)
		e = bad(&r, err, "the file ends inside a stack");
	if (e == 0)
		*ret = take_ptr(r.p);
	return e;
}
