/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_locals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/search.h"
#include "runtime/go/go_code.h"
#include "runtime/go/go_die.h"
#include "runtime/go/go_types_dwarf.h"

enum {
	NAME_BYTES = 512,
	MAX_DEPTH = 64,
	MAX_OPS = 64,
	MAX_VARIABLES = 1 << 24,
	MAX_TYPES = 1 << 10,
	MAX_IN_FUNCTION = 1 << 14,
	AT_GO_DICT_INDEX = 0x2906, /* 1.18+ */
};

struct unit {
	uint64_t low, high; /* as in the file, without bias */
	uint64_t entry;
};

struct go_locals {
	struct go_types *types;
	Dwarf *dwarf;
	const struct go_module *module;
	struct object_graph *texts;
	struct unit *units; /* by low */
	size_t n_units, cap_units;
	struct hash_map read_units; /* entry -> 1 */
	struct hash_map functions;  /* low pc -> DIE */
	struct hash_map by_pc;      /* -> first variable << 32 | n */
	struct go_locals_variable *variables;
	size_t n_variables, cap_variables;
	struct go_locals_piece *pieces;
	size_t n_pieces, cap_pieces;
	struct go_dictionaries_parameter *parameters;
	size_t n_parameters, cap_parameters;
	struct hash_map generics; /* entry -> the function's first parameter << 32 | n */
	Dwarf_Off low, high;      /* of the DIE that has the types of the function's parameters */
	uint32_t *seen;           /* of go_locals_types() */
	size_t n_seen, cap_seen;
	uint64_t pc; /* looked at, without bias */
	size_t first;
	struct error *err;
};

struct go_locals *go_locals_close(struct go_locals *l)
{
	if (!l)
		return NULL;
	free(l->units);
	free(l->variables);
	free(l->pieces);
	free(l->seen);
	free(l->parameters);
	hash_map_clear(&l->generics);
	hash_map_clear(&l->read_units);
	hash_map_clear(&l->functions);
	hash_map_clear(&l->by_pc);
	free(l);
	return NULL;
}

static void closep(struct go_locals **l)
{
	go_locals_close(*l);
}

/* ---- functions ---- */

static int by_low(const void *a, const void *b)
{
	const struct unit *x = a, *y = b;

	return x->low < y->low ? -1 : x->low > y->low;
}

static int read_units(struct go_locals *l)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die unit;
	uint8_t kind;

	while (dwarf_get_units(l->dwarf, cu, &cu, NULL, &kind, &unit, NULL) == 0) {
		Dwarf_Addr base, low, high;
		ptrdiff_t at = 0;

		if (kind != DW_UT_compile || !go_die_is_plain(&unit))
			continue;
		while ((at = dwarf_ranges(&unit, at, &base, &low, &high)) > 0) {
			int r = array_reserve(&l->units, &l->cap_units, l->n_units + 1, l->err);

			if (r < 0)
				return r;
			l->units[l->n_units++] = (struct unit){ low, high, dwarf_dieoffset(&unit) };
		}
	}
	if (l->n_units)
		qsort(l->units, l->n_units, sizeof(*l->units), by_low);
	return 0;
}

int go_locals_open(struct go_types *types, const struct go_module *m, struct object_graph *texts,
                   struct go_locals **ret, struct error *err)
{
	cleanup(closep) struct go_locals *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return error_oom(err);
	*l = (struct go_locals){ .types = types,
		                 .dwarf = go_types_dwarf_handle(go_types_dwarf_of(types)),
		                 .module = m,
		                 .texts = texts,
		                 .err = err };
	r = read_units(l);
	if (r == 0)
		*ret = take_ptr(l);
	return r;
}

/* All functions of the unit that has @pc become known. */
static int read_functions(struct go_locals *l, uint64_t pc)
{
	size_t behind = partition_point(l->n_units, i, l->units[i].low <= pc);
	Dwarf_Die unit, die;
	Dwarf_Addr low;
	int more, r;

	if (!behind || pc >= l->units[behind - 1].high ||
	    hash_map_get(&l->read_units, l->units[behind - 1].entry) ||
	    !dwarf_offdie(l->dwarf, l->units[behind - 1].entry, &unit))
		return 0;
	r = hash_map_put(&l->read_units, l->units[behind - 1].entry, 1, l->err);
	for (more = dwarf_child(&unit, &die); r == 0 && more == 0; more = go_die_next(&die)) {
		if (dwarf_tag(&die) == DW_TAG_subprogram && dwarf_lowpc(&die, &low) == 0)
			r = hash_map_put(&l->functions, low, dwarf_dieoffset(&die), l->err);
	}
	return r;
}

/* ---- locations ---- */

struct locating {
	struct go_locals *l;
	struct go_locals_piece now;
	int64_t constant;
	uint32_t offset;
	bool is_bad; /* something that Go does not write */
};

