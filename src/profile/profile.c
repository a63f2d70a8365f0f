/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "profile/profile.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/path.h"
#include "profile/samples.h"
#include "profile/strings.h"
#include "profile/text.h"

const struct profile_type profile_heap_types[PROFILE_HEAP_TYPES] = {
	[PROFILE_ALLOC_OBJECTS] = { "alloc_objects", "count" },
	[PROFILE_ALLOC_SPACE] = { "alloc_space", "bytes" },
	[PROFILE_INUSE_OBJECTS] = { "inuse_objects", "count" },
	[PROFILE_INUSE_SPACE] = { "inuse_space", "bytes" },
};

struct profile {
	struct profile_type types[PROFILE_MAX_TYPES];
	size_t n_types, default_type;
	uint64_t seed;
	struct strings strings;
	struct profile_frame *frames;
	size_t n_frames, cap_frames;
	struct hash_map frame_ids; /* hash of the frame -> id */
	struct profile_module *modules;
	size_t n_modules, cap_modules;
	struct hash_map module_ids; /* path's string id -> index */
	struct samples samples;
	int64_t start_unix_ns, duration_ns;
	struct report report;
};

int profile_new(struct profile **ret, const struct profile_type *types, size_t n_types,
                size_t default_type, struct error *err)
{
	struct profile *p;

	if (!n_types || n_types > PROFILE_MAX_TYPES || default_type >= n_types)
		return error_set(err, EINVAL, "a profile has 1 to %d value types, not %zu",
		                 PROFILE_MAX_TYPES, n_types);
	p = calloc(1, sizeof(*p));
	if (!p)
		return error_oom(err);
	for (size_t i = 0; i < n_types; i++) {
		p->types[i] = types[i];
		p->types[i].name[sizeof(p->types[i].name) - 1] = '\0';
		p->types[i].unit[sizeof(p->types[i].unit) - 1] = '\0';
	}
	p->n_types = n_types;
	p->default_type = default_type;
	p->seed = strings_random();
	strings_init(&p->strings, p->seed);
	samples_init(&p->samples, n_types, p->seed);
	*ret = p;
	return 0;
}

struct profile *profile_free(struct profile *p)
{
	if (!p)
		return NULL;
	strings_clear(&p->strings);
	samples_clear(&p->samples);
	free(p->frames);
	hash_map_clear(&p->frame_ids);
	free(p->modules);
	hash_map_clear(&p->module_ids);
	report_clear(&p->report);
	free(p);
	return NULL;
}

void profile_freep(struct profile **p)
{
	*p = profile_free(*p);
}

size_t profile_n_types(const struct profile *p)
{
	return p->n_types;
}

const struct profile_type *profile_type_at(const struct profile *p, size_t i)
{
	return i < p->n_types ? &p->types[i] : NULL;
}

size_t profile_default_type(const struct profile *p)
{
	return p->default_type;
}

int profile_set_default_type(struct profile *p, size_t i)
{
	if (i >= p->n_types)
		return -ERANGE;
	p->default_type = i;
	return 0;
}

