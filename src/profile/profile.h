/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * THE CURRENCY: the one thing that passes from collectors to renderers.
 *
 * A profile is what pprof has: value types, and samples of (stack, values[],
 * labels). Collectors only add to a profile, renderers only read one; neither
 * knows the other. Strings, frames and stacks are interned: equal things have
 * one id, and adding a sample whose stack and labels are there already adds to
 * that sample's values.
 *
 * The surprising rule: stacks are stored LEAF FIRST (the allocating function
 * is frame 0, main is last), as pprof and our JSON have it. Folded text is
 * root first; only its reader and writer turn stacks round.
 *
 * Errors: every function that can fail fails with -ENOMEM, or -E2BIG when an
 * id space (2^32 strings, frames) is used up.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "profile/report.h"

enum {
	PROFILE_MAX_TYPES = 16,
	PROFILE_MAX_FRAMES = 4096, /* of one stack; readers refuse more */
	PROFILE_MAX_LABELS = 16,   /* of one sample */
};

/* What values[i] counts, e.g. { "inuse_space", "bytes" }. Readers' names are
 * untrusted text. */
struct profile_type {
	char name[64];
	char unit[32];
};

/* The four value types of every allocation profile, in the order of Go's heap
 * profile; PROFILE_INUSE_SPACE is the default one. */
enum {
	PROFILE_ALLOC_OBJECTS,
	PROFILE_ALLOC_SPACE,
	PROFILE_INUSE_OBJECTS,
	PROFILE_INUSE_SPACE,
	PROFILE_HEAP_TYPES,
};
extern const struct profile_type profile_heap_types[PROFILE_HEAP_TYPES];

/*
 * One frame. A frame of code has a module and an offset (the address as the
 * module's file counts it, so ASLR does not matter); `name` is the function's
 * plain name, or string 0 ("") where no symbol covers the address. A frame
 * without code (a field path, "[before attach]") has a name only.
 * An inlined function is a frame of its own, leaf-ward of its caller, with the
 * same module and offset and `inlined` set.
 */
struct profile_frame {
	uint32_t name;   /* string id; 0 = none */
	uint32_t module; /* string id of the module's path; 0 = none */
	uint64_t offset; /* vaddr inside the module; for a caller the return address - 1 */
	uint32_t file;   /* string id of the source file; 0 = not known */
	uint32_t line;   /* 0 = not known */
	bool inlined;
	/* Where the function of the name begins in the module, and how long it is;
	 * size 0: not known. Only what makes stap text reads it; pprof does not keep it. */
	uint64_t start, size;
};

/* A label: text (text != 0) or a number with a unit. */
struct profile_label {
	uint32_t key;  /* string id */
	uint32_t text; /* string id; 0: numeric label */
	int64_t number;
	uint32_t unit; /* string id; 0 = none */
};

struct profile_sample {
	const uint32_t *frames; /* frame ids, leaf first */
	size_t n_frames;
	const struct profile_label *labels; /* sorted by key's text */
	size_t n_labels;
	int64_t *values; /* one for each value type */
};

/* What a module is, for readers that symbolise elsewhere (pprof's mapping). */
struct profile_module {
	uint32_t path;     /* string id */
	uint32_t build_id; /* string id, hexadecimal; 0 = none */
};

struct profile;

/* An empty profile with these value types; @default_type is what a renderer
 * draws if nobody says otherwise. */
int profile_new(struct profile **ret, const struct profile_type *types, size_t n_types,
                size_t default_type, struct error *err);
struct profile *profile_free(struct profile *p); /* NULL is fine; returns NULL */
void profile_freep(struct profile **p);          /* for cleanup() */

size_t profile_n_types(const struct profile *p);
const struct profile_type *profile_type_at(const struct profile *p, size_t i);
size_t profile_default_type(const struct profile *p);
int profile_set_default_type(struct profile *p, size_t i); /* -ERANGE without such a type */
/* Index of the type named @name, or -1. */
int profile_find_type(const struct profile *p, const char *name);

/* Intern @len bytes (any bytes but NUL; cut at the first NUL). */
int profile_string(struct profile *p, const char *s, size_t len, uint32_t *ret, struct error *err);
/* Text of a string id; "" for 0 and for ids that do not exist. */
const char *profile_text(const struct profile *p, uint32_t id);

int profile_frame(struct profile *p, const struct profile_frame *frame, uint32_t *ret,
                  struct error *err);
/* Shorthand: a frame with a name only. */
int profile_frame_named(struct profile *p, const char *name, uint32_t *ret, struct error *err);
const struct profile_frame *profile_frame_at(const struct profile *p, uint32_t id);
size_t profile_n_frames(const struct profile *p);

/* What a person reads: the name, else "module+0xoffset" (module without its
 * folders), else "[unknown]". Written to @buf, always NUL-terminated; a long
 * name is cut. Returns @buf. */
const char *profile_frame_text(const struct profile *p, uint32_t id, char *buf, size_t size);

int profile_module_set(struct profile *p, uint32_t path, uint32_t build_id, struct error *err);
size_t profile_n_modules(const struct profile *p);
const struct profile_module *profile_module_at(const struct profile *p, size_t i);
/* The program itself: the first module that is no library. NULL: there is none. */
const struct profile_module *profile_program(const struct profile *p);

/* Add @values to the sample with exactly these frames and labels. */
int profile_add(struct profile *p, const uint32_t *frames, size_t n_frames,
                const struct profile_label *labels, size_t n_labels, const int64_t *values,
                struct error *err);

size_t profile_n_samples(const struct profile *p);
struct profile_sample profile_sample_at(const struct profile *p, size_t i);
/* Sum of values[@type] over all samples. */
int64_t profile_total(const struct profile *p, size_t type);

/* Text of label @key (of a numeric one: in decimal, in @buf), or NULL. */
const char *profile_label_text(const struct profile *p, const struct profile_sample *s,
                               const char *key, char *buf, size_t size);

/* Wall-clock start (ns since the epoch) and length of the recording. */
void profile_set_time(struct profile *p, int64_t start_unix_ns, int64_t duration_ns);
int64_t profile_start_unix_ns(const struct profile *p);
int64_t profile_duration_ns(const struct profile *p);

/* The named figures beside the samples; owned by the profile. */
struct report *profile_report(struct profile *p);
const struct report *profile_report_const(const struct profile *p);
