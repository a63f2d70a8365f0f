/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/probe_point.h"

#include "base/cleanup.h"
#include "runtime/code.h"

enum { N_ARGUMENTS = 4 };

/* Which argument (0..3) each of the four argument registers holds; -1: none. */
struct holds {
	signed char argument[N_ARGUMENTS];
};

static void step(struct holds *h, const struct code_insn *in)
{
	signed char copied = in->copy_from >= 0 ? h->argument[in->copy_from] : -1;

	for (int r = 0; r < N_ARGUMENTS; r++)
		if (in->writes & 1u << r)
			h->argument[r] = r == in->copy_to ? copied : -1;
}

/* Find each of @arguments (bits) in some register. */
static bool locate(const struct holds *h, unsigned arguments, unsigned char where[N_ARGUMENTS])
{
	for (int a = 0; a < N_ARGUMENTS; a++) {
		int r = h->argument[a] == a ? a : 0; /* where it was, if it is still there */

		where[a] = a;
		if (!(arguments & 1u << a))
			continue;
		while (r < N_ARGUMENTS && h->argument[r] != a)
			r++;
		if (r == N_ARGUMENTS)
			return false;
		where[a] = r;
	}
	return true;
}

/* Offset of the first emulated instruction that finds sp and bp as the caller
 * left them and @arguments in argument registers; -1: none. Only straight-line
 * code is looked at: whatever may branch is either emulated, and so the answer,
 * or the end. */
static long first_emulated(const struct code_function *c, unsigned arguments,
                           unsigned char where[N_ARGUMENTS])
{
	struct holds h = { { 0, 1, 2, 3 } };
	struct code_insn in;

	for (size_t at = 0; at < c->len; at += in.length) {
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return -1;
		if (in.emulated)
			return locate(&h, arguments, where) ? (long)at : -1;
		if (in.flow != CODE_NEXT || in.writes & (CODE_SP | CODE_BP))
			return -1;
		step(&h, &in);
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
                         struct probe_point *ret, struct error *err)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct probe_point p = { .where = { 0, 1, 2, 3 } };
	long offset;
	int r = code_function_read(f, vaddr, size, &c, err);

	if (r < 0)
		return r;
	offset = first_emulated(&c, arguments, p.where);
	/* where not all is code, a jump back cannot be ruled out */
	if (offset > 0 && (!c.whole || jumped_to(&c, offset)))
		offset = -1;
	if (offset < 0)
		p = (struct probe_point){ .where = { 0, 1, 2, 3 }, .single_stepped = true };
	p.at = vaddr + (offset < 0 ? 0 : offset);
	p.size = c.len;
	*ret = p;
	return 0;
}

int probe_point_find(struct elf_file *f, uint64_t vaddr, uint64_t size, uint64_t *at,
                     bool *single_stepped, struct error *err)
{
	struct probe_point p;
	int r = probe_point_find_for(f, vaddr, size, CODE_ARGS, &p, err);

	if (r < 0)
		return r;
	*at = p.at;
	*single_stepped = p.single_stepped;
	for (int a = 0; a < N_ARGUMENTS; a++) {
		if (p.where[a] != a) { /* moved, and this caller could not tell */
			*at = vaddr;
			*single_stepped = true;
		}
	}
	return 0;
}
