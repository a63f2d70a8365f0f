/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_types_dwarf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "runtime/go/go_code.h"
#include "runtime/go/go_die.h"

enum {
	NAME_BYTES = 512,
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
};

struct variable {
	uint64_t start, entry; /* entry: of its type */
	uint64_t die;
};

struct go_types_dwarf {
	const struct go_module *module;
	struct go_types *types;
	Elf *elf;
	Dwarf *dwarf;
	struct hash_map by_descriptor; /* address of an abi.Type -> offset of a DIE */
	struct hash_map chan_elem;     /* DIE of a hchan -> DIE of its elements' type */
	struct hash_map functions;     /* address of code -> DIE */
	struct variable *variables;    /* by start */
	size_t n_variables, cap_variables;
	struct error *err;
};

static void close_dwarf(void *self)
{
	struct go_types_dwarf *t = self;

	free(t->variables);
	hash_map_clear(&t->by_descriptor);
	hash_map_clear(&t->chan_elem);
	hash_map_clear(&t->functions);
	if (t->dwarf)
		dwarf_end(t->dwarf);
	if (t->elf)
		elf_end(t->elf);
	free(t);
}

static void closep(struct go_types_dwarf **t)
{
	if (*t)
		close_dwarf(*t);
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
static int note_variable(struct go_types_dwarf *t, Dwarf_Die *die)
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
		.die = dwarf_dieoffset(die),
	};
	return 0;
}

static int note_type(struct go_types_dwarf *t, Dwarf_Die *die)
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
static int note_function(struct go_types_dwarf *t, Dwarf_Die *die)
{
	Dwarf_Die child;
	Dwarf_Addr low;
	uint64_t at;
	int more = dwarf_child(die, &child);

	for (; more == 0; more = go_die_next(&child)) {
		if (dwarf_tag(&child) == DW_TAG_variable &&
		    number_of(&child, AT_GO_CLOSURE_OFFSET, &at))
			return dwarf_lowpc(die, &low) == 0
			               ? hash_map_put(&t->functions, low + t->module->bias,
			                              dwarf_dieoffset(die), t->err)
			               : 0;
	}
	return 0;
}

