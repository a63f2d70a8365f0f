/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What a Go program without symbols says of itself in its memory: type descriptors,
 * stacks with the function table and the stack maps. The input is a list of damages
 * (damage.h) to a whole picture.
 */

#include <stdlib.h>

#include "../unit/goimage.h"
#include "damage.h"
#include "runtime/go/go_frames.h"
#include "runtime/go/go_liveness.h"
#include "runtime/go/go_rtype.h"
#include "runtime/go/go_types.h"
#include "runtime/go/go_types_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
	TYPES = 0x2800, /* descriptors, 0x80 each */
	TYPE_BYTES = 0x80,
	NAMES = 0x2e00, /* of types and fields, 0x10 each */
	TYPES_END = 0x3000,
	STACK = 0x2000, /* the data of the picture */
	STACK_END = 0x2100,
	MAPS = GOIMAGE_GOFUNC + 0x40,
	UINT8 = 8,
};

struct kind {
	const char *name;
	uint8_t kind;
	uint64_t size, pointers;
	uint64_t elem; /* number of a type */
};

/* main.T { next *main.T; buf []uint8; any interface{} } */
static const struct kind kinds[] = {
	{ "uint8", UINT8, 1, 0, 0 },
	{ "[]uint8", GO_RTYPE_SLICE, 24, 8, 0 },
	{ "main.T", GO_RTYPE_STRUCT, 48, 48, 0 },
	{ "*main.T", GO_RTYPE_POINTER, 8, 8, 2 },
	{ "any", GO_RTYPE_INTERFACE, 16, 16, 0 },
	{ "[3]main.T", GO_RTYPE_ARRAY, 144, 144, 2 },
	{ "map[any]main.T", GO_RTYPE_MAP, 8, 8, 4 },
	{ "chan main.T", GO_RTYPE_CHAN, 8, 8, 2 },
};

static uint64_t type_at(uint64_t k)
{
	return GOIMAGE_BASE + TYPES + k * TYPE_BYTES;
}

static void put_name(uint8_t *b, unsigned k, const char *s)
{
	uint8_t *to = b + NAMES + 0x10 * k;

	to[0] = 1;
	to[1] = (uint8_t)strlen(s);
	memcpy(to + 2, s, strlen(s));
}

static void make_types(uint8_t *b, const struct go_layout *l)
{
	static const char *const fields[] = { "next", "buf", "any" };
	static const uint8_t of[] = { 3, 1, 4 };
	const uint64_t base = GOIMAGE_BASE, list = TYPES + ARRAY_SIZE(kinds) * TYPE_BYTES;

	for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
		const uint64_t at = TYPES + k * TYPE_BYTES;

		goimage_word(b, at + l->type_size, kinds[k].size);
		goimage_word(b, at + l->type_ptr_bytes, kinds[k].pointers);
		b[at + l->type_kind] = kinds[k].kind;
		goimage_half(b, at + 40, NAMES - TYPES + 0x10 * k);
		goimage_word(b, at + l->type_bytes, type_at(kinds[k].elem));
		goimage_word(b, at + l->type_bytes + 8, type_at(2));
		put_name(b, k, kinds[k].name);
	}
	goimage_word(b, TYPES + 2 * TYPE_BYTES + l->type_bytes, 0);
	goimage_slice(b, TYPES + 2 * TYPE_BYTES + GO_RTYPE_FIELDS, list, ARRAY_SIZE(fields));
	for (unsigned k = 0; k < ARRAY_SIZE(fields); k++) {
		put_name(b, ARRAY_SIZE(kinds) + k, fields[k]);
		goimage_word(b, list + 24 * k, base + NAMES + 0x10 * (ARRAY_SIZE(kinds) + k));
		goimage_word(b, list + 24 * k + 8, type_at(of[k]));
		goimage_word(b, list + 24 * k + 16, k ? 8 + 24 * (k - 1) : 0);
	}
}

/* Functions without frames, so that each word of the stack is a return address; maps of 16 bits,
 * and one object of 16 bytes whose address is taken. */
