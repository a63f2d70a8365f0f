/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_claims.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "runtime/go/go_code.h"

enum {
	WORD = 8,
	NAME_BYTES = 512,
	TINY = 16,             /* maxTinySize: smaller ones without pointers share a block */
	LARGEST_SMALL = 32768, /* maxSmallSize */
	HEADER = 8,            /* mallocHeaderSize (1.22+) */
	LARGE = 4096, /* of objects that are larger not all words are compared as often as one likes
	               */
	COMPARED_LEAST = 1 << 24,
	DIRECT_INTERFACE = 32, /* abi.Type.Kind_ up to 1.25, TFlag from 1.26 */
};

/* Size classes (sizeclasses.go, the same from 1.17 to 1.26). */
static const uint16_t classes[] = {
	8,     16,    24,    32,    48,    64,    80,    96,    112,   128,   144,   160,
	176,   192,   208,   224,   240,   256,   288,   320,   352,   384,   416,   448,
	480,   512,   576,   640,   704,   768,   896,   1024,  1152,  1280,  1408,  1536,
	1792,  2048,  2304,  2688,  3072,  3200,  3456,  4096,  4864,  5120,  5376,  6144,
	6528,  6784,  6912,  8192,  9472,  9728,  10240, 10880, 12288, 13568, 14336, 16384,
	18432, 19072, 20480, 21760, 24576, 27264, 28672, 32768,
};

static uint64_t class_of(uint64_t bytes)
{
	if (bytes > LARGEST_SMALL)
		return (bytes + GO_HEAP_PAGE - 1) / GO_HEAP_PAGE * GO_HEAP_PAGE;
	return classes[partition_point(ARRAY_SIZE(classes) - 1, i, classes[i] < bytes)];
}

static uint64_t word(const struct go_claims *c, uint64_t at)
{
	uint64_t v;

	if (!c->value || at < GO_CLAIMS_VALUE)
		return go_objects_word(c->objects, at);
	at -= GO_CLAIMS_VALUE;
	if (at > c->value_bytes || c->value_bytes - at < WORD)
		return GO_CLAIMS_UNKNOWN;
	memcpy(&v, c->value + at, sizeof(v));
	return v;
}

/* ---- what is claimed ---- */

struct claim {
	enum { NOTHING, OBJECT, ELEMENTS, BYTES, CLOSURE } what;
	uint32_t type;
	uint64_t n; /* elements, bytes */
};

static bool is_direct(const struct go_claims *c, uint64_t descriptor)
{
	const struct go_layout *l = c->objects->module->layout;
	bool new = l->minor >= 26;
	uint8_t byte;

	return image_read(c->objects->image, descriptor + (new ? l->type_tflag : l->type_kind),
	                  &byte, 1) == 0 &&
	       (byte & DIRECT_INTERFACE);
}

static uint32_t half(const struct go_claims *c, uint64_t at)
{
	return image_uint32(c->objects->image, at);
}

/* itab: inter, _type, the type's hash (runtime2.go; abi.ITab); those of the program, or made. */
static bool is_itab(struct go_claims *c, uint64_t at)
{
	const struct go_layout *l = c->objects->module->layout;
	uint64_t type;

	if (at % WORD || go_objects_offset(c->objects, at) < UINT64_MAX)
		return false;
	type = word(c, at + l->itab_type);
	return go_types_of_descriptor(c->types, type) &&
	       half(c, at + l->itab_type + WORD) == half(c, type + l->type_hash) &&
	       go_types_of_descriptor(c->types, word(c, at));
}

bool go_claims_interface(struct go_claims *c, enum go_types_what what, uint64_t at)
{
	uint64_t first = word(c, at - WORD);

	if (!first)
		return false;
	return what == GO_TYPES_EFACE ? go_types_of_descriptor(c->types, first) != 0
	                              : is_itab(c, first);
}

static struct claim of_slot(struct go_claims *c, const struct go_types_slot *s, uint64_t at);

static struct claim of_interface(struct go_claims *c, const struct go_types_slot *s, uint64_t at)
{
	uint64_t descriptor = word(c, at - WORD);
	const struct go_types_type *t;
	uint32_t type;

