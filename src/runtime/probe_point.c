/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/probe_point.h"

#include "base/cleanup.h"
#include "runtime/code.h"

/* Offset of the first emulated instruction that finds @needed as the caller
 * left it; -1: none. Only straight-line code is looked at: whatever may branch
 * is either emulated, and so the answer, or the end. */
static long first_emulated(const struct code_function *c, unsigned needed)
{
	struct code_insn in;

	for (size_t at = 0; at < c->len; at += in.length) {
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return -1;
		if (in.emulated)
			return at;
		if (in.flow != CODE_NEXT || in.writes & needed)
			return -1;
	}
	return -1;
}

/* Does anything in the function jump behind its start, up to @at? Then one call
 * could hit a probe there more than once. */
static bool jumped_to(const struct code_function *c, uint64_t at)
{
	struct code_insn in;

	for (size_t i = 0; i < c->len; i += in.length) {
		if (!code_decode(c->bytes + i, c->len - i, c->vaddr + i, &in))
			return true;
		if (in.direct && in.flow != CODE_CALL && in.target > c->vaddr &&
		    in.target <= c->vaddr + at)
			return true;
	}
	return false;
}

int probe_point_find_for(struct elf_file *f, uint64_t vaddr, uint64_t size, unsigned arguments,
                         uint64_t *at, bool *single_stepped, struct error *err)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	long offset;
	int r = code_function_read(f, vaddr, size, &c, err);

	if (r < 0)
		return r;
	offset = first_emulated(&c, (arguments & CODE_ARGS) | CODE_SP | CODE_BP);
	/* where not all is code, a jump back cannot be ruled out */
	if (offset > 0 && (!c.whole || jumped_to(&c, offset)))
		offset = -1;
	*single_stepped = offset < 0;
	*at = vaddr + (offset < 0 ? 0 : offset);
	return 0;
}

int probe_point_find(struct elf_file *f, uint64_t vaddr, uint64_t size, uint64_t *at,
                     bool *single_stepped, struct error *err)
{
	return probe_point_find_for(f, vaddr, size, CODE_ARGS, at, single_stepped, err);
}
