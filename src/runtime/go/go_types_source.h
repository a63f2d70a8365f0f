/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Where types come from: something that reads a type's record and lists its fields.
 * A source names its types by entries, numbers of its own (offset of a DIE, address
 * of a descriptor); go_types.c gives each a type number when it is first asked for.
 */

#include "runtime/go/go_types.h"

enum { GO_TYPES_LABEL_BYTES = 256 };

struct go_types_field {
	const char *label; /* as it is shown: ".name", "[key]" */
	uint64_t offset;
	uint32_t type;
	/* a pointer word about which the field's type says too little; PLAIN: as its type says */
	enum go_types_what what;
	uint32_t to;
};

/* False: enough of them. */
typedef bool (*go_types_field_fn)(void *arg, const struct go_types_field *f);

struct go_types_source {
	/* The record of @entry, without slots. False: it has none. */
	bool (*read)(void *self, uint64_t entry, struct go_types_type *ret);
	/* What a pointer of type @x leads to: a type; 0. */
	uint32_t (*pointed_at)(void *self, const struct go_types_type *x);
	/* Of GO_TYPES_STRUCT and GO_TYPES_CLOSURE. */
	void (*each_field)(void *self, const struct go_types_type *x, go_types_field_fn fn,
	                   void *arg);
	void (*close)(void *self);
};

enum go_types_source_index { GO_TYPES_DWARF, GO_TYPES_DESCRIPTORS, GO_TYPES_SOURCES };

/* The type number of an entry, made when it is met first; 0: none, or the limit. */
uint32_t go_types_number(struct go_types *t, enum go_types_source_index source, uint64_t entry);
/* Type @type's record, slots not read. Valid until the next type is made. */
const struct go_types_type *go_types_record(const struct go_types *t, uint32_t type);
const char *go_types_name(const struct go_types *t, uint32_t type);
/* The type of this name, if objects of it can be allocated; 0. */
uint32_t go_types_named(struct go_types *t, const char *name);
/* One more field, or what may be one, is looked at. False: no more, for too many were. */
bool go_types_spend(struct go_types *t);
/* Interns "@a@b"; negative errno. */
int go_types_text(struct go_types *t, const char *a, const char *b, uint32_t *ret);
