/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_rtypes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_rtype.h"

enum {
	WORD = 8,
	ROLE_MASK = 7,
	MAX_FIELDS = 1 << 16,
	MAX_TYPE_BYTES = 1 << 30,
};

/* What an entry is of its descriptor. */
enum role {
	ROLE_TYPE,
	ROLE_MAP,           /* runtime.hmap, maps.Map */
	ROLE_TABLE_POINTER, /* 1.24+ */
	ROLE_TABLE,
	ROLE_CHANNEL,
};

struct go_rtypes {
	struct go_rtype reader;
	struct go_types *types;
	struct go_rtypes_one *all; /* by address; with pointers; owned */
	size_t n_all, cap_all;
	struct hash_map is_one; /* address of each */
	struct hash_map named;  /* hash of a name -> address */
	struct hash_map groups; /* a map's bucket or group -> the map's type */
	uint64_t hmap, map, table, hchan;
	struct error *err;
};

static void close_rtypes(void *self)
{
	struct go_rtypes *r = self;

	free(r->all);
	hash_map_clear(&r->is_one);
	hash_map_clear(&r->named);
	hash_map_clear(&r->groups);
	free(r);
}

static void closep(struct go_rtypes **r)
{
	if (*r)
		close_rtypes(*r);
}

static uint64_t word(const struct go_rtypes *r, uint64_t at)
{
	return go_rtype_word(&r->reader, at);
}

/* ---- finding them ---- */

/* Where kinds of types lead that nothing else can be. */
static bool tail_is_sound(const struct go_rtype *n, uint64_t at, unsigned kind)
{
	uint64_t elem = go_rtype_word(n, at + n->l->type_bytes);

	switch (kind) {
	case GO_RTYPE_ARRAY:
	case GO_RTYPE_CHAN:
	case GO_RTYPE_MAP:
	case GO_RTYPE_POINTER:
	case GO_RTYPE_SLICE: return go_rtype_kind(n, elem) != 0;
	case GO_RTYPE_STRUCT:
		return go_rtype_word(n, at + GO_RTYPE_FIELDS + WORD) <= MAX_FIELDS &&
		       go_rtype_word(n, at + GO_RTYPE_FIELDS + WORD) <=
		               go_rtype_word(n, at + GO_RTYPE_FIELDS + 2 * WORD);
	default: return true;
	}
}

static bool is_sound(const struct go_rtype *n, uint64_t at)
{
	static const uint8_t sizes[] = {
		[1] = 1,  [2] = 8,  [3] = 1,   [4] = 2,  [5] = 4,  [6] = 8,   [7] = 8,   [8] = 1,
		[9] = 2,  [10] = 4, [11] = 8,  [12] = 8, [13] = 4, [14] = 8,  [15] = 8,  [16] = 16,
		[18] = 8, [19] = 8, [20] = 16, [21] = 8, [22] = 8, [23] = 24, [24] = 16, [26] = 8
	};
	unsigned kind = go_rtype_kind(n, at);
	uint64_t size, pointers;
	char name[8];

	if (!kind)
		return false;
	size = go_rtype_word(n, at + n->l->type_size);
	pointers = go_rtype_word(n, at + n->l->type_ptr_bytes);
	if (size > MAX_TYPE_BYTES || pointers > size || pointers % WORD ||
	    (sizes[kind] && size != sizes[kind]) || !tail_is_sound(n, at, kind))
		return false;
	go_rtype_string(n, at, name, sizeof(name));
	return name[0] && (kind != GO_RTYPE_POINTER || name[0] == '*' || go_rtype_is_named(n, at));
}

static int note_named(struct go_rtypes *r, uint64_t at)
{
	char name[GO_RTYPE_NAME_BYTES];
	uint64_t key;

	if (!go_rtype_is_named(&r->reader, at) &&
	    go_rtype_kind(&r->reader, at) != GO_RTYPE_INTERFACE)
		return 0;
	go_rtype_name(&r->reader, at, name, sizeof(name));
	if (!strcmp(name, "runtime.hmap"))
		r->hmap = at;
	else if (!strcmp(name, "internal/runtime/maps.Map"))
		r->map = at;
	else if (!strcmp(name, "internal/runtime/maps.table"))
		r->table = at;
	else if (!strcmp(name, "runtime.hchan"))
		r->hchan = at;
	key = hash_bytes(name, strlen(name), 0);
	return hash_map_get(&r->named, key) ? 0 : hash_map_put(&r->named, key, at, r->err);
}

