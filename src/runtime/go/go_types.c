/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_types.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"

enum {
	/* cmd/internal/dwarf/dwarf.go */
	AT_GO_KIND = 0x2900,
	AT_GO_ELEM = 0x2902,
	AT_GO_RUNTIME_TYPE = 0x2904,
	AT_GO_CLOSURE_OFFSET = 0x2907, /* 1.23+ */
	KIND_CHAN = 18,
	KIND_INTERFACE = 20,
	KIND_SLICE = 23,
	KIND_STRING = 24,
	WORD = 8,
	MAX_DEPTH = 16,
	MAX_SLOTS = 4096,
	MAX_TYPES = 1 << 22,
	LABEL_BYTES = 256,
};

struct variable {
	uint64_t start, entry;
};

struct go_types {
	const struct go_module *module;
	struct object_graph *texts;
	Elf *elf;
	Dwarf *dwarf;
	struct go_types_type *types; /* [0] is none */
	size_t n_types, cap_types;
	struct hash_map by_entry;      /* offset of a DIE -> type */
	struct hash_map by_descriptor; /* address of an abi.Type -> offset of a DIE */
	struct hash_map chan_elem;     /* DIE of a hchan -> DIE of its elements' type */
	struct hash_map functions;     /* address of code -> DIE */
	struct variable *variables;    /* by start */
	size_t n_variables, cap_variables;
	struct error *err;
	int depth; /* of types within types */
};

struct go_types *go_types_close(struct go_types *t)
{
	if (!t)
		return NULL;
	for (size_t i = 0; i < t->n_types; i++)
		free(t->types[i].slots);
	free(t->types);
	free(t->variables);
	hash_map_clear(&t->by_entry);
	hash_map_clear(&t->by_descriptor);
	hash_map_clear(&t->chan_elem);
	hash_map_clear(&t->functions);
	if (t->dwarf)
		dwarf_end(t->dwarf);
	if (t->elf)
		elf_end(t->elf);
	free(t);
	return NULL;
}

static void closep(struct go_types **t)
{
	go_types_close(*t);
}

/* ---- entries ---- */

static bool number_of(Dwarf_Die *die, unsigned name, uint64_t *ret)
{
	Dwarf_Attribute a;
	Dwarf_Word v;
	Dwarf_Addr addr;

	if (!dwarf_attr(die, name, &a))
		return false;
	if (dwarf_whatform(&a) == DW_FORM_addr || dwarf_whatform(&a) == DW_FORM_addrx) {
		if (dwarf_formaddr(&a, &addr) != 0)
			return false;
		*ret = addr;
		return true;
	}
	if (dwarf_formudata(&a, &v) != 0)
		return false;
	*ret = v;
	return true;
}

static bool type_of(Dwarf_Die *die, unsigned name, Dwarf_Die *ret)
{
	Dwarf_Attribute a;

	return dwarf_attr(die, name, &a) && dwarf_formref_die(&a, ret);
}

static const char *name_of(Dwarf_Die *die)
{
	const char *name = dwarf_diename(die);

	return name ? name : "";
}

/* Behind typedefs; the first kind on the way. False: too many of them. */
static bool peel(Dwarf_Die *die, uint64_t *kind)
{
	*kind = 0;
	for (int i = 0; i < MAX_DEPTH; i++) {
		uint64_t k = 0;

		if (!*kind && number_of(die, AT_GO_KIND, &k))
			*kind = k;
		if (dwarf_tag(die) != DW_TAG_typedef)
			return true;
		if (!type_of(die, DW_AT_type, die))
			return false;
	}
	return false;
}

/* ---- the index: variables, descriptors, channels ---- */

/* Go writes expressions as DW_FORM_block1 whatever the version of DWARF; libdw's
 * dwarf_getlocation() takes those for lists from version 4 on. */
static int note_variable(struct go_types *t, Dwarf_Die *die)
{
	Dwarf_Attribute a;
	Dwarf_Block block;
	Dwarf_Die type;
	uint64_t addr;
	int r;

	if (!dwarf_attr(die, DW_AT_location, &a) || dwarf_formblock(&a, &block) != 0 ||
	    block.length != 1 + sizeof(addr) || block.data[0] != DW_OP_addr ||
	    !type_of(die, DW_AT_type, &type))
		return 0;
	memcpy(&addr, block.data + 1, sizeof(addr));
	r = array_reserve(&t->variables, &t->cap_variables, t->n_variables + 1, t->err);
	if (r < 0)
		return r;
	t->variables[t->n_variables++] = (struct variable){
		.start = addr + t->module->bias,
		.entry = dwarf_dieoffset(&type),
	};
	return 0;
}