int profile_find_type(const struct profile *p, const char *name)
{
	for (size_t i = 0; i < p->n_types; i++) {
		if (strcmp(p->types[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

int profile_string(struct profile *p, const char *s, size_t len, uint32_t *ret, struct error *err)
{
	return strings_intern(&p->strings, s, len, ret, err);
}

const char *profile_text(const struct profile *p, uint32_t id)
{
	return strings_text(&p->strings, id);
}

/* Id 0 is "" even before anything is interned. */
static bool is_string(const struct profile *p, uint32_t id)
{
	return id == 0 || id < p->strings.n_texts;
}

static uint64_t hash_frame(const struct profile *p, const struct profile_frame *f)
{
	uint64_t h = hash_u64(p->seed ^ ((uint64_t)f->name << 32 | f->module));

	h = hash_u64(h ^ f->offset) + f->inlined;
	return hash_u64(h ^ ((uint64_t)f->file << 32 | f->line));
}

static bool same_frame(const struct profile_frame *a, const struct profile_frame *b)
{
	return a->name == b->name && a->module == b->module && a->offset == b->offset &&
	       a->file == b->file && a->line == b->line && a->inlined == b->inlined;
}

int profile_frame(struct profile *p, const struct profile_frame *frame, uint32_t *ret,
                  struct error *err)
{
	uint64_t hash = hash_frame(p, frame), *id;
	size_t pos = 0;
	int r;

	while ((id = hash_map_next(&p->frame_ids, hash, &pos))) {
		if (same_frame(&p->frames[*id], frame)) {
			*ret = (uint32_t)*id;
			return 0;
		}
	}
	if (!is_string(p, frame->name) || !is_string(p, frame->module) ||
	    !is_string(p, frame->file))
		return error_set(err, EINVAL, "a frame names a string that does not exist");
	if (p->n_frames >= UINT32_MAX)
		return error_set(err, E2BIG, "more than 2^32 different frames");
	r = array_reserve(&p->frames, &p->cap_frames, p->n_frames + 1, err);
	if (r < 0)
		return r;
	r = hash_map_add(&p->frame_ids, hash, p->n_frames, err);
	if (r < 0)
		return r;
	p->frames[p->n_frames] = *frame;
	*ret = (uint32_t)p->n_frames++;
	return 0;
}

int profile_frame_named(struct profile *p, const char *name, uint32_t *ret, struct error *err)
{
	struct profile_frame frame = { 0 };
	int r = profile_string(p, name, strlen(name), &frame.name, err);

	return r < 0 ? r : profile_frame(p, &frame, ret, err);
}

const struct profile_frame *profile_frame_at(const struct profile *p, uint32_t id)
{
	static const struct profile_frame none;

	return id < p->n_frames ? &p->frames[id] : &none;
}

size_t profile_n_frames(const struct profile *p)
{
	return p->n_frames;
}

const char *profile_frame_text(const struct profile *p, uint32_t id, char *buf, size_t size)
{
	const struct profile_frame *f = profile_frame_at(p, id);
	const char *name = profile_text(p, f->name), *module = profile_text(p, f->module);

	if (*name)
		snprintf(buf, size, "%s", name);
	else if (*module)
		snprintf(buf, size, "%s+0x%" PRIx64, path_base(module), f->offset);
	else
		snprintf(buf, size, "[unknown]");
	return buf;
}

int profile_module_set(struct profile *p, uint32_t path, uint32_t build_id, struct error *err)
{
	uint64_t *known = hash_map_get(&p->module_ids, path);
	int r;

	if (!is_string(p, path) || !is_string(p, build_id))
		return error_set(err, EINVAL, "a module names a string that does not exist");
	if (known) {
		p->modules[*known].build_id = build_id;
		return 0;
	}
	r = array_reserve(&p->modules, &p->cap_modules, p->n_modules + 1, err);
	if (r < 0)
		return r;
	r = hash_map_put(&p->module_ids, path, p->n_modules, err);
	if (r < 0)
		return r;
	p->modules[p->n_modules++] = (struct profile_module){ path, build_id };
	return 0;
}

size_t profile_n_modules(const struct profile *p)
{
	return p->n_modules;
}

const struct profile_module *profile_module_at(const struct profile *p, size_t i)
{
	return i < p->n_modules ? &p->modules[i] : NULL;
}

/* By its name, as go tool pprof guesses: "libc.so", "libc.so.6", "x.so_1" (profile/profile.go,
 * libRx). */
static bool is_library(const char *path)
{
	const char *end = path;

	for (const char *at = strstr(path_base(path), ".so"); at; at = strstr(end, ".so")) {
		end = at + 3;
		if (!*end || *end == ' ' ||
		    ((*end == '.' || *end == '_') && isdigit((unsigned char)end[1])))
			return true;
	}
	return false;
}

const struct profile_module *profile_program(const struct profile *p)
{
	for (size_t i = 0; i < p->n_modules; i++) {
		const char *path = profile_text(p, p->modules[i].path);

		if (path[0] == '/' && !is_library(path))
			return &p->modules[i];
	}
	return NULL;
}

static int compare_labels(const struct profile *p, const struct profile_label *a,
                          const struct profile_label *b)
{
	int c = a->key == b->key ? 0 : strcmp(profile_text(p, a->key), profile_text(p, b->key));

	if (c == 0 && a->text != b->text)
		c = strcmp(profile_text(p, a->text), profile_text(p, b->text));
	if (c == 0 && a->number != b->number)
		c = a->number < b->number ? -1 : 1;
	return c;
}

static void sort_labels(const struct profile *p, struct profile_label *labels, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		for (size_t k = i; k > 0 && compare_labels(p, &labels[k], &labels[k - 1]) < 0;
		     k--) {
			struct profile_label swap = labels[k];

			labels[k] = labels[k - 1];
			labels[k - 1] = swap;
		}
	}
}

static int check_sample(const struct profile *p, const uint32_t *frames, size_t n_frames,
                        const struct profile_label *labels, size_t n_labels, struct error *err)
{
	if (n_frames > PROFILE_MAX_FRAMES)
		return error_set(err, E2BIG, "a stack of %zu frames; at most %d are kept", n_frames,
		                 PROFILE_MAX_FRAMES);
	if (n_labels > PROFILE_MAX_LABELS)
		return error_set(err, E2BIG, "a sample with %zu labels; at most %d are kept",
		                 n_labels, PROFILE_MAX_LABELS);
	for (size_t i = 0; i < n_frames; i++) {
		if (frames[i] >= p->n_frames)
			return error_set(err, EINVAL, "a stack names a frame that does not exist");
	}
	for (size_t i = 0; i < n_labels; i++) {
		if (!is_string(p, labels[i].key) || !is_string(p, labels[i].text) ||
		    !is_string(p, labels[i].unit))
			return error_set(err, EINVAL, "a label names a string that does not exist");
	}
	return 0;
}

int profile_add(struct profile *p, const uint32_t *frames, size_t n_frames,
                const struct profile_label *labels, size_t n_labels, const int64_t *values,
                struct error *err)
{
	struct profile_label sorted[PROFILE_MAX_LABELS];
	int r = check_sample(p, frames, n_frames, labels, n_labels, err);

	if (r < 0)
		return r;
	if (n_labels)
		memcpy(sorted, labels, n_labels * sizeof(*labels));
	sort_labels(p, sorted, n_labels);
	return samples_add(&p->samples, frames, n_frames, sorted, n_labels, values, err);
}

size_t profile_n_samples(const struct profile *p)
{
	return p->samples.n_entries;
}

struct profile_sample profile_sample_at(const struct profile *p, size_t i)
{
	return samples_at(&p->samples, i);
}

int64_t profile_total(const struct profile *p, size_t type)
{
	int64_t total = 0;

	for (size_t i = 0; type < p->n_types && i < p->samples.n_entries; i++)
		total = samples_sum(total, p->samples.values[i * p->n_types + type]);
	return total;
}

const char *profile_label_text(const struct profile *p, const struct profile_sample *s,
                               const char *key, char *buf, size_t size)
{
	for (size_t i = 0; i < s->n_labels; i++) {
		const struct profile_label *l = &s->labels[i];

		if (strcmp(profile_text(p, l->key), key) != 0)
			continue;
		if (l->text)
			return profile_text(p, l->text);
		snprintf(buf, size, "%" PRId64, l->number);
		return buf;
	}
	return NULL;
}

void profile_set_time(struct profile *p, int64_t start_unix_ns, int64_t duration_ns)
{
	p->start_unix_ns = start_unix_ns;
	p->duration_ns = duration_ns;
}

int64_t profile_start_unix_ns(const struct profile *p)
{
	return p->start_unix_ns;
}

int64_t profile_duration_ns(const struct profile *p)
{
	return p->duration_ns;
}

struct report *profile_report(struct profile *p)
{
	return &p->report;
}

const struct report *profile_report_const(const struct profile *p)
{
	return &p->report;
}
