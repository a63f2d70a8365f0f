/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * One build of a library, as object_code.h knows it: of each executable section its
 * length, which bytes a linker may change, hashes of the others, what it defines and
 * what it calls. No code is kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
	OBJECT_BUILD_ANCHOR_BYTES = 16, /* what is searched for first */
	OBJECT_BUILD_NO_ANCHOR = UINT32_MAX,
	OBJECT_BUILD_SECTION_MAX = 16 << 20,
	OBJECT_BUILD_MANY = 1 << 22, /* of anything in one build */
};

struct object_mask {
	uint32_t from, to; /* of the section's bytes; @to is not in it */
};

/* How a target is found from the linked bytes. */
enum object_ref_kind {
	OBJECT_REF_DIRECT, /* 32 bits, relative to the program counter */
	OBJECT_REF_GOT,    /* so if the linker relaxed it, else through the GOT */
};

struct object_ref {
	uint32_t at;      /* of the section: the relocation's place */
	uint32_t kind;    /* enum object_ref_kind */
	uint32_t name;    /* of a global symbol, in strings; 0: @section */
	uint32_t section; /* of the build */
	int32_t addend;   /* what the field holds is name or section + addend - place */
};

struct object_symbol {
	uint32_t name; /* in strings */
	uint32_t section, offset, size;
	uint8_t type, bind; /* STT_, STB_ */
};

struct object_section {
	uint32_t size, unmasked; /* bytes; those that are compared */
	uint32_t anchor;         /* offset; OBJECT_BUILD_NO_ANCHOR */
	uint64_t anchor_hash, hash[2];
	uint32_t first_mask, n_masks;
	uint32_t first_ref, n_refs;
	bool is_jump; /* nothing but a jump to its only reference */
};

struct object_build {
	char title[128];
	struct object_section *sections;
	size_t n_sections, cap_sections;
	struct object_mask *masks; /* of each section by address, apart */
	size_t n_masks, cap_masks;
	struct object_ref *refs;
	size_t n_refs, cap_refs;
	struct object_symbol *symbols;
	size_t n_symbols, cap_symbols;
	char *strings; /* the first is "" */
	size_t n_strings, cap_strings;
};

void object_build_clear(struct object_build *b); /* { 0 } is empty */

/* @name in strings: where it is. A name that is there already is not put again when it was
 * the last one. */
int object_build_name(struct object_build *b, const char *name, size_t len, uint32_t *ret,
                      struct error *err);
int object_build_add_mask(struct object_build *b, uint32_t from, uint32_t to, struct error *err);
int object_build_add_ref(struct object_build *b, const struct object_ref *ref, struct error *err);
int object_build_add_symbol(struct object_build *b, const struct object_symbol *s,
                            struct error *err);
/* A section with the masks and references that were added since the last one;
 * overlapping masks are joined. @bytes are its code: sized, masked (they are changed), hashed. */
int object_build_add_section(struct object_build *b, uint8_t *bytes, uint32_t size,
                             struct error *err);

uint64_t object_build_anchor_hash(const uint8_t *bytes);
/* Clear what is masked, hash the rest. */
void object_build_hash(const struct object_build *b, const struct object_section *s, uint8_t *bytes,
                       uint64_t ret[2]);