static void end_piece(struct locating *k, uint32_t bytes)
{
	struct go_locals *l = k->l;

	k->now.offset = k->offset;
	k->now.bytes = bytes;
	if (k->is_bad)
		k->now.where = GO_LOCALS_NOWHERE;
	if (array_reserve(&l->pieces, &l->cap_pieces, l->n_pieces + 1, l->err) < 0 ||
	    bytes > UINT32_MAX - 1 - k->offset)
		return;
	l->pieces[l->n_pieces++] = k->now;
	k->offset += bytes;
	k->now = (struct go_locals_piece){ 0 };
	k->is_bad = false;
}

static void operation(struct locating *k, uint8_t op, uint64_t n)
{
	if (op >= DW_OP_reg0 && op <= DW_OP_reg31) {
		k->now.where = GO_LOCALS_REGISTER;
		k->now.reg = op - DW_OP_reg0;
		return;
	}
	switch (op) {
	case DW_OP_fbreg:
		k->now.where = GO_LOCALS_STACK;
		k->now.cfa = (int64_t)n;
		break;
	case DW_OP_call_frame_cfa:
		k->now.where = GO_LOCALS_STACK;
		k->now.cfa = 0;
		break;
	case DW_OP_consts: k->constant = (int64_t)n; break;
	case DW_OP_plus:
		k->now.cfa = (int64_t)((uint64_t)k->now.cfa + (uint64_t)k->constant);
		break;
	case DW_OP_plus_uconst: k->now.cfa = (int64_t)((uint64_t)k->now.cfa + n); break;
	case DW_OP_regx:
		k->now.where = GO_LOCALS_REGISTER;
		k->now.reg = (uint32_t)n;
		break;
	case DW_OP_piece: end_piece(k, (uint32_t)n); break;
	default: k->is_bad = true;
	}
}

static uint64_t leb(const uint8_t **p, const uint8_t *end, bool is_signed)
{
	uint64_t v = 0;
	unsigned shift = 0;

	while (*p < end && shift < 64) {
		uint8_t b = *(*p)++;

		v |= (uint64_t)(b & 0x7f) << shift;
		shift += 7;
		if (b & 0x80)
			continue;
		if (is_signed && shift < 64 && (b & 0x40))
			v |= ~0ull << shift;
		break;
	}
	return v;
}

/* libdw takes a DW_FORM_block1, in which Go writes expressions, for a list. */
static void block(struct locating *k, const Dwarf_Block *b)
{
	const uint8_t *p = b->data, *end = p + b->length;

	for (unsigned i = 0; p < end && i < MAX_OPS && !k->is_bad; i++) {
		uint8_t op = *p++;
		uint64_t n = 0;

		if (op == DW_OP_fbreg || op == DW_OP_consts)
			n = leb(&p, end, true);
		else if (op == DW_OP_piece || op == DW_OP_plus_uconst || op == DW_OP_regx)
			n = leb(&p, end, false);
		operation(k, op, n);
	}
}

/* Adds the pieces of a variable of @bytes: 1 of a list, 0 of a plain location, -1 none. */
static int locate(struct go_locals *l, Dwarf_Die *die, uint64_t bytes)
{
	struct locating k = { .l = l };
	const size_t before = l->n_pieces;
	Dwarf_Attribute a;
	Dwarf_Block b;
	bool is_list = false;

	if (!dwarf_attr(die, DW_AT_location, &a))
		return -1;
	if (dwarf_formblock(&a, &b) == 0) {
		block(&k, &b);
	} else {
		Dwarf_Op *ops;
		size_t n;

		is_list = true;
		if (dwarf_getlocation_addr(&a, l->pc, &ops, &n, 1) != 1)
			return -1;
		for (size_t i = 0; i < n && i < MAX_OPS; i++)
			operation(&k, ops[i].atom, ops[i].number);
	}
	/* a whole one has no pieces */
	if (l->n_pieces == before && k.now.where && bytes < UINT32_MAX)
		end_piece(&k, (uint32_t)bytes);
	return l->n_pieces > before ? is_list : -1;
}

/* ---- variables ---- */

/* Typedefs .param1, ... stand in the function; of one that is inlined elsewhere, in what describes
 * it there. */
static void find_types(struct go_locals *l, Dwarf_Die *function, Dwarf_Die *ret)
{
	Dwarf_Attribute a;
	Dwarf_Die next;

	if (!dwarf_attr(function, DW_AT_abstract_origin, &a) || !dwarf_formref_die(&a, ret))
		*ret = *function;
	l->low = dwarf_dieoffset(ret);
	l->high = dwarf_siblingof(ret, &next) == 0 ? dwarf_dieoffset(&next) : UINT64_MAX;
}

/* Index + 1 of the type in the dictionary of the function, *type becomes its shape; 0: it is as it
 * is. Types of an inlined function are of another dictionary. */
