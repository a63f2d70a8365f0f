/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "profile/heap_v2.h"
#include "profile/samples.h"
#include "profile/text.h"

enum { PAGE_BYTES = 4096 };

/* Made-up addresses. Above 4 GiB: readers take lower ones for a program that is
 * not position-independent. */
#define FIRST_ADDRESS 0x100000000ull

struct mapping {
	uint32_t path;
	uint64_t start, size;
};

struct writer {
	const struct profile *p;
	FILE *to;
	size_t types[4]; /* objects and bytes held, objects and bytes allocated */
	bool has[4];
	struct mapping *mappings;
	size_t n_mappings, cap_mappings;
	struct hash_map mapping_of; /* path's string id -> index */
	uint64_t names;             /* where frames without code begin */
	struct text text;
};

static void writer_clear(struct writer *w)
{
	free(w->mappings);
	hash_map_clear(&w->mapping_of);
	text_clear(&w->text);
}

static int find_types(struct writer *w, struct error *err)
{
	static const char *const names[] = { "inuse_objects", "inuse_space", "alloc_objects",
		                             "alloc_space" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int at = profile_find_type(w->p, names[i]);

		w->has[i] = at >= 0;
		w->types[i] = at >= 0 ? (size_t)at : 0;
	}
	if (w->has[1])
		return 0;
	return error_set(err, EINVAL,
	                 "a heap_v2 dump holds inuse_space, which this profile "
	                 "does not have");
}

/* Offsets that leave no room in 48 bits are nonsense from a file. */
static bool is_code(const struct profile_frame *f)
{
	return f->module && f->offset < 1ull << 46;
}

static int add_mapping(struct writer *w, const struct profile_frame *f, struct error *err)
{
	uint64_t *known = hash_map_get(&w->mapping_of, f->module);
	size_t at = known ? *known : w->n_mappings;
	uint64_t size = (f->offset / PAGE_BYTES + 1) * PAGE_BYTES;
	int r;

	if (!known) {
		r = array_reserve(&w->mappings, &w->cap_mappings, w->n_mappings + 1, err);
		if (r == 0)
			r = hash_map_put(&w->mapping_of, f->module, w->n_mappings, err);
		if (r < 0)
			return r;
		w->mappings[w->n_mappings++] = (struct mapping){ .path = f->module };
	}
	if (size > w->mappings[at].size)
		w->mappings[at].size = size;
	return 0;
}

static int place_mappings(struct writer *w, struct error *err)
{
	uint64_t next = FIRST_ADDRESS;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < profile_n_frames(w->p); i++) {
		const struct profile_frame *f = profile_frame_at(w->p, i);

		if (is_code(f))
			r = add_mapping(w, f, err);
	}
	for (size_t i = 0; i < w->n_mappings; i++) {
		w->mappings[i].start = next;
		next += w->mappings[i].size + PAGE_BYTES;
	}
	w->names = next;
	return r;
}

static uint64_t address_of(const struct writer *w, uint32_t id)
{
	const struct profile_frame *f = profile_frame_at(w->p, id);

	if (!is_code(f))
		return w->names + id;
	return w->mappings[*hash_map_get(&w->mapping_of, f->module)].start + f->offset;
}

/* The format has one frame for an address: what is inlined there is left out. */
static void write_stack(struct writer *w, const struct profile_sample *s)
{
	uint64_t caller = 0;

	fputc('@', w->to);
	for (size_t i = 0; i < s->n_frames; i++) {
		if (profile_frame_at(w->p, s->frames[i])->inlined && i + 1 < s->n_frames)
			continue;
		/* jeprof takes 1 off again, from all but the first */
		fprintf(w->to, " 0x%" PRIx64, address_of(w, s->frames[i]) + caller);
		caller = 1;
	}
	/* jeprof wants an address */
	fputs(s->n_frames ? "\n" : " 0x0\n", w->to);
}