static void make_stack(uint8_t *b, const struct go_layout *l)
{
	for (unsigned k = 0; k < 2; k++) {
		const uint64_t f = GOIMAGE_FUNCTIONS + 0x10 + 0x80 * k;

		goimage_half(b, f + l->func_pcsp, 1);
		goimage_half(b, f + l->func_args, 16);
		for (unsigned i = 0; i < 3; i++)
			goimage_half(b, f + l->func_nfuncdata + 1 + 12 + 4 * i,
			             MAPS - GOIMAGE_GOFUNC + 0x10 * i);
	}
	for (unsigned i = 0; i < 2; i++) {
		goimage_half(b, MAPS + 0x10 * i, 1);
		goimage_half(b, MAPS + 0x10 * i + 4, 16);
		goimage_half(b, MAPS + 0x10 * i + 8, 0x5aa5);
	}
	goimage_word(b, MAPS + 0x20, 1);
	goimage_half(b, MAPS + 0x28, 0xfffffff0); /* -16 */
	goimage_half(b, MAPS + 0x2c, 16);
	for (unsigned at = STACK; at < STACK_END; at += 8)
		goimage_word(b, at, GOIMAGE_BASE + GOIMAGE_TEXT + (at % 16 ? 0x190 : 0x20));
}

static void read_types(const struct go_module *m)
{
	cleanup(object_graph_clear) struct object_graph texts = { 0 };
	struct go_types *t = NULL;
	struct error err;

	if (go_types_open(m, &texts, &t, &err) <= 0)
		return;
	for (uint64_t at = m->types; at < m->etypes; at += 8) {
		const uint32_t type = go_types_of_descriptor(t, at);
		const struct go_types_type *x = go_types_get(t, type);

		for (uint32_t i = 1; i < x->n_slots; i++) {
			if (x->slots[i].offset < x->slots[i - 1].offset)
				abort();
		}
		go_types_slot_at(x, 8);
		go_types_pointed_at(t, type);
	}
	go_types_close(t);
}

static void read_stack(const struct go_module *m)
{
	static const struct go_slots no_slots;
	cleanup(object_graph_clear) struct object_graph texts = { 0 };
	cleanup(go_frames_clear) struct go_frames f = { .module = m, .texts = &texts };
	cleanup(go_liveness_clear) struct go_liveness l = { 0 };
	const struct go_goroutine g = { .low = GOIMAGE_BASE + STACK,
		                        .high = GOIMAGE_BASE + STACK_END,
		                        .sp = GOIMAGE_BASE + STACK,
		                        .frame_sp = GOIMAGE_BASE + STACK,
		                        .pc = GOIMAGE_BASE + GOIMAGE_TEXT + 0x110 };
	struct error err;

	for (unsigned exact = 0; exact < 2; exact++) {
		const struct go_frames_top top = { .pc = g.pc, .sp = g.sp, .is_exact = exact };

		if (go_frames_walk(&f, &top, g.high, &err) < 0 ||
		    go_liveness_find(&l, &f, &g, &no_slots, &err) < 0)
			return;
		for (size_t i = 0; i < f.n_frames; i++) {
			if (f.frames[i].cfa <= f.frames[i].sp || f.frames[i].cfa > g.high)
				abort();
			for (uint64_t at = f.frames[i].sp; at < f.frames[i].cfa; at += 8)
				go_liveness_has(&l, i, at);
		}
	}
}

/* A program of which nothing but its memory is known. */
static struct elf_file *empty_program(void)
{
	Elf64_Ehdr e = { .e_type = ET_EXEC,
		         .e_machine = REGISTERS_MACHINE,
		         .e_version = EV_CURRENT,
		         .e_ehsize = sizeof(e),
		         .e_phentsize = sizeof(Elf64_Phdr) };
	cleanup_close int fd = memfd_create("program", MFD_CLOEXEC);
	struct elf_file *f = NULL;
	struct error err;

	memcpy(e.e_ident, ELFMAG, SELFMAG);
	e.e_ident[EI_CLASS] = ELFCLASS64;
	e.e_ident[EI_DATA] = ELFDATA2LSB;
	e.e_ident[EI_VERSION] = EV_CURRENT;
	if (fd < 0 || write(fd, &e, sizeof(e)) != sizeof(e) ||
	    elf_file_open(dup(fd), "program", &f, &err) < 0)
		abort();
	return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const versions[] = { "go1.26.8", "go1.24.13", "go1.21.13", "go1.18.10" };
	static uint8_t picture[GOIMAGE_BYTES];
	cleanup(image_closep) struct image *i = NULL;
	struct go_module m;
	struct go_layout l;
	struct error err;

	if (!size || go_layout_of(versions[data[size - 1] % 4], &l) != 1)
		return 0;
	goimage_make(picture, &l);
	make_types(picture, &l);
	make_stack(picture, &l);
	damage(picture, sizeof(picture), data, size);
	if (goimage_open(picture, sizeof(picture), &i, &err) < 0)
		return 0;
	goimage_read_module(i, &l, &m);
	m.exe = empty_program();
	m.types = GOIMAGE_BASE + TYPES;
	m.etypes = GOIMAGE_BASE + TYPES_END;
	read_types(&m);
	read_stack(&m);
	elf_file_close(m.exe);
	return 0;
}