	/* itab: inter, _type (runtime2.go; abi.ITab) */
	if (s->what == GO_TYPES_IFACE && descriptor)
		descriptor = word(c, descriptor + WORD);
	type = descriptor ? go_types_of_descriptor(c->types, descriptor) : 0;
	if (!type)
		return (struct claim){ NOTHING, 0, 0 };
	if (!is_direct(c, descriptor))
		return (struct claim){ OBJECT, type, 1 };
	/* the value itself is the data word: a pointer, or a struct of one */
	t = go_types_get(c->types, type);
	if (t->n_slots != 1 || t->slots[0].what == GO_TYPES_EFACE ||
	    t->slots[0].what == GO_TYPES_IFACE)
		return (struct claim){ NOTHING, 0, 0 };
	return of_slot(c, &t->slots[0], at);
}

/* Tables of a map, or its only group, as table.groups.data would have it. */
static struct claim of_directory(struct go_claims *c, const struct go_types_slot *s, uint64_t at)
{
	uint64_t n = word(c, at + WORD);
	const struct go_types_type *t = go_types_get(c->types, s->to);
	uint32_t table = t->n_slots == 1 ? t->slots[0].to : 0;

	if (n)
		return (struct claim){ s->to ? ELEMENTS : NOTHING, s->to, n };
	t = go_types_get(c->types, table);
	return (struct claim){ t->n_slots ? OBJECT : NOTHING,
		               t->n_slots ? t->slots[t->n_slots - 1].to : 0, 1 };
}

static struct claim of_pointer(struct go_claims *c, uint32_t to, uint64_t at)
{
	uint8_t byte;

	if (go_types_get(c->types, to)->is_trie_node)
		to = image_read(c->objects->image, word(c, at), &byte, 1) == 0 && byte <= 1
		             ? go_types_trie_node(c->types, to, byte)
		             : 0;
	else if (go_types_get(c->types, to)->is_made_as)
		to = go_types_made_as(c->types, to);
	return (struct claim){ to ? OBJECT : NOTHING, to, 1 };
}

static struct claim of_slot(struct go_claims *c, const struct go_types_slot *s, uint64_t at)
{
	switch (s->what) {
	case GO_TYPES_POINTER: return of_pointer(c, s->to, at);
	case GO_TYPES_SLICE:
		return (struct claim){ s->to ? ELEMENTS : NOTHING, s->to, word(c, at + 2 * WORD) };
	case GO_TYPES_CHAN_BUFFER: /* hchan: qcount, dataqsiz, buf */
		return (struct claim){ s->to ? ELEMENTS : NOTHING, s->to, word(c, at - WORD) };
	case GO_TYPES_MAP_DIRECTORY: return of_directory(c, s, at);
	case GO_TYPES_STRING: return (struct claim){ BYTES, 0, word(c, at + WORD) };
	case GO_TYPES_FUNC: return (struct claim){ CLOSURE, 0, 1 };
	case GO_TYPES_EFACE:
	case GO_TYPES_IFACE: return of_interface(c, s, at);
	default: return (struct claim){ NOTHING, 0, 0 };
	}
}

/* ---- whether it is so ---- */

struct comparing {
	const struct go_types_type *type;
	uint64_t n;
};

static int compare_word(void *arg, uint32_t offset, uint64_t value)
{
	struct comparing *k = arg;

	(void)value;
	k->n++;
	return go_types_slot_at(k->type, offset % k->type->size) ? 0 : 1;
}

/* The same for a small object, whose pointer words are @mask. There are few kinds of them. */
static bool mask_agrees(struct go_claims *c, uint32_t type, const struct go_types_type *t,
                        uint64_t n, uint64_t mask)
{
	const size_t at = hash_u64(mask * 31 + type) % ARRAY_SIZE(c->compared_lately);
	struct comparing k = { t, 0 };

	if (c->compared_lately[at].type != type || c->compared_lately[at].mask != mask) {
		bool agrees = t->n_slots && t->is_whole;

		for (uint64_t set = mask; set && agrees; set &= set - 1)
			agrees = !compare_word(&k, (uint32_t)__builtin_ctzll(set) * WORD, 0);
		agrees = agrees && k.n % t->n_slots == 0;
		c->compared_lately[at].type = type;
		c->compared_lately[at].mask = mask;
		c->compared_lately[at].times = agrees ? (uint32_t)(k.n / t->n_slots) : 0;
	}
	return c->compared_lately[at].times && c->compared_lately[at].times >= n;
}

