/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_code.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/code.h"

enum {
	MAX_CODE_BYTES = 64 << 10,
	MAX_FUNCTIONS = 4 << 20,
	HEADER_BYTES = 12, /* version, 3 encodings, eh_frame pointer, count */
	ENTRY_BYTES = 8,
	/* DW_EH_PE_*, as every linker writes them (LSB, "DWARF Extensions") */
	ENC_UDATA4 = 0x03,
	ENC_DATAREL_SDATA4 = 0x3b,
};

void pg_code_functions_clear(struct pg_functions *f)
{
	free(f->starts);
	*f = (struct pg_functions){ 0 };
}

void pg_code_refs_clear(struct pg_refs *r)
{
	free(r->items);
	*r = (struct pg_refs){ 0 };
}

static bool eh_frame_header(const struct elf_file *elf, struct elf_segment *ret)
{
	for (size_t i = 0; i < elf_file_n_segments(elf); i++) {
		struct elf_segment s = elf_file_segment(elf, i);

		if (s.type == PT_GNU_EH_FRAME && s.filesz >= HEADER_BYTES) {
			*ret = s;
			return true;
		}
	}
	return false;
}

static int32_t le_s32(const uint8_t *p)
{
	int32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

int pg_code_functions(const struct elf_file *elf, struct pg_functions *ret, struct error *err)
{
	cleanup(pg_code_functions_clear) struct pg_functions f = { 0 };
	cleanup_free uint8_t *table = NULL;
	struct elf_segment s;
	uint8_t head[HEADER_BYTES];
	uint32_t n;
	int r;

	if (!eh_frame_header(elf, &s))
		return 0;
	r = elf_file_read(elf, s.offset, head, sizeof(head), err);
	if (r < 0)
		return r;
	memcpy(&n, head + 8, sizeof(n));
	if (head[0] != 1 || head[2] != ENC_UDATA4 || head[3] != ENC_DATAREL_SDATA4 || !n ||
	    n > MAX_FUNCTIONS || n > (s.filesz - HEADER_BYTES) / ENTRY_BYTES)
		return 0;
	table = malloc((size_t)n * ENTRY_BYTES);
	if (!table)
		return error_oom(err);
	r = elf_file_read(elf, s.offset + HEADER_BYTES, table, (size_t)n * ENTRY_BYTES, err);
	if (r < 0)
		return r;
	r = array_reserve(&f.starts, &f.cap, n, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < n; i++)
		f.starts[f.n++] = s.vaddr + (int64_t)le_s32(table + (size_t)i * ENTRY_BYTES);
	qsort(f.starts, f.n, sizeof(*f.starts), compare_u64);
	*ret = f;
	f = (struct pg_functions){ 0 };
	return 0;
}

uint64_t pg_code_function_size(const struct pg_functions *f, uint64_t start)
{
	const uint64_t *at;

	if (!f->n)
		return 0;
	at = bsearch(&start, f->starts, f->n, sizeof(start), compare_u64);
	if (!at)
		return 0;
	for (const uint64_t *next = at + 1; next < f->starts + f->n; next++)
		if (*next > start)
			return *next - start;
	return 0;
}

static int add_ref(struct pg_refs *r, uint64_t v, struct error *err)
{
	int e = array_reserve(&r->items, &r->cap, r->n + 1, err);

	if (e < 0)
		return e;
	r->items[r->n++] = v;
	return 0;
}

static int collect(const struct code_insn *in, const struct code_function *f, enum pg_ref_kind kind,
                   struct pg_refs *to, struct error *err)
{
	int r = 0;

	if (kind == PG_REF_BRANCH)
		return in->direct && in->target - f->vaddr >= f->len ? add_ref(to, in->target, err)
		                                                     : 0;
	for (size_t i = 0; i < ARRAY_SIZE(in->names) && in->names[i] && r == 0; i++)
		r = add_ref(to, in->names[i], err);
	return r;
}

int pg_code_refs(struct elf_file *elf, uint64_t vaddr, uint64_t size, enum pg_ref_kind kind,
                 struct pg_refs *ret, struct error *err)
{
	cleanup(pg_code_refs_clear) struct pg_refs refs = { 0 };
	cleanup(code_function_clear) struct code_function f = { 0 };
	struct code_insn in;
	struct error why;
	int r;

	if (elf_file_machine(elf) != EM_X86_64 || !size)
		return 0;
	r = code_function_read(elf, vaddr, size < MAX_CODE_BYTES ? size : MAX_CODE_BYTES, &f, &why);
	if (r == -ENOEXEC) /* no code there: nothing is mentioned */
		return 0;
	if (r < 0) {
		*err = why;
		return r;
	}
	for (size_t at = 0; at < f.len; at += in.length) {
		if (!code_decode(f.bytes + at, f.len - at, vaddr + at, &in)) {
			in.length = 1; /* data in code: find the next instruction */
			continue;
		}
		r = collect(&in, &f, kind, &refs, err);
		if (r < 0)
			return r;
	}
	*ret = refs;
	refs = (struct pg_refs){ 0 };
	return 0;
}