/* Maps of 1.24+, but for the experiment noswissmap. */
static bool is_swiss(const struct go_rtypes *r)
{
	return r->reader.l->maptype_group != GO_LAYOUT_NONE;
}

/* The type of a map's bucket or group. */
static uint64_t group_of(const struct go_rtypes *r, uint64_t map)
{
	return word(r,
	            map + (is_swiss(r) ? r->reader.l->maptype_group : r->reader.l->maptype_bucket));
}

/* Types that no object has: what generic code is compiled for (go.shape.int), a pair in a map. */
static bool is_only_for_code(const struct go_rtypes *r, uint64_t at)
{
	char name[GO_RTYPE_NAME_BYTES];

	go_rtype_string(&r->reader, at, name, sizeof(name));
	return strstr(name, "go.shape.") || !strncmp(name, "struct { key ", 13);
}

static int note(struct go_rtypes *r, uint64_t at)
{
	struct go_rtypes_one one = { at, word(r, at + r->reader.l->type_size),
		                     word(r, at + r->reader.l->type_ptr_bytes) };
	int e = hash_map_put(&r->is_one, at, 1, r->err);

	if (e == 0)
		e = note_named(r, at);
	if (e == 0 && go_rtype_kind(&r->reader, at) == GO_RTYPE_MAP)
		e = hash_map_put(&r->groups, group_of(r, at), at, r->err);
	if (e < 0 || !one.pointer_bytes || is_only_for_code(r, at))
		return e;
	e = array_reserve(&r->all, &r->cap_all, r->n_all + 1, r->err);
	if (e == 0)
		r->all[r->n_all++] = one;
	return e;
}

int go_rtypes_open(const struct go_module *m, struct go_types *types, struct go_rtypes **ret,
                   struct error *err)
{
	cleanup(closep) struct go_rtypes *r = calloc(1, sizeof(*r));
	int e = 0;

	if (!r)
		return error_oom(err);
	*r = (struct go_rtypes){ .types = types, .err = err };
	if (!go_rtype_open(&r->reader, m))
		return 0;
	for (uint64_t at = r->reader.start; e == 0 && at + r->reader.l->type_bytes <= r->reader.end;
	     at += WORD) {
		if (is_sound(&r->reader, at))
			e = note(r, at);
	}
	if (e < 0)
		return e;
	*ret = take_ptr(r);
	return 1;
}

bool go_rtypes_has(const struct go_rtypes *r, uint64_t addr)
{
	return hash_map_get(&r->is_one, addr) != NULL;
}

const struct go_rtypes_one *go_rtypes_all(const struct go_rtypes *r, size_t *ret_n)
{
	*ret_n = r->n_all;
	return r->all;
}

uint64_t go_rtypes_named(const struct go_rtypes *r, const char *name)
{
	uint64_t *at = hash_map_get(&r->named, hash_bytes(name, strlen(name), 0));

	return at ? *at : 0;
}

bool go_rtypes_is_general(const struct go_rtypes *r, uint64_t at)
{
	return at && (at == r->hmap || at == r->map || at == r->table || at == r->hchan);
}

/* ---- records ---- */

static uint32_t type_at(struct go_rtypes *r, uint64_t entry)
{
	return go_types_number(r->types, GO_TYPES_DESCRIPTORS, entry);
}

static uint64_t elem_of(const struct go_rtypes *r, uint64_t at)
{
	return word(r, at + r->reader.l->type_bytes);
}

static bool set_name(struct go_rtypes *r, const char *name, struct go_types_type *x)
{
	return go_types_text(r->types, name, "", &x->name) == 0;
}

/* "map<K,V>", as the linker calls it in DWARF. */
static bool read_map_part(struct go_rtypes *r, uint64_t at, enum role role, struct go_types_type *x)
{
	char key[GO_RTYPE_NAME_BYTES], elem[GO_RTYPE_NAME_BYTES];
	char name[2 * GO_RTYPE_NAME_BYTES + 16];
	bool swiss = is_swiss(r);
	uint64_t like = role == ROLE_TABLE ? r->table : swiss ? r->map : r->hmap;

	if (role != ROLE_TABLE_POINTER && !like)
		return false;
	go_rtype_name(&r->reader, word(r, at + r->reader.l->maptype_key), key, sizeof(key));
	go_rtype_name(&r->reader, word(r, at + r->reader.l->maptype_elem), elem, sizeof(elem));
	snprintf(name, sizeof(name), "%s<%s,%s>",
	         role == ROLE_TABLE           ? "table"
	         : role == ROLE_TABLE_POINTER ? "*table"
	         : swiss                      ? "map"
	                                      : "hash",
	         key, elem);
	x->what = GO_TYPES_STRUCT;
	x->size = like ? word(r, like + r->reader.l->type_size) : WORD;
	if (role == ROLE_TABLE_POINTER) {
		x->what = GO_TYPES_POINTER;
		x->size = WORD;
		x->entry = at | ROLE_TABLE;
	}
	return set_name(r, name, x);
}

