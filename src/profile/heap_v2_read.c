/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "profile/heap_v2.h"
#include "profile/line_reader.h"
#include "profile/text.h"

/* Below this a program is not position-independent, and its file counts
 * addresses as the process does. */
#define FIXED_BELOW 0x100000000ull

struct mapping {
	uint64_t start, end, base; /* base: what an address is counted from */
	uint32_t path;
};

struct reader {
	struct line_reader lines;
	struct profile *p;
	struct text text;
	uint64_t interval;
	struct mapping *mappings; /* by start */
	size_t n_mappings, cap_mappings;
	struct hash_map bases; /* path's string id -> base */
	struct hash_map names; /* address -> string id */
	uint32_t *frames;      /* of the stack being read */
	size_t n_frames;
	bool has_stack;
};

static void reader_clear(struct reader *r)
{
	profile_free(r->p);
	text_clear(&r->text);
	free(r->mappings);
	hash_map_clear(&r->bases);
	hash_map_clear(&r->names);
	free(r->frames);
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

/* The next word of the line, which loses it. */
static struct line word(struct line *l)
{
	struct line w = line_reader_trim(*l);
	const char *blank = w.n ? memchr(w.at, ' ', w.n) : NULL;

	if (!blank) {
		l->n = 0;
		return w;
	}
	*l = (struct line){ blank, (size_t)(w.at + w.n - blank) };
	w.n = (size_t)(blank - w.at);
	return w;
}

/* MAPPED_LIBRARIES: /proc/PID/maps as proc_pid_maps(5) has it. */

static int add_mapping(struct reader *r, struct line l, struct error *err)
{
	struct line range = word(&l), offset_text, path;
	const char *dash = range.n ? memchr(range.at, '-', range.n) : NULL;
	size_t head = dash ? (size_t)(dash - range.at) : 0;
	struct mapping m = { 0 };
	uint64_t offset;
	int e;

	word(&l);
	offset_text = word(&l);
	word(&l);
	word(&l);
	path = line_reader_trim(l);
	if (!head || !line_reader_hex((struct line){ range.at, head }, &m.start) ||
	    !line_reader_hex((struct line){ dash + 1, range.n - head - 1 }, &m.end) ||
	    !line_reader_hex(offset_text, &offset) || !path.n)
		return 0; /* anonymous, or not a mapping at all */
	if (path.n > 10 && line_reader_last(path, " (deleted)") == (ptrdiff_t)path.n - 10)
		path.n -= 10;
	e = clean_string(r, path, &m.path, err);
	if (e == 0 && !hash_map_get(&r->bases, m.path))
		e = hash_map_put(&r->bases, m.path, m.start < FIXED_BELOW ? 0 : m.start - offset,
		                 err);
	if (e == 0)
		e = array_reserve(&r->mappings, &r->cap_mappings, r->n_mappings + 1, err);
	if (e < 0)
		return e;
	m.base = *hash_map_get(&r->bases, m.path);
	r->mappings[r->n_mappings++] = m;
	return profile_module_set(r->p, m.path, 0, err);
}

static int add_name(struct reader *r, struct line l, struct error *err)
{
	struct line address_text = word(&l);
	uint64_t address;
	uint32_t name;
	int e;

	if (!line_reader_hex(address_text, &address) || hash_map_get(&r->names, address))
		return 0;
	if (l.n && l.at[0] == ' ')
		l = (struct line){ l.at + 1, l.n - 1 };
	e = clean_string(r, l, &name, err);
	return e < 0 ? e : hash_map_put(&r->names, address, name, err);
}

static int compare_mappings(const void *a, const void *b)
{
	const struct mapping *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* The sections behind the samples, which the samples need. */
static int read_sections(struct reader *r, struct error *err)
{
	enum { SAMPLES, MAPPINGS, NAMES } section = SAMPLES;
	struct line_reader lines = r->lines;
	struct line l;
	int e = 0;

	while (e == 0 && line_reader_next(&lines, &l)) {
		if (line_reader_starts(l, "MAPPED_LIBRARIES:"))
			section = MAPPINGS;
		else if (line_reader_starts(l, "MEMWHO_NAMES:"))
			section = NAMES;
		else if (section == MAPPINGS)
			e = add_mapping(r, l, err);
		else if (section == NAMES)
			e = add_name(r, l, err);
	}
	if (r->n_mappings)
		qsort(r->mappings, r->n_mappings, sizeof(*r->mappings), compare_mappings);
	return e;
}

/* Samples */

static const struct mapping *find_mapping(const struct reader *r, uint64_t address)
{
	size_t behind = partition_point(r->n_mappings, i, r->mappings[i].start <= address);

	return behind && address < r->mappings[behind - 1].end ? &r->mappings[behind - 1] : NULL;
}

static int push_address(struct reader *r, uint64_t address, struct error *err)
{
	struct profile_frame f = { 0 };
	const struct mapping *m;
	uint64_t *name;
	char text[32];
	int e = 0;

	if (r->n_frames == PROFILE_MAX_FRAMES)
		return bad(r, err, "a stack of more than 4096 frames");
	/* all but the first are return addresses (jeprof, FixCallerAddresses) */
	address -= r->n_frames > 0 && address > 0;
	m = find_mapping(r, address);
	name = hash_map_get(&r->names, address);
	if (name)
		f.name = (uint32_t)*name;
	if (m) {
		f.module = m->path;
		f.offset = address - m->base;
	} else if (!name) {
		snprintf(text, sizeof(text), "0x%" PRIx64, address);
		e = profile_string(r->p, text, strlen(text), &f.name, err);
	}
	if (e == 0)
		e = profile_frame(r->p, &f, &r->frames[r->n_frames], err);
	r->n_frames += e == 0;
	return e;
}

static int read_stack(struct reader *r, struct line l, struct error *err)
{
	struct line w;
	int e = 0;

	r->n_frames = 0;
	r->has_stack = true;
	while (e == 0 && (w = word(&l)).n) {
		uint64_t address;

		if (!line_reader_hex(w, &address))
			return bad(r, err, "a stack that is not made of addresses");
		e = push_address(r, address, err);
	}
	/* what a writer does that must print an address */
	if (e == 0 && r->n_frames == 1 &&
	    strcmp(profile_text(r->p, profile_frame_at(r->p, r->frames[0])->name), "0x0") == 0)
		r->n_frames = 0;
	return e;
}

static int64_t scaled(int64_t v, double factor)
{
	double r = (double)v * factor;

	return r < 9.2e18 ? llround(r) : INT64_MAX;
}

/*
 * An allocation of X bytes is in the sample with probability 1 - exp(-X / interval),
 * so it stands for the inverse of that (jeprof, AdjustSamples).
 */
static void unbias(const struct reader *r, int64_t *count, int64_t *bytes)
{
	double factor;

	if (!r->interval || *count <= 0 || *bytes <= 0)
		return;
	factor = 1 / -expm1(-((double)*bytes / (double)*count) / (double)r->interval);
	*count = scaled(*count, factor);
	*bytes = scaled(*bytes, factor);
}

/* "t*: COUNT: BYTES [COUNT: BYTES]": held and allocated. */
static bool parse_counts(struct line l, int64_t ret[PROFILE_HEAP_TYPES])
{
	char buf[256];
	int end = 0;

	if (l.n >= sizeof(buf))
		return false;
	memcpy(buf, l.at, l.n);
	buf[l.n] = '\0';
	if (sscanf(buf, "t*: %" SCNd64 ": %" SCNd64 " [ %" SCNd64 ": %" SCNd64 "]%n",
	           &ret[PROFILE_INUSE_OBJECTS], &ret[PROFILE_INUSE_SPACE],
	           &ret[PROFILE_ALLOC_OBJECTS], &ret[PROFILE_ALLOC_SPACE], &end) != 4 ||
	    !end)
		return false;
	for (size_t i = 0; i < PROFILE_HEAP_TYPES; i++) {
		if (ret[i] < 0)
			return false;
	}
	return true;
}

static int read_counts(struct reader *r, struct line l, struct error *err)
{
	int64_t v[PROFILE_HEAP_TYPES];

	if (!parse_counts(l, v))
		return bad(r, err, "not \"t*: COUNT: BYTES [COUNT: BYTES]\"");
	if (!r->has_stack)
		return 0; /* the header's total */
	unbias(r, &v[PROFILE_INUSE_OBJECTS], &v[PROFILE_INUSE_SPACE]);
	unbias(r, &v[PROFILE_ALLOC_OBJECTS], &v[PROFILE_ALLOC_SPACE]);
	return profile_add(r->p, r->frames, r->n_frames, NULL, 0, v, err);
}

static int read_samples(struct reader *r, struct error *err)
{
	struct line l;
	int e = 0;

	while (e == 0 && line_reader_next(&r->lines, &l)) {
		if (line_reader_starts(l, "MAPPED_LIBRARIES:") ||
		    line_reader_starts(l, "MEMWHO_NAMES:"))
			break;
		l = line_reader_trim(l);
		if (line_reader_starts(l, "@"))
			e = read_stack(r, (struct line){ l.at + 1, l.n - 1 }, err);
		else if (line_reader_starts(l, "t*:"))
			e = read_counts(r, l, err);
		/* what else there is: single threads, which t* is the sum of */
	}
	return e;
}

static int read_header(struct reader *r, struct error *err)
{
	static const char magic[] = "heap_v2/";
	int64_t interval;
	struct line l;

	if (!line_reader_next(&r->lines, &l) || !line_reader_starts(l, magic))
		return error_set(err, EBADMSG, "not a heap_v2 dump");
	l = (struct line){ l.at + strlen(magic), l.n - strlen(magic) };
	if (!line_reader_integer(line_reader_trim(l), &interval) || interval < 0)
		return bad(r, err, "no sampling interval behind heap_v2/");
	r->interval = (uint64_t)interval;
	return report_int(profile_report(r->p), "sample_interval_bytes", "Sampling interval",
	                  interval, "bytes", err);
}

int heap_v2_read(const char *data, size_t len, struct profile **ret, struct error *err)
{
	cleanup(reader_clear) struct reader r = { .lines = { data, data + len, 0 } };
	int e = profile_new(&r.p, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE, err);

	if (e < 0)
		return e;
	r.frames = calloc(PROFILE_MAX_FRAMES, sizeof(*r.frames));
	if (!r.frames)
		return error_oom(err);
	e = read_header(&r, err);
	if (e == 0)
		e = read_sections(&r, err);
	if (e == 0)
		e = read_samples(&r, err);
	if (e == 0)
		*ret = take_ptr(r.p);
	return e;
}
