/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_layout_dwarf.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "runtime/go/go_die.h"

enum { MAX_TYPEDEFS = 16, NAME_BYTES = 128 };

struct reading {
	Dwarf *dwarf;
	struct hash_map structs;   /* hash of a wanted struct's name -> its DIE */
	struct hash_map constants; /* hash of a wanted constant's name -> its value */
	struct hash_map wanted;    /* hashes of both kinds of names */
	struct error *err;
};

static void reading_clear(struct reading *r)
{
	hash_map_clear(&r->structs);
	hash_map_clear(&r->constants);
	hash_map_clear(&r->wanted);
}

/* ---- "sizeof runtime.g|runtime.g sched.sp|const runtime.x" ---- */

struct place {
	enum { FIELD, SIZE, CONSTANT } what;
	char name[NAME_BYTES]; /* of the struct, or constant */
	char path[NAME_BYTES]; /* "sched.sp" */
};

static void copy(char *to, const char *from, size_t len)
{
	if (len >= NAME_BYTES)
		len = NAME_BYTES - 1;
	memcpy(to, from, len);
	to[len] = '\0';
}

/* The first alternative of *where, which is moved behind it; false: none is left. */
static bool next_place(const char **where, struct place *ret)
{
	const char *w = *where, *space;
	size_t len = strcspn(w, "|");

	if (!len)
		return false;
	*where = w + len + (w[len] == '|');
	*ret = (struct place){ .what = FIELD };
	if (!strncmp(w, "sizeof ", 7)) {
		ret->what = SIZE;
		copy(ret->name, w + 7, len - 7);
	} else if (!strncmp(w, "const ", 6)) {
		ret->what = CONSTANT;
		copy(ret->name, w + 6, len - 6);
	} else {
		space = memchr(w, ' ', len);
		copy(ret->name, w, space ? (size_t)(space - w) : len);
		if (space)
			copy(ret->path, space + 1, (size_t)(w + len - space - 1));
	}
	return true;
}

static int note_wanted(struct reading *r)
{
	struct place p;
	int e = 0;

	for (size_t f = 0; f < go_layout_n_fields; f++) {
		const char *where = go_layout_fields[f].where;

		while (e == 0 && next_place(&where, &p))
			e = hash_map_put(&r->wanted, hash_bytes(p.name, strlen(p.name), 0), 1,
			                 r->err);
	}
	return e;
}

/* ---- the index ---- */

static int note(struct reading *r, Dwarf_Die *die)
{
	const char *name = dwarf_diename(die);
	uint64_t key = name ? hash_bytes(name, strlen(name), 0) : 0;
	Dwarf_Attribute a;
	Dwarf_Sword value;

	if (!name || !hash_map_get(&r->wanted, key))
		return 0;
	if (dwarf_tag(die) == DW_TAG_structure_type)
		return hash_map_put(&r->structs, key, dwarf_dieoffset(die), r->err);
	if (!dwarf_attr(die, DW_AT_const_value, &a) || dwarf_formsdata(&a, &value) != 0)
		return 0;
	return hash_map_put(&r->constants, key, (uint64_t)value, r->err);
}

static int read_index(struct reading *r)
{
	Dwarf_CU *cu = NULL;
	Dwarf_Die unit, die;
	uint8_t kind;
	int e = 0;

	while (e == 0 && dwarf_get_units(r->dwarf, cu, &cu, NULL, &kind, &unit, NULL) == 0) {
		bool is_plain = kind == DW_UT_compile && go_die_is_plain(&unit);
		int more = is_plain ? dwarf_child(&unit, &die) : 1;

		for (; e == 0 && more == 0; more = go_die_next(&die)) {
			if (dwarf_tag(&die) == DW_TAG_structure_type ||
			    dwarf_tag(&die) == DW_TAG_constant)
				e = note(r, &die);
		}
	}
	return e;
}

/* ---- values ---- */