static bool read_channel(struct go_rtypes *r, uint64_t at, struct go_types_type *x)
{
	char elem[GO_RTYPE_NAME_BYTES], name[GO_RTYPE_NAME_BYTES + 16];

	if (!r->hchan)
		return false;
	go_rtype_name(&r->reader, elem_of(r, at), elem, sizeof(elem));
	snprintf(name, sizeof(name), "hchan<%s>", elem);
	x->what = GO_TYPES_STRUCT;
	x->size = word(r, r->hchan + r->reader.l->type_size);
	x->is_channel = true;
	x->chan_elem = type_at(r, elem_of(r, at));
	return set_name(r, name, x);
}

static bool is_repeated(const char *name)
{
	if (!strncmp(name, "noalg.", 6))
		name += 6;
	return !strncmp(name, "map.bucket[", 11) || !strncmp(name, "map.group[", 10);
}

/* "map.group[K]V" with the paths of packages, which a type that the compiler made up lacks. */
static void name_group(const struct go_rtypes *r, uint64_t at, char *buf, size_t size)
{
	char key[GO_RTYPE_NAME_BYTES], elem[GO_RTYPE_NAME_BYTES];
	uint64_t *of = hash_map_get(&r->groups, at);

	if (!of)
		return;
	go_rtype_name(&r->reader, word(r, *of + r->reader.l->maptype_key), key, sizeof(key));
	go_rtype_name(&r->reader, word(r, *of + r->reader.l->maptype_elem), elem, sizeof(elem));
	snprintf(buf, size, "map.%s[%s]%s", is_swiss(r) ? "group" : "bucket", key, elem);
}

static bool read_itself(struct go_rtypes *r, uint64_t at, struct go_types_type *x)
{
	char name[GO_RTYPE_NAME_BYTES];

	x->size = word(r, at + r->reader.l->type_size);
	go_rtype_name(&r->reader, at, name, sizeof(name));
	x->repeats = is_repeated(name);
	if (x->repeats)
		name_group(r, at, name, sizeof(name));
	switch (go_rtype_kind(&r->reader, at)) {
	case GO_RTYPE_ARRAY:
		x->what = GO_TYPES_ARRAY;
		x->elem = type_at(r, elem_of(r, at));
		x->count = word(r, at + r->reader.l->type_bytes + 2 * WORD);
		break;
	case GO_RTYPE_CHAN:
		x->what = GO_TYPES_POINTER;
		x->entry = at | ROLE_CHANNEL;
		break;
	case GO_RTYPE_MAP:
		x->what = GO_TYPES_POINTER;
		x->entry = at | ROLE_MAP;
		break;
	case GO_RTYPE_POINTER:
		x->what = GO_TYPES_POINTER;
		x->entry = elem_of(r, at);
		break;
	case GO_RTYPE_UNSAFE_POINTER:
		x->what = GO_TYPES_POINTER;
		x->entry = 0;
		break;
	case GO_RTYPE_SLICE:
		x->what = GO_TYPES_SLICE;
		x->elem = type_at(r, elem_of(r, at));
		break;
	case GO_RTYPE_FUNC: x->what = GO_TYPES_FUNC; break;
	case GO_RTYPE_INTERFACE:
		x->what = word(r, at + GO_RTYPE_FIELDS + WORD) ? GO_TYPES_IFACE : GO_TYPES_EFACE;
		break;
	case GO_RTYPE_STRING: x->what = GO_TYPES_STRING; break;
	case GO_RTYPE_STRUCT: x->what = GO_TYPES_STRUCT; break;
	default: break;
	}
	return set_name(r, name, x);
}