/* Do the words that the collector takes for pointers stand where @type has some, @n times? */
static bool pointers_agree(struct go_claims *c, uint32_t type, uint64_t n, size_t span,
                           uint32_t slot)
{
	const struct go_objects_span *s = &c->objects->spans[span];
	const struct go_types_type *t = go_types_get(c->types, type);
	struct comparing k = { t, 0 };
	uint64_t mask;

	if (s->no_scan)
		return t->n_slots == 0;
	if (type && go_objects_mask(c->objects, span, slot - s->first, &mask))
		return mask_agrees(c, type, t, n, mask);
	if (s->elemsize > LARGE) {
		if (c->compared > COMPARED_LEAST + c->objects->taken_bytes)
			return false;
		c->compared += s->elemsize / WORD;
	}
	return t->n_slots && t->is_whole &&
	       go_objects_offsets(c->objects, span, slot - s->first, compare_word, &k) == 0 &&
	       /* behind the last one of an array with a header the scan goes on into the slack */
	       (s->has_header || k.n % t->n_slots == 0) && k.n / t->n_slots >= n;
}

uint32_t go_claims_header(const struct go_objects_span *s)
{
	return s->has_header ? HEADER : 0;
}

/* The least bytes that get a slot of @elemsize; UINT64_MAX: it is none of the classes. */
static uint64_t least_of(struct go_claims *c, uint64_t elemsize)
{
	const size_t k = elemsize / WORD % ARRAY_SIZE(c->fits_lately);
	size_t at;

	if (c->fits_lately[k].elemsize != elemsize) {
		at = partition_point(ARRAY_SIZE(classes) - 1, i, classes[i] < elemsize);
		c->fits_lately[k].elemsize = elemsize;
		c->fits_lately[k].least = classes[at] != elemsize ? UINT64_MAX
		                          : at                    ? classes[at - 1] + 1u
		                                                  : 0;
	}
	return c->fits_lately[k].least;
}

static bool size_agrees(struct go_claims *c, uint64_t bytes, const struct go_objects_span *s)
{
	const uint64_t all = bytes + go_claims_header(s);

	if (s->elemsize > LARGEST_SMALL ? class_of(all) == s->elemsize
	                                : all <= s->elemsize && all >= least_of(c, s->elemsize))
		return true;
	return s->no_scan && bytes < TINY && s->elemsize == TINY;
}

bool go_claims_fits(struct go_claims *c, uint64_t bytes, size_t span)
{
	const struct go_objects_span *s = &c->objects->spans[span];

	return bytes <= s->elemsize && size_agrees(c, bytes, s);
}

/* chan.go, makechan: elements without pointers are behind the channel itself. */
static bool is_channel(struct go_claims *c, uint64_t at, const struct go_objects_span *s)
{
	const struct go_layout *l = c->objects->module->layout;
	uint64_t n = word(c, at + l->hchan_dataqsiz), bytes = word(c, at + l->hchan_elemsize);

	bytes &= UINT16_MAX;
	return n <= s->elemsize && size_agrees(c, l->hchan_bytes + n * bytes, s);
}

static bool is_object(struct go_claims *c, const struct claim *k, uint64_t offset, size_t span,
                      uint32_t slot, bool *many)
{
	const struct go_objects_span *s = &c->objects->spans[span];
	const struct go_types_type *t = go_types_get(c->types, k->type);
	uint64_t before = offset && t->size ? offset / t->size : 0, n = k->n;

	if (n == GO_CLAIMS_UNKNOWN && t->size) /* as many as there is room for */
		n = (s->elemsize - (s->has_header ? HEADER : 0)) / t->size - before;
	*many = false;
	if (!t->size || t->size > s->elemsize || offset != before * t->size || !n ||
	    n > s->elemsize)
		return false;
	if (t->is_channel && s->no_scan) /* its elements are behind it, all without pointers */
		return !offset && is_channel(c, go_objects_address(s, slot), s);
	if (k->what == OBJECT && offset)
		return false;
	if (t->repeats && k->what == OBJECT) {
		n = s->elemsize / t->size;
		*many = n > 1;
		return pointers_agree(c, k->type, 1, span, slot);
	}
	n += before;
	*many = n > 1;
	return size_agrees(c, n * t->size, s) && pointers_agree(c, k->type, n, span, slot);
}

