/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * DWARF as Go's linker writes it, of a hostile program: offsets of the runtime's
 * structs, types with their pointer words, variables, locals of functions. Seeds:
 * go_dwarf_seeds.py.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/go/go_layout_dwarf.h"
#include "runtime/go/go_locals.h"
#include "runtime/go/go_types.h"
#include "runtime/go/go_types_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CODE = 0x401000, CODE_BYTES = 0x40, VARIABLES = 0x402000, MAX_ENTRIES = 2048, SECONDS = 5 };

/* Pointer words are in order; a type that is whole has them within it. */
static void check(struct go_types *t, uint32_t type)
{
	const struct go_types_type *x = go_types_get(t, type);

	for (uint32_t i = 0; i < x->n_slots; i++) {
		if (i && x->slots[i].offset < x->slots[i - 1].offset)
			abort();
		go_types_slot_at(x, x->slots[i].offset);
	}
	go_types_pointed_at(t, type);
}

static void read_types(struct go_types *t)
{
	uint64_t start;

	for (uint64_t at = VARIABLES; at < VARIABLES + 64; at += 8) {
		uint32_t type = go_types_variable(t, at, &start);

		go_types_variable_name(t, at, &start);
		if (type)
			check(t, type);
	}
	for (uint64_t entry = 1; entry < MAX_ENTRIES; entry++)
		check(t, go_types_number(t, GO_TYPES_DWARF, entry));
	go_types_closure(t, CODE);
	go_types_of_descriptor(t, CODE);
}

static void read_locals(struct go_types *t, const struct go_module *m, struct object_graph *g)
{
	struct go_locals *l = NULL;
	struct error err;

	if (!go_types_dwarf_of(t) || go_locals_open(t, m, g, &l, &err) < 0)
		return;
	for (uint64_t pc = CODE; pc < CODE + CODE_BYTES; pc += 4) {
		const struct go_locals_variable *v = NULL;
		const uint32_t *types;
		size_t n = 0;

		go_locals_types(l, CODE, &types, &n);
		n = 0;
		if (go_locals_at(l, CODE, pc, &v, &n) < 0)
			break;
		for (size_t i = 0; i < n; i++) {
			check(t, v[i].type);
			for (uint32_t k = 0; k < v[i].n; k++) {
				if (go_locals_pieces(l, &v[i])[k].where > GO_LOCALS_REGISTER)
					abort();
			}
		}
	}
	go_locals_close(l);
}

static void read_all(struct elf_file *f)
{
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	struct go_module m = { .exe = f };
	struct go_types *t = NULL;
	struct error err;

	go_layout_dwarf_read(f, 26, &m.own, &err);
	m.layout = &m.own;
	if (go_types_open(&m, &g, &t, &err) <= 0)
		return;
	read_types(t);
	read_locals(t, &m, &g);
	go_types_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	const clock_t begin = clock();
	struct error err;
	int fd = memfd_create("elf", MFD_CLOEXEC);

	if (fd < 0)
		return 0;
	if (write(fd, data, size) != (ssize_t)size) {
		close(fd);
		return 0;
	}
	if (elf_file_open(fd, "elf", &f, &err) == 0)
		read_all(f);
	if ((clock() - begin) / CLOCKS_PER_SEC >= SECONDS)
		abort();
	return 0;
}