static int note_type(struct go_types *t, Dwarf_Die *die)
{
	const struct go_module *m = t->module;
	uint64_t at, kind;
	Dwarf_Die elem, hchan = *die;
	int r = 0;

	if (number_of(die, AT_GO_RUNTIME_TYPE, &at) && at) {
		/* an address, or (newer) an offset from moduledata.types */
		at += at < m->types - m->bias ? m->types : m->bias;
		if (!hash_map_get(&t->by_descriptor, at))
			r = hash_map_put(&t->by_descriptor, at, dwarf_dieoffset(die), t->err);
	}
	if (r < 0 || dwarf_tag(die) != DW_TAG_typedef || !number_of(die, AT_GO_KIND, &kind) ||
	    kind != KIND_CHAN || !type_of(die, AT_GO_ELEM, &elem))
		return r;
	/* chan T is a typedef of *hchan<T> */
	if (peel(&hchan, &kind) && dwarf_tag(&hchan) == DW_TAG_pointer_type &&
	    type_of(&hchan, DW_AT_type, &hchan) && peel(&hchan, &kind))
		r = hash_map_put(&t->chan_elem, dwarf_dieoffset(&hchan), dwarf_dieoffset(&elem),
		                 t->err);
	return r;
}

/* Functions that capture something: the linker puts captured variables first. */
static int note_function(struct go_types *t, Dwarf_Die *die)
{
	Dwarf_Die child;
	Dwarf_Addr low;
	uint64_t at;
	int more = dwarf_child(die, &child);

	for (; more == 0; more = dwarf_siblingof(&child, &child)) {
		if (dwarf_tag(&child) == DW_TAG_variable &&
		    number_of(&child, AT_GO_CLOSURE_OFFSET, &at))
			return dwarf_lowpc(die, &low) == 0
			               ? hash_map_put(&t->functions, low + t->module->bias,
			                              dwarf_dieoffset(die), t->err)
			               : 0;
	}
	return 0;
}