static uint32_t parameter_of(const struct go_locals *l, Dwarf_Die *type)
{
	const Dwarf_Off at = dwarf_dieoffset(type);
	Dwarf_Attribute a;
	Dwarf_Word index;

	if (at < l->low || at >= l->high || dwarf_tag(type) != DW_TAG_typedef ||
	    !dwarf_attr(type, AT_GO_DICT_INDEX, &a) || dwarf_formudata(&a, &index) != 0 ||
	    index >= MAX_TYPES || !dwarf_attr(type, DW_AT_type, &a) || !dwarf_formref_die(&a, type))
		return 0;
	return (uint32_t)index + 1;
}

static int variable(struct go_locals *l, Dwarf_Die *die, const char *function, unsigned depth)
{
	const char *name = dwarf_diename(die);
	struct go_locals_variable v = { .first = (uint32_t)l->n_pieces };
	Dwarf_Attribute a;
	Dwarf_Die type;
	char label[NAME_BYTES * 2], short_name[NAME_BYTES];
	int where, r;

	if (!name || !dwarf_attr_integrate(die, DW_AT_type, &a) || !dwarf_formref_die(&a, &type) ||
	    l->n_variables - l->first >= MAX_IN_FUNCTION || l->n_variables >= MAX_VARIABLES)
		return 0;
	v.parameter = parameter_of(l, &type);
	v.type = go_types_number(l->types, GO_TYPES_DWARF, dwarf_dieoffset(&type));
	where = v.type ? locate(l, die, go_types_get(l->types, v.type)->size) : -1;
	if (where < 0)
		return 0;
	v.n = (uint32_t)(l->n_pieces - v.first);
	v.rank = depth + (where ? GO_LOCALS_RANK_LIST : 0);
	snprintf(short_name, sizeof(short_name), "%s", function);
	go_code_shorten(short_name, sizeof(short_name));
	/* "&x" is the pointer to an x that has moved to the heap */
	snprintf(label, sizeof(label), "%s.%s", short_name, name + (name[0] == '&'));
	r = object_graph_text(l->texts, label, strlen(label), &v.label, l->err);
	if (r == 0)
		r = array_reserve(&l->variables, &l->cap_variables, l->n_variables + 1, l->err);
	if (r == 0)
		l->variables[l->n_variables++] = v;
	return r;
}

static int scope(struct go_locals *l, Dwarf_Die *of, const char *function, unsigned depth)
{
	Dwarf_Die die;
	int more = dwarf_child(of, &die), r = 0;

	for (; r == 0 && more == 0; more = go_die_next(&die)) {
		const char *name;

		switch (dwarf_tag(&die)) {
		case DW_TAG_formal_parameter:
		case DW_TAG_variable: r = variable(l, &die, function, depth); break;
		case DW_TAG_lexical_block:
		case DW_TAG_inlined_subroutine:
			if (depth >= MAX_DEPTH || dwarf_haspc(&die, l->pc) != 1)
				break;
			name = dwarf_tag(&die) == DW_TAG_inlined_subroutine ? dwarf_diename(&die)
			                                                    : NULL;
			r = scope(l, &die, name ? name : function, depth + 1);
			break;
		default: break;
		}
	}
	return r;
}

int go_locals_at(struct go_locals *l, uint64_t entry, uint64_t pc,
                 const struct go_locals_variable **ret, size_t *n)
{
	uint64_t *found = hash_map_get(&l->by_pc, pc), *at;
	const char *name;
	Dwarf_Die die;
	int r = 0;

	if (!found) {
		entry -= l->module->bias;
		l->pc = pc - l->module->bias;
		l->first = l->n_variables;
		r = read_functions(l, entry);
		at = hash_map_get(&l->functions, entry);
		if (r == 0 && at && dwarf_offdie(l->dwarf, *at, &die)) {
			Dwarf_Die types;

			find_types(l, &die, &types);
			name = dwarf_diename(&die);
			r = scope(l, &die, name ? name : "?", 0);
		}
		if (r == 0)
			r = hash_map_put(&l->by_pc, pc,
			                 (uint64_t)l->first << 32 | (l->n_variables - l->first),
			                 l->err);
		found = hash_map_get(&l->by_pc, pc);
	}
	if (r < 0 || !found)
		return r;
	*ret = l->variables + (*found >> 32);
	*n = (uint32_t)*found;
	return 0;
}