static int sample_values(const struct writer *w, const struct profile_sample *s, int64_t ret[4],
                         struct error *err)
{
	for (size_t i = 0; i < 4; i++) {
		ret[i] = w->has[i] ? s->values[w->types[i]] : 0;
		if (ret[i] < 0)
			return error_set(err, EINVAL, "a heap_v2 dump has no negative values");
	}
	return 0;
}

static void write_counts(FILE *to, const int64_t v[4])
{
	fprintf(to, "  t*: %" PRId64 ": %" PRId64 " [%" PRId64 ": %" PRId64 "]\n", v[0], v[1], v[2],
	        v[3]);
}

static int write_samples(struct writer *w, struct error *err)
{
	int64_t v[4], sum[4] = { 0 };
	int r = 0;

	for (size_t i = 0; r == 0 && i < profile_n_samples(w->p); i++) {
		struct profile_sample s = profile_sample_at(w->p, i);

		r = sample_values(w, &s, v, err);
		for (size_t k = 0; k < 4; k++)
			sum[k] = samples_sum(sum[k], v[k]);
	}
	if (r < 0)
		return r;
	/* interval 0: values are totals, nothing is to be scaled up */
	fputs("heap_v2/0\n", w->to);
	write_counts(w->to, sum);
	for (size_t i = 0; r == 0 && i < profile_n_samples(w->p); i++) {
		struct profile_sample s = profile_sample_at(w->p, i);

		r = sample_values(w, &s, v, err);
		if (!v[0] && !v[1] && !v[2] && !v[3])
			continue;
		write_stack(w, &s);
		write_counts(w->to, v);
	}
	return r;
}

static int write_text(struct writer *w, const char *s, struct error *err)
{
	int r;

	w->text.n = 0;
	r = text_append_utf8(&w->text, s, strlen(s), err);
	for (size_t i = 0; r == 0 && i < w->text.n; i++) {
		unsigned char c = (unsigned char)w->text.s[i];

		fputc(c < 0x20 || c == 0x7f ? ' ' : c, w->to);
	}
	fputc('\n', w->to);
	return r;
}

static int write_mappings(struct writer *w, struct error *err)
{
	int r = 0;

	fputs("\nMAPPED_LIBRARIES:\n", w->to);
	for (size_t i = 0; r == 0 && i < w->n_mappings; i++) {
		const struct mapping *m = &w->mappings[i];

		fprintf(w->to, "%" PRIx64 "-%" PRIx64 " r-xp 00000000 00:00 0 ", m->start,
		        m->start + m->size);
		r = write_text(w, profile_text(w->p, m->path), err);
	}
	return r;
}

/* Ours: jeprof steps over lines that it does not know. */
static int write_names(struct writer *w, struct error *err)
{
	int r = 0;

	fputs("\nMEMWHO_NAMES:\n", w->to);
	for (uint32_t i = 0; r == 0 && i < profile_n_frames(w->p); i++) {
		const struct profile_frame *f = profile_frame_at(w->p, i);
		char unknown[1024];

		if ((is_code(f) && !f->name) || f->inlined)
			continue;
		fprintf(w->to, "0x%" PRIx64 " ", address_of(w, i));
		r = write_text(w,
		               f->name ? profile_text(w->p, f->name)
		                       : profile_frame_text(w->p, i, unknown, sizeof(unknown)),
		               err);
	}
	return r;
}

int heap_v2_write(const struct profile *p, FILE *to, struct error *err)
{
	cleanup(writer_clear) struct writer w = { .p = p, .to = to };
	int r = find_types(&w, err);

	if (r == 0)
		r = place_mappings(&w, err);
	if (r == 0)
		r = write_samples(&w, err);
	if (r == 0)
		r = write_mappings(&w, err);
	if (r == 0)
		r = write_names(&w, err);
	if (r < 0)
		return r;
	return ferror(to) ? error_sys(err, errno ? errno : EIO, "write") : 0;
}