bool go_claims_is(struct go_claims *c, uint32_t type, uint64_t n, size_t span, uint32_t slot)
{
	const struct claim k = { n > 1 ? ELEMENTS : OBJECT, type, n };
	bool many;

	return is_object(c, &k, 0, span, slot, &many);
}

/* ---- texts ---- */

static uint32_t text(struct go_claims *c, const char *a, const char *b)
{
	char buf[NAME_BYTES];
	uint32_t id;

	snprintf(buf, sizeof(buf), "%s%s", a, b);
	return object_graph_text(c->texts, buf, strlen(buf), &id, c->err) < 0 ? 0 : id;
}

/* "[]T". Most often it is one of the last. */
static uint32_t many_of(struct go_claims *c, uint32_t name)
{
	const size_t at = name % ARRAY_SIZE(c->lately);

	if (!c->lately[at].many || c->lately[at].name != name) {
		char copy[NAME_BYTES];

		snprintf(copy, sizeof(copy), "%s", object_graph_name(c->texts, name));
		c->lately[at].name = name;
		c->lately[at].many = text(c, "[]", copy);
	}
	return c->lately[at].many;
}

struct go_claims_type go_claims_name(struct go_claims *c, uint32_t type, bool many)
{
	const struct go_types_type *t = go_types_get(c->types, type);
	const uint32_t name = many ? many_of(c, t->name) : t->name;

	/* a long array is looked at element by element */
	if (!t->is_whole && t->what == GO_TYPES_ARRAY && t->elem)
		return (struct go_claims_type){ name, t->elem << 1 | 1 };
	return (struct go_claims_type){ name, type << 1 | many };
}

bool go_claims_closure_name(struct go_claims *c, uint64_t at, struct go_claims_type *ret)
{
	char name[NAME_BYTES];

	go_code_name_at(c->objects->module, word(c, at), name, sizeof(name));
	if (name[0])
		ret->text = text(c, "func ", name);
	return name[0] && ret->text;
}

/* What is claimed of a small object, or one without pointers, and what of it has a say in whether
 * that is so; false: more has. */
static bool look_of(struct go_claims *c, const struct claim *k, size_t span, uint32_t slot,
                    struct go_claims_said *ret)
{
	const struct go_objects_span *s = &c->objects->spans[span];

	*ret = (struct go_claims_said){ .n = k->n,
		                        .elemsize = s->elemsize,
		                        .type = k->type,
		                        .what = (uint8_t)k->what,
		                        .no_scan = s->no_scan };
	return s->no_scan || go_objects_mask(c->objects, span, slot - s->first, &ret->mask);
}

static bool looks_the_same(const struct go_claims_said *a, const struct go_claims_said *b)
{
	return a->mask == b->mask && a->type == b->type && a->elemsize == b->elemsize &&
	       a->n == b->n && a->what == b->what && a->no_scan == b->no_scan;
}

static enum go_claims_verdict verdict_of(const struct go_claims_said *said)
{
	if (!said->agreed)
		return GO_CLAIMS_REFUSED;
	return said->is.text ? GO_CLAIMS_AGREED : GO_CLAIMS_SILENT;
}

static enum go_claims_verdict judge_object(struct go_claims *c, const struct claim *k,
                                           uint64_t offset, size_t span, uint32_t slot,
                                           struct go_claims_type *ret)
{
	struct go_claims_said said, *lately = NULL;
	bool many;

	if (!offset && look_of(c, k, span, slot, &said))
		lately = &c->said_lately[(said.mask * 31 + said.type * 7 + said.elemsize / WORD +
		                          said.n) %
		                         ARRAY_SIZE(c->said_lately)];
	if (lately && looks_the_same(lately, &said)) {
		*ret = lately->is;
		return verdict_of(lately);
	}
	said.agreed = is_object(c, k, offset, span, slot, &many);
	said.is = said.agreed ? go_claims_name(c, k->type, many) : (struct go_claims_type){ 0 };
	/* of a channel its own words have a say, too */
	if (lately && !go_types_get(c->types, k->type)->is_channel)
		*lately = said;
	*ret = said.is;
	return verdict_of(&said);
}

