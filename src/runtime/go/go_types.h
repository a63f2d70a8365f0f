/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Go types as a walk of the heap needs them: what a type is called, how large it
 * is, and what stands behind each of its pointer words. They come from a source
 * (go_types_source.h), lazily: a type is read when the walk meets it.
 *
 * Type 0 is "not known". Texts are interned in the graph.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "runtime/go/go_module.h"
#include "runtime/object_graph.h"

enum go_types_what {
	GO_TYPES_PLAIN,
	GO_TYPES_POINTER,
	GO_TYPES_SLICE,
	GO_TYPES_STRING,
	GO_TYPES_EFACE,
	GO_TYPES_IFACE,
	GO_TYPES_FUNC,
	GO_TYPES_CHAN_BUFFER,   /* hchan.buf: an array of hchan.dataqsiz */
	GO_TYPES_MAP_DIRECTORY, /* Map.dirPtr (1.24+): Map.dirLen tables; of 0: one group */
	GO_TYPES_CLOSURE,       /* what a func value points to: code, captured variables */
	GO_TYPES_ARRAY,
	GO_TYPES_STRUCT,
};

/* A pointer word. An interface's is its data word; the type word never counts as a pointer (Go's
 * typebits). */
struct go_types_slot {
	uint32_t offset;
	uint32_t to;    /* type that it leads to; 0 not known */
	uint32_t label; /* text: ".hosts" */
	uint32_t many;  /* text, in an array of the type: "[].hosts" */
	enum go_types_what what;
};

struct go_types_type {
	uint64_t size;
	uint64_t entry; /* of its source */
	uint32_t name;  /* text */
	uint32_t elem;  /* pointer, slice, array */
	uint64_t count; /* array */
	enum go_types_what what;
	bool is_flat;       /* slots were read */
	bool is_whole;      /* all of them: not cut by the limit */
	bool repeats;       /* a bucket or group of a map: a pointer to one leads to an array */
	bool is_channel;    /* hchan: may be followed by its elements */
	bool is_made_as;    /* a pointer to it leads to something larger: go_types_made_as() */
	bool is_trie_node;  /* one of two types, as its first byte says: go_types_trie_node() */
	uint32_t chan_elem; /* of hchan */
	uint32_t made_as;   /* go_types_made_as(), once it was asked for */
	uint8_t source;
	struct go_types_slot *slots; /* by offset; owned */
	uint32_t n_slots;
};

struct go_types;

/* From DWARF, without it from type descriptors. 1: opened; 0: there is nothing (*ret is NULL).
 * Texts go to @texts, which must live as
 * long. */
int go_types_open(const struct go_module *m, struct object_graph *texts, struct go_types **ret,
                  struct error *err);
struct go_types *go_types_close(struct go_types *t); /* NULL is fine; returns NULL */

/* Valid until the next call of any function here. Slots are read. */
const struct go_types_type *go_types_get(struct go_types *t, uint32_t type);
const struct go_types_slot *go_types_slot_at(const struct go_types_type *t, uint64_t offset);

/* The type of the variable that holds @addr: sets its start; 0: none. */
uint32_t go_types_variable(struct go_types *t, uint64_t addr, uint64_t *start);
/* Its name, and where it starts; "": none. */
const char *go_types_variable_name(struct go_types *t, uint64_t addr, uint64_t *start);
/* The type whose runtime type descriptor is at @addr; 0. */
uint32_t go_types_of_descriptor(struct go_types *t, uint64_t addr);
/* The closure object of the function at @pc (Go 1.23+, whose DWARF tells offsets); 0. */
uint32_t go_types_closure(struct go_types *t, uint64_t pc);

/* What a node of such a type is, by its first byte; 0. */
uint32_t go_types_trie_node(struct go_types *t, uint32_t type, bool first_byte);
/* What a pointer to @type leads to, with the name that @type has. */
uint32_t go_types_made_as(struct go_types *t, uint32_t type);
/* What a pointer type leads to; 0. */
uint32_t go_types_pointed_at(struct go_types *t, uint32_t type);
struct go_types_dwarf;
/* For variables that DWARF describes (go_types_dwarf.h); NULL: the program has none. */
struct go_types_dwarf *go_types_dwarf_of(struct go_types *t);
struct go_rtypes;
/* All descriptors (go_rtypes.h), read when they are first asked for; NULL: they cannot be. */
const struct go_rtypes *go_types_descriptors(struct go_types *t);
