/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a typed pointer says about the object behind it, and whether that is
 * believed. The surprising rule: a claim counts only if the object's size class is
 * the one that the type would get, and every word that the collector takes for a
 * pointer is one in the type. Otherwise the object stays untyped.
 */

#include "runtime/go/go_objects.h"
#include "runtime/go/go_types.h"

/* The type of an object: layout is type << 1 | "an array of it"; 0: only the text is known. */
struct go_claims_type {
	uint32_t text, layout;
};

struct go_claims {
	struct go_types *types; /* NULL: there are none */
	struct go_objects *objects;
	struct object_graph *texts;
	struct error *err;
	uint32_t string_data; /* text; 0: not made yet */
	struct {
		uint32_t name, many; /* texts: "T", "[]T" */
	} lately[64];
	/* Small objects lately compared with types: how many of the type their pointer words are;
	 * 0: they are of something else. */
	struct {
		uint64_t mask;
		uint32_t type, times;
	} compared_lately[512];
	/* What was said lately: the same of all objects that look the same. */
	struct go_claims_said {
		uint64_t n, elemsize, mask; /* claimed; seen */
		uint32_t type;              /* claimed */
		uint8_t what;               /* claimed; 0: nothing yet */
		bool no_scan;
		bool agreed;
		struct go_claims_type is; /* if agreed */
	} said_lately[256];
	/* Of a size class: the least that gets one of it. */
	struct {
		uint64_t elemsize, least;
	} fits_lately[64];
	uint64_t rejected;    /* claims that the heap contradicted */
	uint64_t conflicting; /* those that came when the object had another type, by header or the
	                         first */
	uint64_t compared;    /* words of large objects */
	const uint8_t *value; /* of a variable that is in pieces; NULL */
	size_t value_bytes;
};

/* Addresses from here on are bytes of go_claims.value. */
#define GO_CLAIMS_VALUE   (1ull << 63)
#define GO_CLAIMS_UNKNOWN UINT64_MAX /* a word of it that is nowhere */
static inline void go_claims_look_into(struct go_claims *c, const uint8_t *value, size_t bytes)
{
	c->value = value;
	c->value_bytes = bytes;
}

/* The pointer word at address @at is @slot of its holder's type and has @value, which points into
 * slot @n (number within all) of span @span: true, and *ret. */
bool go_claims_follow(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, size_t span, uint32_t n, struct go_claims_type *ret);

/* What it leads to, wherever that is: @n of *type at @value, or false. A number that is not known
 * is told as 1. */
bool go_claims_target(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, uint32_t *type, uint64_t *n);

/* As go_claims_follow(), which counts what is refused. */
enum go_claims_verdict { GO_CLAIMS_SILENT, GO_CLAIMS_REFUSED, GO_CLAIMS_AGREED };
enum go_claims_verdict go_claims_judge(struct go_claims *c, const struct go_types_slot *slot,
                                       uint64_t at, uint64_t value, size_t span, uint32_t n,
                                       struct go_claims_type *ret);

/* The pointer word at @at is of a holder without a type: if the word before it is that of an
 * interface, it says what the object is. */
bool go_claims_beside(struct go_claims *c, uint64_t at, uint64_t value, size_t span, uint32_t n,
                      struct go_claims_type *ret);

/* Is the word before @at what an interface of this kind begins with: a type, or an itab? */
bool go_claims_interface(struct go_claims *c, enum go_types_what what, uint64_t at);

/* Would so many bytes be given a slot of this span? */
bool go_claims_fits(struct go_claims *c, uint64_t bytes, size_t span);
/* Can the object be @n of @type? */
bool go_claims_is(struct go_claims *c, uint32_t type, uint64_t n, size_t span, uint32_t slot);
struct go_claims_type go_claims_name(struct go_claims *c, uint32_t type, bool many);
/* The name of the function whose closure is at @at; false: it is none. */
bool go_claims_closure_name(struct go_claims *c, uint64_t at, struct go_claims_type *ret);
/* Bytes before an object's data. */
uint32_t go_claims_header(const struct go_objects_span *s);

/* By its descriptor, which stands in its malloc header or span: *ret may be { 0 }. */
void go_claims_described(struct go_claims *c, uint64_t descriptor, size_t span,
                         struct go_claims_type *ret);