static bool read_type(void *self, uint64_t entry, struct go_types_type *x)
{
	struct go_rtypes *r = self;
	uint64_t at = entry & ~(uint64_t)ROLE_MASK;
	enum role role = entry & ROLE_MASK;

	if (!go_rtypes_has(r, at))
		return false;
	switch (role) {
	case ROLE_TYPE: return read_itself(r, at, x);
	case ROLE_MAP:
	case ROLE_TABLE_POINTER:
	case ROLE_TABLE: return read_map_part(r, at, role, x);
	case ROLE_CHANNEL: return read_channel(r, at, x);
	}
	return false;
}

static uint32_t pointed_at(void *self, const struct go_types_type *x)
{
	return type_at(self, x->entry);
}

/* ---- fields ---- */

/* Words that the runtime declares as unsafe.Pointer, or without the map's types. */
static void know_better(struct go_rtypes *r, const struct go_types_type *x, const char *name,
                        struct go_types_field *f)
{
	uint64_t at = x->entry & ~(uint64_t)ROLE_MASK;
	enum role role = x->entry & ROLE_MASK;

	if (role == ROLE_MAP && !strcmp(name, "dirPtr")) {
		f->what = GO_TYPES_MAP_DIRECTORY;
		f->to = type_at(r, at | ROLE_TABLE_POINTER);
	} else if (role == ROLE_MAP && (!strcmp(name, "buckets") || !strcmp(name, "oldbuckets"))) {
		f->what = GO_TYPES_POINTER;
		f->to = type_at(r, group_of(r, at));
	} else if (role == ROLE_TABLE && !strcmp(name, "groups")) {
		f->what = GO_TYPES_POINTER;
		f->label = ".groups.data";
		f->to = type_at(r, group_of(r, at));
	} else if (role == ROLE_CHANNEL && !strcmp(name, "buf")) {
		f->what = GO_TYPES_CHAN_BUFFER;
		f->to = x->chan_elem;
	} else if (x->repeats && !strcmp(name, "overflow") &&
	           f->offset < word(r, at + r->reader.l->type_ptr_bytes)) {
		/* uintptr in buckets without other pointers */
		f->what = GO_TYPES_POINTER;
		f->to = type_at(r, at);
	}
}

/* How a field is shown: a map's keys and values as such. */
static void label_field(const struct go_types_type *x, bool in_slot, const char *name, char *label,
                        size_t size)
{
	if ((x->repeats && !strcmp(name, "keys")) || (in_slot && !strcmp(name, "key")))
		snprintf(label, size, "[key]");
	else if ((x->repeats && !strcmp(name, "elems")) || (in_slot && !strcmp(name, "elem")))
		snprintf(label, size, "[val]");
	else
		snprintf(label, size, ".%s", name);
}

/* The struct whose fields an entry has. */
static uint64_t struct_of(const struct go_rtypes *r, uint64_t entry)
{
	uint64_t at = entry & ~(uint64_t)ROLE_MASK;

	switch ((enum role)(entry & ROLE_MASK)) {
	case ROLE_MAP: return is_swiss(r) ? r->map : r->hmap;
	case ROLE_TABLE: return r->table;
	case ROLE_CHANNEL: return r->hchan;
	default: return at;
	}
}

static void each_field(void *self, const struct go_types_type *x, go_types_field_fn fn, void *arg)
{
	struct go_rtypes *r = self;
	uint64_t at = struct_of(r, x->entry), fields = word(r, at + GO_RTYPE_FIELDS);
	uint64_t n = word(r, at + GO_RTYPE_FIELDS + WORD);
	char string[24];
	bool in_slot;

	go_rtype_string(&r->reader, at, string, sizeof(string));
	in_slot = !strncmp(string, "struct { key ", 13);
	for (uint64_t i = 0; i < n && i < MAX_FIELDS && go_types_spend(r->types); i++) {
		char name[GO_RTYPE_NAME_BYTES], label[GO_TYPES_LABEL_BYTES];
		struct go_types_field f = { .label = label };
		uint64_t type;

		if (!go_rtype_field(&r->reader, fields, i, name, sizeof(name), &type, &f.offset) ||
		    f.offset >= x->size)
			return;
		f.type = type_at(r, type);
		label_field(x, in_slot, name, label, sizeof(label));
		know_better(r, x, name, &f);
		if (!fn(arg, &f))
			return;
	}
}

const struct go_types_source go_rtypes_source = {
	.read = read_type,
	.pointed_at = pointed_at,
	.each_field = each_field,
	.close = close_rtypes,
};