static int index_unit(struct go_types_dwarf *t, Dwarf_Die *unit)
{
	Dwarf_Die die;
	int more = dwarf_child(unit, &die);

	for (int r = 0; more == 0; more = go_die_next(&die)) {
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

static int read_index(struct go_types_dwarf *t)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die unit;
	uint8_t kind;
	int r = 0;

	while (r == 0 && dwarf_get_units(t->dwarf, cu, &cu, NULL, &kind, &unit, NULL) == 0) {
		if (kind == DW_UT_compile && go_die_is_plain(&unit))
			r = index_unit(t, &unit);
	}
	if (t->n_variables)
		qsort(t->variables, t->n_variables, sizeof(*t->variables), by_start);
	return r;
}

int go_types_dwarf_open(const struct go_module *m, struct go_types *types,
                        struct go_types_dwarf **ret, struct error *err)
{
	cleanup(closep) struct go_types_dwarf *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_oom(err);
	*t = (struct go_types_dwarf){ .module = m, .types = types, .err = err };
	elf_version(EV_CURRENT);
	t->elf = elf_begin(elf_file_fd(m->exe), ELF_C_READ_MMAP, NULL);
	t->dwarf = t->elf ? dwarf_begin_elf(t->elf, DWARF_C_READ, NULL) : NULL;
	if (!t->dwarf)
		return 0;
	r = read_index(t);
	if (r < 0 || !t->n_variables)
		return r;
	*ret = take_ptr(t);
	return 1;
}

Dwarf *go_types_dwarf_handle(struct go_types_dwarf *d)
{
	return d->dwarf;
}

/* ---- records ---- */

static uint32_t type_at(struct go_types_dwarf *t, Dwarf_Die *die)
{
	return go_types_number(t->types, GO_TYPES_DWARF, dwarf_dieoffset(die));
}

static uint32_t elem_of_slice(struct go_types_dwarf *t, Dwarf_Die *die)
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

static void fill_struct(struct go_types_dwarf *t, Dwarf_Die *die, uint64_t kind,
                        struct go_types_type *x)
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

static void fill_array(struct go_types_dwarf *t, Dwarf_Die *die, struct go_types_type *x)
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

/* A closure's object: the code's address, then what it captured. */
static bool read_closure(struct go_types_dwarf *t, Dwarf_Die *die, struct go_types_type *x)
{
	Dwarf_Die child, type;
	char name[NAME_BYTES];
	int more;

	x->what = GO_TYPES_CLOSURE;
	x->size = WORD;
	for (more = dwarf_child(die, &child); more == 0 && go_types_spend(t->types);
	     more = go_die_next(&child)) {
		uint64_t at, end;

		if (dwarf_tag(&child) != DW_TAG_variable ||
		    !number_of(&child, AT_GO_CLOSURE_OFFSET, &at) ||
		    !type_of(&child, DW_AT_type, &type))
			continue;
		end = at + go_types_record(t->types, type_at(t, &type))->size;
		if (at < UINT32_MAX && end > x->size)
			x->size = (end + WORD - 1) / WORD * WORD;
	}
	snprintf(name, sizeof(name), "%s", name_of(die));
	go_code_shorten(name, sizeof(name));
	return go_types_text(t->types, "func ", name, &x->name) == 0;
}

/* Does its first field, or that one's, mark it (internal/runtime/sys, NotInHeap)? A pointer to such
 * is none to the collector. */
static bool is_not_in_heap(Dwarf_Die *die)
{
	Dwarf_Die real = *die, member, type;
	uint64_t kind;

	for (int i = 0; i < MAX_DEPTH; i++) {
		size_t n = strlen(name_of(&real));

		if (n >= 10 && !strcmp(name_of(&real) + n - 10, ".NotInHeap"))
			return true;
		if (!peel(&real, &kind) || dwarf_tag(&real) != DW_TAG_structure_type ||
		    dwarf_child(&real, &member) != 0 || dwarf_tag(&member) != DW_TAG_member ||
		    !type_of(&member, DW_AT_type, &type))
			return false;
		real = type;
	}
	return false;
}

static bool read_type(void *self, uint64_t entry, struct go_types_type *x)
{
	struct go_types_dwarf *t = self;
	Dwarf_Die real, elem;
	uint64_t kind;

	if (!dwarf_offdie(t->dwarf, entry, &real))
		return false;
	if (dwarf_tag(&real) == DW_TAG_subprogram)
		return read_closure(t, &real, x);
	if (go_types_text(t->types, name_of(&real), "", &x->name) < 0 || !peel(&real, &kind))
		return false;
	number_of(&real, DW_AT_byte_size, &x->size);
	switch (dwarf_tag(&real)) {
	case DW_TAG_pointer_type:
		x->what = GO_TYPES_POINTER;
		x->size = WORD;
		/* lazily: what a pointer leads to is found out when it is followed */
		x->entry = type_of(&real, DW_AT_type, &elem) ? dwarf_dieoffset(&elem) : 0;
		if (x->entry && is_not_in_heap(&elem))
			x->what = GO_TYPES_PLAIN;
		break;
	case DW_TAG_subroutine_type:
		x->what = GO_TYPES_FUNC;
		x->size = WORD;
		break;
	case DW_TAG_structure_type:
		x->entry = dwarf_dieoffset(&real);
		fill_struct(t, &real, kind, x);
		break;
	case DW_TAG_array_type: fill_array(t, &real, x); break;
	default: break;
	}
	return true;
}

static uint32_t pointed_at(void *self, const struct go_types_type *x)
{
	return go_types_number(((struct go_types_dwarf *)self)->types, GO_TYPES_DWARF, x->entry);
}

/* ---- fields ---- */

/* How field @name of @in is shown. */
static void label_field(const char *in, const char *name, char *label, size_t size)
{
	bool slot = starts(in, "noalg.struct { key") || starts(in, "struct { key");
	bool bucket = starts(in, "bucket<");

	if ((slot && !strcmp(name, "key")) || (bucket && !strcmp(name, "keys")))
		snprintf(label, size, "[key]");
	else if ((slot && !strcmp(name, "elem")) || (bucket && !strcmp(name, "values")))
		snprintf(label, size, "[val]");
	else
		snprintf(label, size, ".%s", name);
}

static void each_captured(struct go_types_dwarf *t, Dwarf_Die *die, go_types_field_fn fn, void *arg)
{
	Dwarf_Die child, type;
	int more = dwarf_child(die, &child);

	for (; more == 0 && go_types_spend(t->types); more = go_die_next(&child)) {
		char label[GO_TYPES_LABEL_BYTES];
		struct go_types_field f = { .label = label };

		if (dwarf_tag(&child) != DW_TAG_variable ||
		    !number_of(&child, AT_GO_CLOSURE_OFFSET, &f.offset) ||
		    !type_of(&child, DW_AT_type, &type))
			continue;
		f.type = type_at(t, &type);
		snprintf(label, sizeof(label), ".%s", name_of(&child));
		if (!fn(arg, &f))
			return;
	}
}

/* Words of unsafe.Pointer whose meaning the runtime knows. */
static void know_better(struct go_types_dwarf *t, const char *in, const char *name,
                        const struct go_types_type *x, struct go_types_field *f)
{
	if (x->is_channel && !strcmp(name, "buf")) {
		f->what = GO_TYPES_CHAN_BUFFER;
		f->to = x->chan_elem;
	} else if (starts(in, "map<") && !strcmp(name, "dirPtr")) {
		f->what = GO_TYPES_MAP_DIRECTORY;
		f->to = go_types_pointed_at(t->types, f->type);
	}
}

static void each_field(void *self, const struct go_types_type *x, go_types_field_fn fn, void *arg)
{
	struct go_types_dwarf *t = self;
	Dwarf_Die die, member, type;
	int more;

	if (!dwarf_offdie(t->dwarf, x->entry, &die))
		return;
	if (x->what == GO_TYPES_CLOSURE)
		return each_captured(t, &die, fn, arg);
	for (more = dwarf_child(&die, &member); more == 0 && go_types_spend(t->types);
	     more = go_die_next(&member)) {
		char label[GO_TYPES_LABEL_BYTES];
		struct go_types_field f = { .label = label };

		if (dwarf_tag(&member) != DW_TAG_member || !type_of(&member, DW_AT_type, &type))
			continue;
		number_of(&member, DW_AT_data_member_location, &f.offset);
		if (f.offset >= x->size)
			continue;
		f.type = type_at(t, &type);
		label_field(name_of(&die), name_of(&member), label, sizeof(label));
		know_better(t, name_of(&die), name_of(&member), x, &f);
		if (!fn(arg, &f))
			return;
	}
}

const struct go_types_source go_types_dwarf_source = {
	.read = read_type,
	.pointed_at = pointed_at,
	.each_field = each_field,
	.close = close_dwarf,
};

/* ---- what is where ---- */

uint64_t go_types_dwarf_variable(struct go_types_dwarf *d, uint64_t addr, uint64_t *start)
{
	size_t behind = partition_point(d->n_variables, i, d->variables[i].start <= addr);

	if (!behind)
		return 0;
	*start = d->variables[behind - 1].start;
	return d->variables[behind - 1].entry;
}

const char *go_types_dwarf_variable_name(struct go_types_dwarf *d, uint64_t addr)
{
	size_t behind = partition_point(d->n_variables, i, d->variables[i].start <= addr);
	Dwarf_Die die;

	return behind && dwarf_offdie(d->dwarf, d->variables[behind - 1].die, &die) ? name_of(&die)
	                                                                            : "";
}

uint64_t go_types_dwarf_descriptor(struct go_types_dwarf *d, uint64_t addr)
{
	uint64_t *entry = hash_map_get(&d->by_descriptor, addr);

	return entry ? *entry : 0;
}

uint64_t go_types_dwarf_closure(struct go_types_dwarf *d, uint64_t pc)
{
	uint64_t *entry = hash_map_get(&d->functions, pc);

	return entry ? *entry : 0;
}