static int index_unit(struct go_types *t, Dwarf_Die *unit)
{
	Dwarf_Die die;
	int more = dwarf_child(unit, &die);

	for (int r = 0; more == 0; more = dwarf_siblingof(&die, &die)) {
		switch (dwarf_tag(&die)) {
		case DW_TAG_variable: r = note_variable(t, &die); break;
		case DW_TAG_subprogram: r = note_function(t, &die); break;
		case DW_TAG_typedef:
		case DW_TAG_structure_type:
		case DW_TAG_pointer_type:
		case DW_TAG_array_type:
		case DW_TAG_base_type:
		case DW_TAG_subroutine_type: r = note_type(t, &die); break;
		default: break;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct variable *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int read_index(struct go_types *t)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die unit;
	uint8_t kind;
	int r = 0;

	while (r == 0 && dwarf_get_units(t->dwarf, cu, &cu, NULL, &kind, &unit, NULL) == 0) {
		if (kind == DW_UT_compile)
			r = index_unit(t, &unit);
	}
	if (t->n_variables)
		qsort(t->variables, t->n_variables, sizeof(*t->variables), by_start);
	return r;
}

int go_types_open(const struct go_module *m, struct object_graph *texts, struct go_types **ret,
                  struct error *err)
{
	cleanup(closep) struct go_types *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	*t = (struct go_types){ .module = m, .texts = texts, .err = err };
	elf_version(EV_CURRENT);
	t->elf = elf_begin(elf_file_fd(m->exe), ELF_C_READ_MMAP, NULL);
	t->dwarf = t->elf ? dwarf_begin_elf(t->elf, DWARF_C_READ, NULL) : NULL;
	if (!t->dwarf)
		return 0;
	r = array_reserve(&t->types, &t->cap_types, 1, err);
	if (r == 0) {
		t->types[t->n_types++] = (struct go_types_type){ .is_flat = true };
		r = read_index(t);
	}
	if (r < 0 || !t->n_variables)
		return r;
	*ret = take_ptr(t);
	return 1;
}

/* ---- types ---- */

static uint32_t type_at(struct go_types *t, Dwarf_Die *die);

static uint32_t elem_of_slice(struct go_types *t, Dwarf_Die *die)
{
	Dwarf_Die member, pointer, elem;
	uint64_t kind;

	if (dwarf_child(die, &member) == 0 && type_of(&member, DW_AT_type, &pointer) &&
	    peel(&pointer, &kind) && type_of(&pointer, DW_AT_type, &elem))
		return type_at(t, &elem);
	return 0;
}

static bool starts(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

static void fill_struct(struct go_types *t, Dwarf_Die *die, uint64_t kind, struct go_types_type *x)
{
	const char *name = name_of(die);
	uint64_t *elem = hash_map_get(&t->chan_elem, dwarf_dieoffset(die));
	Dwarf_Die of;

	x->what = GO_TYPES_STRUCT;
	if (kind == KIND_STRING)
		x->what = GO_TYPES_STRING;
	else if (kind == KIND_INTERFACE)
		x->what = !strcmp(name, "runtime.eface") ? GO_TYPES_EFACE : GO_TYPES_IFACE;
	else if (kind == KIND_SLICE)
		x->what = GO_TYPES_SLICE;
	x->repeats = starts(name, "bucket<") || starts(name, "noalg.map.group[") ||
	             starts(name, "map.group[");
	x->is_channel = starts(name, "hchan<");
	if (x->is_channel && elem && dwarf_offdie(t->dwarf, *elem, &of))
		x->chan_elem = type_at(t, &of);
	if (x->what == GO_TYPES_SLICE)
		x->elem = elem_of_slice(t, die);
}

static void fill_array(struct go_types *t, Dwarf_Die *die, struct go_types_type *x)
{
	Dwarf_Die elem, range;
	uint64_t n = 0, count;

	x->what = GO_TYPES_ARRAY;
	if (!type_of(die, DW_AT_type, &elem))
		return;
	x->elem = type_at(t, &elem);
	if (dwarf_child(die, &range) == 0 &&
	    (number_of(&range, DW_AT_count, &n) ||
	     (number_of(&range, DW_AT_upper_bound, &count) && (n = count + 1))))
		x->count = n;
}

/* Its number, made when it is met first; 0: none, or the limit. The record is
 * filled behind the number, for types go round in circles. */
static uint32_t type_at(struct go_types *t, Dwarf_Die *die)
{
	uint64_t entry = dwarf_dieoffset(die), *found = hash_map_get(&t->by_entry, entry);
	struct go_types_type x = { .entry = entry };
	const char *name = name_of(die);
	uint32_t id = (uint32_t)t->n_types;
	uint64_t kind;
	Dwarf_Die real = *die, elem;

	if (found)
		return (uint32_t)*found;
	if (id >= MAX_TYPES || t->depth > MAX_DEPTH || !peel(&real, &kind) ||
	    array_reserve(&t->types, &t->cap_types, t->n_types + 1, t->err) < 0 ||
	    hash_map_put(&t->by_entry, entry, id, t->err) < 0 ||
	    object_graph_text(t->texts, name, strlen(name), &x.name, t->err) < 0)
		return 0;
	t->types[t->n_types++] = x;
	number_of(&real, DW_AT_byte_size, &x.size);
	t->depth++;
	switch (dwarf_tag(&real)) {
	case DW_TAG_pointer_type:
		x.what = GO_TYPES_POINTER;
		x.size = WORD;
		/* lazily: what a pointer leads to is found out when it is followed */
		if (type_of(&real, DW_AT_type, &elem))
			x.entry = dwarf_dieoffset(&elem);
		else
			x.entry = 0;
		break;
	case DW_TAG_subroutine_type:
		x.what = GO_TYPES_FUNC;
		x.size = WORD;
		break;
	case DW_TAG_structure_type:
		x.entry = dwarf_dieoffset(&real);
		fill_struct(t, &real, kind, &x);
		break;
	case DW_TAG_array_type: fill_array(t, &real, &x); break;
	default: break;
	}
	t->depth--;
	t->types[id] = x;
	return id;
}

/* ---- pointer words ---- */

struct flattening {
	struct go_types *t;
	struct go_types_slot *slots;
	size_t n, cap;
	bool is_cut;
	char label[LABEL_BYTES];
};

static int text(struct go_types *t, const char *a, const char *b, uint32_t *ret)
{
	char buf[LABEL_BYTES + 8];

	snprintf(buf, sizeof(buf), "%s%s", a, b);
	return object_graph_text(t->texts, buf, strlen(buf), ret, t->err);
}

/* Maps are shown as maps: "[key].name", not ".slots[].key.name". */
static const char *without_insides(const char *label)
{
	const char *key = strstr(label, "[key]"), *val = strstr(label, "[val]");

	return key ? key : val ? val : label;
}

static void add_slot(struct flattening *f, uint64_t offset, enum go_types_what what, uint32_t to)
{
	struct go_types_slot s = { .offset = (uint32_t)offset, .to = to, .what = what };
	const char *label = without_insides(f->label);

	if (f->n >= MAX_SLOTS || array_reserve(&f->slots, &f->cap, f->n + 1, f->t->err) < 0 ||
	    text(f->t, label[0] ? label : "(*)", "", &s.label) < 0 ||
	    text(f->t, starts(label, "[key]") || starts(label, "[val]") ? "" : "[]", label,
	         &s.many) < 0) {
		f->is_cut = true;
		return;
	}
	f->slots[f->n++] = s;
}

static void flatten(struct flattening *f, uint32_t type, uint64_t offset, int depth);
static uint32_t pointed_at(struct go_types *t, uint32_t type);

static void append(struct flattening *f, const char *dot, const char *name)
{
	size_t len = strlen(f->label);

	snprintf(f->label + len, sizeof(f->label) - len, "%s%s", dot, name);
}

/* How field @name of @in is shown. */
static void append_field(struct flattening *f, const char *in, const char *name)
{
	if (starts(in, "noalg.struct { key") || starts(in, "struct { key")) {
		if (!strcmp(name, "key") || !strcmp(name, "elem"))
			return append(f, "", name[0] == 'k' ? "[key]" : "[val]");
	} else if (starts(in, "bucket<")) {
		if (!strcmp(name, "keys") || !strcmp(name, "values"))
			return append(f, "", name[0] == 'k' ? "[key]" : "[val]");
	}
	append(f, ".", name);
}

/* A closure object: the code's address, then what it captured. */
static void flatten_closure(struct flattening *f, const struct go_types_type *x)
{
	Dwarf_Die die, child, type;
	int more = dwarf_offdie(f->t->dwarf, x->entry, &die) ? dwarf_child(&die, &child) : 1;

	for (; more == 0 && !f->is_cut; more = dwarf_siblingof(&child, &child)) {
		uint64_t at;

		if (dwarf_tag(&child) != DW_TAG_variable ||
		    !number_of(&child, AT_GO_CLOSURE_OFFSET, &at) || at >= x->size ||
		    !type_of(&child, DW_AT_type, &type))
			continue;
		append(f, ".", name_of(&child));
		flatten(f, type_at(f->t, &type), at, 1);
		f->label[0] = '\0';
	}
}

static void flatten_struct(struct flattening *f, const struct go_types_type *x, uint64_t offset,
                           int depth)
{
	Dwarf_Die die, member, type;
	size_t len = strlen(f->label);
	int more;

	if (!dwarf_offdie(f->t->dwarf, x->entry, &die))
		return;
	for (more = dwarf_child(&die, &member); more == 0 && !f->is_cut;
	     more = dwarf_siblingof(&member, &member)) {
		uint64_t at = 0;

		if (dwarf_tag(&member) != DW_TAG_member || !type_of(&member, DW_AT_type, &type))
			continue;
		number_of(&member, DW_AT_data_member_location, &at);
		if (at >= x->size)
			continue;
		append_field(f, name_of(&die), name_of(&member));
		if (x->is_channel && !strcmp(name_of(&member), "buf"))
			add_slot(f, offset + at, GO_TYPES_CHAN_BUFFER, x->chan_elem);
		else if (starts(name_of(&die), "map<") && !strcmp(name_of(&member), "dirPtr"))
			add_slot(f, offset + at, GO_TYPES_MAP_DIRECTORY,
			         pointed_at(f->t, type_at(f->t, &type)));
		else
			flatten(f, type_at(f->t, &type), offset + at, depth + 1);
		f->label[len] = '\0';
	}
}

static void flatten_array(struct flattening *f, const struct go_types_type *x, uint64_t offset,
                          int depth)
{
	uint64_t size = f->t->types[x->elem].size;
	size_t len = strlen(f->label);

	/* the arrays of a map's bucket are its keys and values, not arrays to the reader */
	if (len < 5 || (strcmp(f->label + len - 5, "[key]") && strcmp(f->label + len - 5, "[val]")))
		append(f, "", "[]");
	for (uint64_t i = 0; i < x->count && size && !f->is_cut; i++) {
		size_t before = f->n;

		flatten(f, x->elem, offset + i * size, depth + 1);
		if (f->n == before)
			break;
	}
	f->label[len] = '\0';
}

static uint32_t pointed_at(struct go_types *t, uint32_t type)
{
	Dwarf_Die die;

	if (t->types[type].elem || !t->types[type].entry ||
	    !dwarf_offdie(t->dwarf, t->types[type].entry, &die))
		return t->types[type].elem;
	uint32_t elem = type_at(t, &die);

	t->types[type].elem = elem;
	return elem;
}

static void flatten(struct flattening *f, uint32_t type, uint64_t offset, int depth)
{
	const struct go_types_type x = f->t->types[type]; /* a copy: the array may move */

	if (depth > MAX_DEPTH || offset > UINT32_MAX - WORD) {
		f->is_cut = true;
		return;
	}
	switch (x.what) {
	case GO_TYPES_PLAIN:
	case GO_TYPES_CHAN_BUFFER:
	case GO_TYPES_MAP_DIRECTORY: return;
	case GO_TYPES_POINTER: return add_slot(f, offset, x.what, pointed_at(f->t, type));
	case GO_TYPES_SLICE: return add_slot(f, offset, x.what, x.elem);
	case GO_TYPES_STRING:
	case GO_TYPES_FUNC: return add_slot(f, offset, x.what, 0);
	case GO_TYPES_EFACE:
	case GO_TYPES_IFACE: return add_slot(f, offset + WORD, x.what, 0);
	case GO_TYPES_CLOSURE: return flatten_closure(f, &x);
	case GO_TYPES_ARRAY: return flatten_array(f, &x, offset, depth);
	case GO_TYPES_STRUCT: return flatten_struct(f, &x, offset, depth);
	}
}

static int by_offset(const void *a, const void *b)
{
	const struct go_types_slot *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

const struct go_types_type *go_types_get(struct go_types *t, uint32_t type)
{
	struct flattening f = { .t = t };
	struct go_types_type *x;

	if (type >= t->n_types)
		type = 0;
	if (t->types[type].is_flat)
		return &t->types[type];
	flatten(&f, type, 0, 0);
	if (f.n)
		qsort(f.slots, f.n, sizeof(*f.slots), by_offset);
	x = &t->types[type];
	x->slots = f.slots;
	x->n_slots = (uint32_t)f.n;
	x->is_whole = !f.is_cut;
	x->is_flat = true;
	if (x->what == GO_TYPES_ARRAY && !x->size)
		x->size = x->count * t->types[x->elem].size;
	return x;
}

const struct go_types_slot *go_types_slot_at(const struct go_types_type *t, uint64_t offset)
{
	size_t at = partition_point(t->n_slots, i, t->slots[i].offset < offset);

	return at < t->n_slots && t->slots[at].offset == offset ? &t->slots[at] : NULL;
}

uint32_t go_types_variable(struct go_types *t, uint64_t addr, uint64_t *start)
{
	size_t behind = partition_point(t->n_variables, i, t->variables[i].start <= addr);
	uint32_t type;
	Dwarf_Die die;

	if (!behind || !dwarf_offdie(t->dwarf, t->variables[behind - 1].entry, &die))
		return 0;
	type = type_at(t, &die);
	*start = t->variables[behind - 1].start;
	return addr - *start < go_types_get(t, type)->size ? type : 0;
}

uint32_t go_types_of_descriptor(struct go_types *t, uint64_t addr)
{
	uint64_t *entry = hash_map_get(&t->by_descriptor, addr);
	Dwarf_Die die;

	return entry && dwarf_offdie(t->dwarf, *entry, &die) ? type_at(t, &die) : 0;
}

uint32_t go_types_closure(struct go_types *t, uint64_t pc)
{
	uint64_t *entry = hash_map_get(&t->functions, pc), *found, at;
	struct go_types_type x = { .what = GO_TYPES_CLOSURE, .size = WORD };
	Dwarf_Die die, child, type;
	char name[LABEL_BYTES];
	int more;

	if (!entry || !dwarf_offdie(t->dwarf, *entry, &die))
		return 0;
	found = hash_map_get(&t->by_entry, *entry);
	if (found)
		return (uint32_t)*found;
	x.entry = *entry;
	for (more = dwarf_child(&die, &child); more == 0; more = dwarf_siblingof(&child, &child)) {
		if (dwarf_tag(&child) == DW_TAG_variable &&
		    number_of(&child, AT_GO_CLOSURE_OFFSET, &at) &&
		    type_of(&child, DW_AT_type, &type)) {
			uint64_t end = at + t->types[type_at(t, &type)].size;

			if (at < UINT32_MAX && end > x.size)
				x.size = (end + WORD - 1) / WORD * WORD;
		}
	}
	snprintf(name, sizeof(name), "func %s", name_of(&die));
	if (t->n_types >= MAX_TYPES || text(t, name, "", &x.name) < 0 ||
	    array_reserve(&t->types, &t->cap_types, t->n_types + 1, t->err) < 0 ||
	    hash_map_put(&t->by_entry, *entry, t->n_types, t->err) < 0)
		return 0;
	t->types[t->n_types] = x;
	return (uint32_t)t->n_types++;
}