int go_locals_each(struct go_locals *l, uint64_t entry,
                   int (*fn)(void *arg, const char *name, uint32_t type), void *arg)
{
	uint64_t *at;
	Dwarf_Die die, type;
	unsigned left = MAX_IN_FUNCTION;
	int more, r;

	entry -= l->module->bias;
	r = read_functions(l, entry);
	at = hash_map_get(&l->functions, entry);
	if (r < 0 || !at || !dwarf_offdie(l->dwarf, *at, &die))
		return r;
	for (more = dwarf_child(&die, &die); r == 0 && more == 0 && left--;
	     more = go_die_next(&die)) {
		const char *name = dwarf_diename(&die);
		int tag = dwarf_tag(&die);
		Dwarf_Attribute a;
		uint32_t number;

		if ((tag != DW_TAG_variable && tag != DW_TAG_formal_parameter) || !name ||
		    !dwarf_attr_integrate(&die, DW_AT_type, &a) || !dwarf_formref_die(&a, &type))
			continue;
		number = go_types_number(l->types, GO_TYPES_DWARF, dwarf_dieoffset(&type));
		r = number ? fn(arg, name, number) : 0;
	}
	return r;
}

static int note_type(struct go_locals *l, Dwarf_Die *die)
{
	Dwarf_Attribute a;
	Dwarf_Die type;
	uint32_t number;
	int r;

	if (!dwarf_attr_integrate(die, DW_AT_type, &a) || !dwarf_formref_die(&a, &type))
		return 0;
	number = go_types_number(l->types, GO_TYPES_DWARF, dwarf_dieoffset(&type));
	for (size_t i = 0; i < l->n_seen; i++) {
		if (l->seen[i] == number)
			return 0;
	}
	if (!number || l->n_seen >= MAX_TYPES)
		return 0;
	r = array_reserve(&l->seen, &l->cap_seen, l->n_seen + 1, l->err);
	if (r == 0)
		l->seen[l->n_seen++] = number;
	return r;
}

static int note_types(struct go_locals *l, Dwarf_Die *of, unsigned depth)
{
	Dwarf_Die die;
	int more = dwarf_child(of, &die), r = 0;

	for (; r == 0 && more == 0; more = go_die_next(&die)) {
		int tag = dwarf_tag(&die);

		if (tag == DW_TAG_formal_parameter || tag == DW_TAG_variable)
			r = note_type(l, &die);
		else if ((tag == DW_TAG_lexical_block || tag == DW_TAG_inlined_subroutine) &&
		         depth < MAX_DEPTH)
			r = note_types(l, &die, depth + 1);
	}
	return r;
}

int go_locals_types(struct go_locals *l, uint64_t entry, const uint32_t **ret, size_t *n)
{
	uint64_t *at;
	Dwarf_Die die;
	int r;

	l->n_seen = 0;
	entry -= l->module->bias;
	r = read_functions(l, entry);
	at = hash_map_get(&l->functions, entry);
	if (r == 0 && at && dwarf_offdie(l->dwarf, *at, &die))
		r = note_types(l, &die, 0);
	*ret = l->seen;
	*n = l->n_seen;
	return r;
}

static int read_parameters(struct go_locals *l, uint64_t entry, Dwarf_Die *types)
{
	const size_t first = l->n_parameters;
	Dwarf_Die die;
	int more = dwarf_child(types, &die), r = 0;

	for (; r == 0 && more == 0; more = go_die_next(&die)) {
		Dwarf_Die shape = die;
		uint32_t k = parameter_of(l, &shape);
		uint32_t type =
			k ? go_types_number(l->types, GO_TYPES_DWARF, dwarf_dieoffset(&shape)) : 0;

		if (!type || l->n_parameters - first >= MAX_TYPES ||
		    l->n_parameters >= MAX_VARIABLES)
			continue;
		r = array_reserve(&l->parameters, &l->cap_parameters, l->n_parameters + 1, l->err);
		if (r == 0)
			l->parameters[l->n_parameters++] =
				(struct go_dictionaries_parameter){ k - 1, type };
	}
	return r < 0 ? r
	             : hash_map_put(&l->generics, entry,
	                            (uint64_t)first << 32 | (l->n_parameters - first), l->err);
}

int go_locals_generic(struct go_locals *l, uint64_t entry, struct go_locals_generic *ret)
{
	uint64_t *at, *found;
	Dwarf_Die die, types;
	int r;

	entry -= l->module->bias;
	r = read_functions(l, entry);
	at = hash_map_get(&l->functions, entry);
	if (r < 0 || !at || !dwarf_offdie(l->dwarf, *at, &die))
		return r;
	if (!hash_map_get(&l->generics, entry)) {
		find_types(l, &die, &types);
		r = read_parameters(l, entry, &types);
	}
	found = hash_map_get(&l->generics, entry);
	if (r < 0 || !found)
		return r;
	*ret = (struct go_locals_generic){ dwarf_diename(&die), l->parameters + (*found >> 32),
		                           (uint32_t)*found };
	return ret->name && ret->n;
}

const struct go_locals_piece *go_locals_pieces(const struct go_locals *l,
                                               const struct go_locals_variable *v)
{
	return l->pieces + v->first;
}