/* The type of @die, behind typedefs; of an array its element's. */
static bool peel_type(Dwarf_Die *die, Dwarf_Die *ret)
{
	Dwarf_Attribute a;

	if (!dwarf_attr(die, DW_AT_type, &a) || !dwarf_formref_die(&a, ret))
		return false;
	for (int i = 0; i < MAX_TYPEDEFS; i++) {
		if (dwarf_tag(ret) != DW_TAG_typedef && dwarf_tag(ret) != DW_TAG_array_type)
			return true;
		if (!dwarf_attr(ret, DW_AT_type, &a) || !dwarf_formref_die(&a, ret))
			return false;
	}
	return false;
}

/* Member @name of @die, which becomes the member; *offset grows by where it is. */
static bool go_down(Dwarf_Die *die, const char *name, size_t len, uint64_t *offset)
{
	Dwarf_Die member;

	for (int more = dwarf_child(die, &member); more == 0; more = go_die_next(&member)) {
		const char *is = dwarf_diename(&member);
		Dwarf_Attribute a;
		Dwarf_Word at;

		if (!is || strlen(is) != len || memcmp(is, name, len) != 0 ||
		    !dwarf_attr(&member, DW_AT_data_member_location, &a) ||
		    dwarf_formudata(&a, &at) != 0)
			continue;
		*offset += at;
		*die = member;
		return true;
	}
	return false;
}

static bool offset_of(Dwarf_Die *of, const char *path, uint64_t *ret)
{
	Dwarf_Die die = *of, type;

	*ret = 0;
	for (;;) {
		size_t len = strcspn(path, ".");

		if (!go_down(&die, path, len, ret))
			return false;
		if (!path[len])
			return true;
		path += len + 1;
		if (!peel_type(&die, &type))
			return false;
		die = type;
	}
}

static bool value_of(struct reading *r, const struct place *p, uint64_t *ret)
{
	uint64_t key = hash_bytes(p->name, strlen(p->name), 0);
	uint64_t *found = hash_map_get(p->what == CONSTANT ? &r->constants : &r->structs, key);
	Dwarf_Die die;

	if (!found)
		return false;
	*ret = *found;
	if (p->what == CONSTANT)
		return true;
	if (!dwarf_offdie(r->dwarf, *found, &die))
		return false;
	if (p->what == FIELD)
		return offset_of(&die, p->path, ret);
	*ret = (uint64_t)dwarf_bytesize(&die);
	return true;
}

static uint32_t field(struct reading *r, const char *where)
{
	struct place p;
	uint64_t v;

	while (next_place(&where, &p)) {
		if (value_of(r, &p, &v))
			return v < GO_LAYOUT_NONE ? (uint32_t)v : GO_LAYOUT_NONE;
	}
	return GO_LAYOUT_NONE;
}

static int read_all(struct reading *r, unsigned minor, struct go_layout *ret)
{
	int e = note_wanted(r);

	if (e == 0)
		e = read_index(r);
	if (e < 0)
		return e;
	for (size_t f = 0; f < go_layout_n_fields; f++) {
		uint32_t v = field(r, go_layout_fields[f].where);

		memcpy((char *)ret + go_layout_fields[f].at, &v, sizeof(v));
	}
	go_layout_complete(ret, minor);
	return r->structs.n != 0;
}

int go_layout_dwarf_read(struct elf_file *elf, unsigned minor, struct go_layout *ret,
                         struct error *err)
{
	cleanup(reading_clear) struct reading r = { .err = err };
	Elf *e;
	int found = 0;

	elf_version(EV_CURRENT);
	e = elf_begin(elf_file_fd(elf), ELF_C_READ_MMAP, NULL);
	r.dwarf = e ? dwarf_begin_elf(e, DWARF_C_READ, NULL) : NULL;
	if (r.dwarf)
		found = read_all(&r, minor, ret);
	if (r.dwarf)
		dwarf_end(r.dwarf);
	if (e)
		elf_end(e);
	return found;
}