enum go_claims_verdict go_claims_judge(struct go_claims *c, const struct go_types_slot *slot,
                                       uint64_t at, uint64_t value, size_t span, uint32_t n,
                                       struct go_claims_type *ret)
{
	const struct go_objects_span *s = &c->objects->spans[span];
	struct claim k = of_slot(c, slot, at);
	uint64_t offset = value - go_objects_address(s, n) - go_claims_header(s);
	bool many;

	if (k.what == NOTHING)
		return GO_CLAIMS_SILENT;
	if (k.what == CLOSURE && !offset) {
		k.type = go_types_closure(c->types, word(c, value));
		if (!k.type || !is_object(c, &k, 0, span, n, &many)) {
			*ret = (struct go_claims_type){ 0 };
			return go_claims_closure_name(c, value, ret) ? GO_CLAIMS_AGREED
			                                             : GO_CLAIMS_SILENT;
		}
		*ret = go_claims_name(c, k.type, false);
		return ret->text ? GO_CLAIMS_AGREED : GO_CLAIMS_SILENT;
	}
	/* a part of a string keeps all of it */
	if (k.what == BYTES && s->no_scan &&
	    (k.n == GO_CLAIMS_UNKNOWN || (k.n <= s->elemsize && offset <= s->elemsize - k.n))) {
		if (!c->string_data)
			c->string_data = text(c, "string data", "");
		*ret = (struct go_claims_type){ c->string_data, 0 };
		return GO_CLAIMS_AGREED;
	}
	return k.what == OBJECT || k.what == ELEMENTS ? judge_object(c, &k, offset, span, n, ret)
	                                              : GO_CLAIMS_REFUSED;
}

bool go_claims_follow(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, size_t span, uint32_t n, struct go_claims_type *ret)
{
	enum go_claims_verdict v = go_claims_judge(c, slot, at, value, span, n, ret);

	c->rejected += v == GO_CLAIMS_REFUSED;
	return v == GO_CLAIMS_AGREED;
}

bool go_claims_beside(struct go_claims *c, uint64_t at, uint64_t value, size_t span, uint32_t n,
                      struct go_claims_type *ret)
{
	struct go_types_slot slot = { .what = GO_TYPES_EFACE };

	if (!go_claims_interface(c, slot.what, at)) {
		slot.what = GO_TYPES_IFACE;
		if (!go_claims_interface(c, slot.what, at))
			return false;
	}
	return go_claims_judge(c, &slot, at, value, span, n, ret) == GO_CLAIMS_AGREED;
}

bool go_claims_target(struct go_claims *c, const struct go_types_slot *slot, uint64_t at,
                      uint64_t value, uint32_t *type, uint64_t *n)
{
	struct claim k = of_slot(c, slot, at);

	if (k.what == CLOSURE) {
		k.type = go_types_closure(c->types, word(c, value));
		k.n = 1;
	}
	*type = k.type;
	*n = k.n == GO_CLAIMS_UNKNOWN ? 1 : k.n;
	return k.type != 0 && k.what != BYTES && k.what != NOTHING;
}

void go_claims_described(struct go_claims *c, uint64_t descriptor, size_t span,
                         struct go_claims_type *ret)
{
	const struct go_objects_span *s = &c->objects->spans[span];
	uint32_t type = c->types ? go_types_of_descriptor(c->types, descriptor) : 0;
	uint64_t size = word(c, descriptor + c->objects->module->layout->type_size);
	bool many = size && class_of(size + (s->has_header ? HEADER : 0)) < s->elemsize;
	char name[NAME_BYTES];

	*ret = (struct go_claims_type){ 0 };
	/* it describes the pointers of all that is in it */
	if (descriptor >= s->start && descriptor < s->end) {
		ret->text = text(c, "", "chunk of a user arena");
		return;
	}
	if (type) {
		*ret = go_claims_name(c, type, many);
		return;
	}
	go_module_type_name(c->objects->module, descriptor, name, sizeof(name));
	if (name[0])
		ret->text = text(c, many ? "[]" : "", name);
}
