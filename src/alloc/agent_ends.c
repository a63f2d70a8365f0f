/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_ends.h"

#include <stddef.h>

#include "alloc/agent_place.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "runtime/plt.h"

enum { MAX_PIECES = 64 };

/* The probe of the module with file @f at @vaddr, or NULL. */
static const struct runtime_probe *probe_at(const struct tracee *t, const struct elf_file *f,
                                            uint64_t vaddr)
{
	for (size_t i = 0; vaddr && i < t->probes.n_probes; i++) {
		const struct runtime_probe *p = &t->probes.probes[i];

		if (p->vaddr == vaddr && symbol_module_elf(p->module) == f)
			return p;
	}
	return NULL;
}

/* By the PLT, libc's memset() is called, which allocates nothing, or its own malloc. */
static const struct runtime_probe *probe_of(const struct tracee *t, struct elf_file *f,
                                            uint64_t vaddr)
{
	if (plt_contains(f, vaddr))
		vaddr = plt_own_function(f, vaddr);
	return vaddr ? probe_at(t, f, code_real_start(f, vaddr)) : NULL;
}

/* ---- at once ---- */

/* The run-time address that a word of the module has now; 0: it cannot be read. */
static uint64_t word_at(const struct tracee *t, uint64_t vaddr, uint64_t bias)
{
	uint64_t to = 0;

	if (!vaddr ||
	    agent_place_read(t->target, vaddr + bias, &to, sizeof(to)) != (ssize_t)sizeof(to))
		return 0;
	return to;
}

static bool is_probed_at(const struct tracee *t, uint64_t at)
{
	uint64_t bias;

	for (size_t i = 0; i < t->probes.n_probes; i++) {
		const struct runtime_probe *p = &t->probes.probes[i];

		if (at && tracee_find_bias(t, p->module, &bias) && p->vaddr + bias == at)
			return true;
	}
	return false;
}

bool agent_ends_at_once(const struct tracee *t, struct elf_file *f, const struct code_function *c,
                        uint64_t bias)
{
	struct code_insn in;
	size_t at = 0;

	if (code_decode(c->bytes, c->len, c->vaddr, &in) && in.endbr)
		at = in.length;
	if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in) || in.flow != CODE_JUMP)
		return false;
	return in.direct ? probe_of(t, f, in.target) != NULL
	                 : is_probed_at(t, word_at(t, in.disp_at ? in.names[0] : 0, bias));
}

/* ---- somewhere ---- */

/* Pieces of code that jumps lead to. A function may be in several: its cold part lies
 * elsewhere, and jumps back. */
struct pieces {
	const struct tracee *t;
	struct elf_file *f;
	uint64_t bias;
	struct piece {
		uint64_t vaddr, size, len; /* size 0: not known; len: as it was read */
	} items[MAX_PIECES];
	size_t n;
};

static bool is_known(const struct pieces *s, uint64_t vaddr)
{
	for (size_t i = 0; i < s->n; i++) {
		if (vaddr == s->items[i].vaddr || vaddr - s->items[i].vaddr < s->items[i].len)
			return true;
	}
	return false;
}

/* Another module's function, by the linker's stub at @vaddr. */
static bool ends_elsewhere(const struct pieces *s, uint64_t vaddr)
{
	const uint64_t to = word_at(s->t, plt_slot(s->f, vaddr), s->bias);

	/* not filled so far: it leads back into the stubs */
	return !to || plt_contains(s->f, to - s->bias) || is_probed_at(s->t, to);
}

/* Does a jump to @target end the search with a yes? Else it is noted, if it is new. */
static bool ends_by(struct pieces *s, uint64_t target)
{
	if (plt_contains(s->f, target)) {
		const uint64_t own = plt_own_function(s->f, target);

		if (!own)
			return ends_elsewhere(s, target);
		target = own;
	}
	if (is_known(s, target))
		return false;
	if (probe_of(s->t, s->f, target) || s->n == MAX_PIECES)
		return true;
	s->items[s->n++] = (struct piece){ .vaddr = target };
	return false;
}

static bool piece_ends(struct pieces *s, size_t i)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct piece *p = &s->items[i];
	struct error unused;
	struct code_insn in;

	if (code_function_read(s->f, p->vaddr, p->size, &c, &unused) < 0 || !c.whole)
		return true;
	p->len = c.len;
	for (size_t at = 0; at < c.len; at += in.length) {
		if (!code_decode(c.bytes + at, c.len - at, c.vaddr + at, &in))
			return true;
		if (in.flow == CODE_JUMP && !in.direct)
			return true;
		if ((in.flow == CODE_JUMP || in.flow == CODE_BRANCH) && in.direct &&
		    ends_by(s, in.target))
			return true;
	}
	return false;
}

bool agent_ends_in_another(const struct tracee *t, struct elf_file *f, uint64_t vaddr,
                           uint64_t size, uint64_t bias)
{
	struct pieces s = { .t = t, .f = f, .bias = bias };

	s.items[s.n++] = (struct piece){ .vaddr = vaddr, .size = size };
	for (size_t i = 0; i < s.n; i++) {
		if (piece_ends(&s, i))
			return true;
	}
	return false;
}

bool agent_ends_straight(const struct tracee *t, struct elf_file *f, uint64_t vaddr)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct error unused;
	struct code_insn in;

	if (code_function_read(f, vaddr, 0, &c, &unused) < 0)
		return false;
	for (size_t at = 0; at < c.len; at += in.length) {
		if (!code_decode(c.bytes + at, c.len - at, c.vaddr + at, &in))
			return false;
		if (in.flow == CODE_JUMP)
			return in.direct && probe_of(t, f, in.target);
		if (in.flow != CODE_NEXT)
			return false;
	}
	return false;
}

const struct runtime_probe *agent_ends_calls(const struct tracee *t, struct elf_file *f,
                                             uint64_t vaddr, uint64_t size, enum plan_role role)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct error unused;
	struct code_insn in;

	if (code_function_read(f, vaddr, size, &c, &unused) < 0)
		return NULL;
	for (size_t at = 0; at < c.len; at += in.length) {
		const struct runtime_probe *p;

		if (!code_decode(c.bytes + at, c.len - at, c.vaddr + at, &in))
			return NULL;
		if (!in.direct || (in.flow != CODE_JUMP && in.flow != CODE_CALL))
			continue;
		p = probe_of(t, f, in.target);
		if (p && p->vaddr != vaddr && p->code.role == role)
			return p;
	}
	return NULL;
}
