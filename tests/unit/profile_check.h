/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the tests of profile/ share: building profiles, comparing two. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "profile/profile.h"

#define check_ok(call)                                                                             \
	do {                                                                                       \
		struct error err = { 0 };                                                          \
		int check_r = (call);                                                              \
		if (check_r != 0)                                                                  \
			fail_msg("%s: %d %s", #call, check_r, err.message);                        \
	} while (0)

static inline struct profile *check_heap_profile(void)
{
	struct profile *p;

	check_ok(
		profile_new(&p, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE, &err));
	return p;
}

static inline uint32_t check_text(struct profile *p, const char *s)
{
	uint32_t id;

	check_ok(profile_string(p, s, strlen(s), &id, &err));
	return id;
}

static inline uint32_t check_named(struct profile *p, const char *name)
{
	uint32_t id;

	check_ok(profile_frame_named(p, name, &id, &err));
	return id;
}

/* @name may be "": code without a symbol. */
static inline uint32_t check_code(struct profile *p, const char *name, const char *module,
                                  uint64_t offset)
{
	struct profile_frame f = { .name = check_text(p, name),
		                   .module = check_text(p, module),
		                   .offset = offset };
	uint32_t id;

	check_ok(profile_frame(p, &f, &id, &err));
	return id;
}

static inline void check_add(struct profile *p, const uint32_t *frames, size_t n, int64_t objects,
                             int64_t bytes)
{
	int64_t v[PROFILE_HEAP_TYPES] = { objects, bytes, objects, bytes };

	check_ok(profile_add(p, frames, n, NULL, 0, v, &err));
}

static inline void check_same_frame(const struct profile *a, uint32_t ia, const struct profile *b,
                                    uint32_t ib)
{
	const struct profile_frame *fa = profile_frame_at(a, ia), *fb = profile_frame_at(b, ib);

	assert_string_equal(profile_text(a, fa->name), profile_text(b, fb->name));
	assert_string_equal(profile_text(a, fa->module), profile_text(b, fb->module));
	assert_string_equal(profile_text(a, fa->file), profile_text(b, fb->file));
	assert_true(fa->offset == fb->offset);
	assert_int_equal(fa->line, fb->line);
	assert_int_equal(fa->inlined, fb->inlined);
}

static inline void check_same_labels(const struct profile *a, const struct profile_sample *sa,
                                     const struct profile *b, const struct profile_sample *sb)
{
	assert_int_equal(sa->n_labels, sb->n_labels);
	for (size_t i = 0; i < sa->n_labels; i++) {
		const struct profile_label *la = &sa->labels[i], *lb = &sb->labels[i];

		assert_string_equal(profile_text(a, la->key), profile_text(b, lb->key));
		assert_string_equal(profile_text(a, la->text), profile_text(b, lb->text));
		assert_string_equal(profile_text(a, la->unit), profile_text(b, lb->unit));
		assert_true(la->number == lb->number);
	}
}

/* Types, samples in the same order, frames, labels, modules, time. */
static inline void check_same(const struct profile *a, const struct profile *b)
{
	assert_int_equal(profile_n_types(a), profile_n_types(b));
	assert_int_equal(profile_default_type(a), profile_default_type(b));
	for (size_t i = 0; i < profile_n_types(a); i++) {
		assert_string_equal(profile_type_at(a, i)->name, profile_type_at(b, i)->name);
		assert_string_equal(profile_type_at(a, i)->unit, profile_type_at(b, i)->unit);
	}
	assert_int_equal(profile_n_samples(a), profile_n_samples(b));
	for (size_t i = 0; i < profile_n_samples(a); i++) {
		struct profile_sample sa = profile_sample_at(a, i), sb = profile_sample_at(b, i);

		assert_int_equal(sa.n_frames, sb.n_frames);
		for (size_t k = 0; k < sa.n_frames; k++)
			check_same_frame(a, sa.frames[k], b, sb.frames[k]);
		for (size_t k = 0; k < profile_n_types(a); k++)
			assert_true(sa.values[k] == sb.values[k]);
		check_same_labels(a, &sa, b, &sb);
	}
	assert_int_equal(profile_n_modules(a), profile_n_modules(b));
	for (size_t i = 0; i < profile_n_modules(a); i++) {
		const struct profile_module *ma = profile_module_at(a, i);
		const struct profile_module *mb = profile_module_at(b, i);

		assert_string_equal(profile_text(a, ma->path), profile_text(b, mb->path));
		assert_string_equal(profile_text(a, ma->build_id), profile_text(b, mb->build_id));
	}
	assert_true(profile_start_unix_ns(a) == profile_start_unix_ns(b));
	assert_true(profile_duration_ns(a) == profile_duration_ns(b));
}

/* What a writer writes, NUL-terminated; the caller's to free. */
#define check_written(ret, len, write)                                                             \
	do {                                                                                       \
		FILE *to = open_memstream((ret), (len));                                           \
		assert_non_null(to);                                                               \
		check_ok(write);                                                                   \
		assert_int_equal(fclose(to), 0);                                                   \
	} while (0)
