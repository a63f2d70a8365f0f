/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/family.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/code.h"
#include "runtime/plan.h"
#include "runtime/plt.h"
#include "runtime/probe_point.h"

enum { MAX_JUMPS_DEEP = 3, NAME_BYTES = 256 };

const struct runtime_function family_malloc[] = {
	{ "malloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "calloc", PLAN_ALLOC, 0, FAMILY_CALLOC },
	{ "realloc", PLAN_REALLOC, 0, FAMILY_REALLOC },
	{ "memalign", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "aligned_alloc", PLAN_ALLOC, 0, FAMILY_SIZE1 },
	{ "posix_memalign", PLAN_ALLOC, 0, FAMILY_POSIX_MEMALIGN },
	{ "valloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "pvalloc", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "free", PLAN_FREE, 0, FAMILY_FREE },
	{ "cfree", PLAN_FREE, 0, FAMILY_FREE },
	{ "free_sized", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "free_aligned_sized", PLAN_FREE, 0, FAMILY_FREE_SIZE2 },
	{ NULL },
};

/* Itanium C++ ABI: nw new, na new[], dl delete, da delete[]; m is size_t. Sizes
 * of throwing forms may end in std::bad_alloc, or in what a new_handler throws. */
const struct runtime_function family_cxx[] = {
	{ "_Znwm", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "_ZnwmRKSt9nothrow_t" },
	{ "_Znam", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0, "_ZnamRKSt9nothrow_t" },
	{ "_ZnwmSt11align_val_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0,
	  "_ZnwmSt11align_val_tRKSt9nothrow_t" },
	{ "_ZnamSt11align_val_t", PLAN_ALLOC, PLAN_THROWS, FAMILY_SIZE0,
	  "_ZnamSt11align_val_tRKSt9nothrow_t" },
	{ "_ZnwmRKSt9nothrow_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnamRKSt9nothrow_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnwmSt11align_val_tRKSt9nothrow_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZnamSt11align_val_tRKSt9nothrow_t", PLAN_ALLOC, 0, FAMILY_SIZE0 },
	{ "_ZdlPv", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdaPv", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdlPvRKSt9nothrow_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdaPvRKSt9nothrow_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdlPvSt11align_val_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdaPvSt11align_val_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdlPvSt11align_val_tRKSt9nothrow_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdaPvSt11align_val_tRKSt9nothrow_t", PLAN_FREE, 0, FAMILY_FREE },
	{ "_ZdlPvm", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "_ZdaPvm", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "_ZdlPvmSt11align_val_t", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ "_ZdaPvmSt11align_val_t", PLAN_FREE, 0, FAMILY_FREE_SIZED },
	{ NULL },
};

bool family_has(struct elf_file *f, const char *symbol)
{
	struct elf_symbol s;

	return !elf_file_symbol(f, ELF_ALL, symbol, &s) && s.defined;
}

/* ---- owner of the name malloc ---- */

/* malloc and __libc_malloc are one function. */
static bool is_libc_malloc(struct elf_file *f)
{
	struct elf_symbol plain, libc;

	return !elf_file_symbol(f, ELF_ALL, "malloc", &plain) &&
	       !elf_file_symbol(f, ELF_ALL, "__libc_malloc", &libc) && plain.value == libc.value;
}

enum family family_of_malloc(struct elf_file *f)
{
	if (!family_has(f, "malloc") || !family_has(f, "free"))
		return FAMILY_NONE;
	if (family_has(f, "mallocx") || family_has(f, "mallctl"))
		return FAMILY_JEMALLOC;
	/* Google's newer tcmalloc has TCMallocInternal..., gperftools tc_... */
	if (family_has(f, "tc_malloc") || family_has(f, "TCMallocInternalMalloc"))
		return FAMILY_TCMALLOC;
	if (family_has(f, "mi_malloc"))
		return FAMILY_MIMALLOC;
	/* _int_malloc: malloc/malloc.c, in the symbol table of a static program */
	if (is_libc_malloc(f) &&
	    (family_has(f, "gnu_get_libc_version") || family_has(f, "_int_malloc")))
		return FAMILY_GLIBC;
	/* musl: _dlstart is exported by its libc.so; the others are from
	 * src/malloc/mallocng/glue.h, lite_malloc.c, oldmalloc/malloc.c */
	if (family_has(f, "_dlstart") || family_has(f, "__libc_malloc_impl") ||
	    family_has(f, "__simple_malloc") || family_has(f, "__bin_chunk"))
		return FAMILY_MUSL;
	return FAMILY_OTHER;
}

/* ---- adding ---- */

static const struct runtime_probe *probe_at(const struct runtime_probes *p,
                                            const struct symbol_module *m, uint64_t vaddr)
{
	for (size_t i = 0; i < p->n_probes; i++)
		if (p->probes[i].module == m && p->probes[i].vaddr == vaddr)
			return &p->probes[i];
	return NULL;
}

static bool allocates(const struct runtime_probe *p)
{
	return p && (p->code.role == PLAN_ALLOC || p->code.role == PLAN_REALLOC);
}

/* Where the first call or jump out of the function's straight beginning goes;
 * 0: there is a branch before it, so there may be another way. */
static uint64_t first_transfer(const struct code_function *c)
{
	struct code_insn in;

	for (size_t at = 0, n = 0; at < c->len && n < c->len; n++) {
		if (!code_decode(c->bytes + at, c->len - at, c->vaddr + at, &in))
			return 0;
		if (in.flow == CODE_NEXT) {
			at += in.length;
			continue;
		}
		if (!in.direct || in.flow == CODE_BRANCH)
			return 0;
		if (in.flow == CODE_CALL || in.target < c->vaddr || in.target - c->vaddr >= c->len)
			return in.target;
		at = in.target - c->vaddr; /* a loop entered at its end */
	}
	return 0;
}

/* Does the function only pass on to one that is probed? */
static bool passes_through(const struct runtime_probes *to, struct symbol_module *m,
                           const struct elf_symbol *s)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	struct elf_file *f = symbol_module_elf(m);
	struct error ignored;
	uint64_t target;

	if (code_function_read(f, s->value, s->size, &c, &ignored) < 0)
		return false;
	target = first_transfer(&c);
	if (target && plt_contains(f, target))
		target = plt_own_function(f, target);
	return target && allocates(probe_at(to, m, code_real_start(f, target)));
}

static int add_one(struct runtime_probes *to, const struct runtime_ops *owner,
                   struct symbol_module *m, const char *prefix, const struct runtime_function *f,
                   struct error *err)
{
	char name[NAME_BYTES];
	struct runtime_function named = *f;
	struct elf_symbol s;

	snprintf(name, sizeof(name), "%s%s", prefix, f->name);
	named.name = name;
	if (f->flags & PLAN_THROWS && f->role != PLAN_FREE &&
	    !elf_file_symbol(symbol_module_elf(m), ELF_ALL, name, &s) && passes_through(to, m, &s))
		return 0;
	return runtime_add_symbol(to, owner, m, name, &named, err);
}

int family_add(struct runtime_probes *to, const struct runtime_ops *owner, struct symbol_module *m,
               const char *prefix, const struct runtime_function *list, struct error *err)
{
	/* those that throw come last: they may pass on to the others */
	for (unsigned flags = 0; flags <= PLAN_THROWS; flags += PLAN_THROWS) {
		for (const struct runtime_function *f = list; f->name; f++) {
			int r = f->flags == flags ? add_one(to, owner, m, prefix, f, err) : 0;

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* ---- wrappers ---- */

/* The probed function that @p's instruction jumps to, whatever happened before:
 * @p's code is straight up to there. NULL: none. */
static const struct runtime_probe *jumps_to(const struct runtime_probes *all,
                                            const struct runtime_probe *p, struct elf_file *f)
{
	cleanup(code_function_clear) struct code_function c = { 0 };
	uint64_t at = p->at - p->vaddr, target;
	struct code_insn in;
	struct error ignored;

	if (p->single_stepped || code_function_read(f, p->vaddr, p->size, &c, &ignored) < 0 ||
	    at >= c.len || !code_decode(c.bytes + at, c.len - at, p->at, &in) ||
	    in.flow != CODE_JUMP || !in.direct)
		return NULL;
	target = in.target;
	if (plt_contains(f, target))
		target = plt_own_function(f, target);
	return target ? probe_at(all, p->module, code_real_start(f, target)) : NULL;
}

/* Would @p's plan, at the entry of @other, be @other's? */
static bool same_plan(const struct runtime_probe *p, const struct runtime_probe *other,
                      struct elf_file *f)
{
	struct plan_code code = p->code;
	struct probe_point point;
	struct error ignored;

	if (probe_point_find_for(f, other->vaddr, other->size, plan_arguments(&code), &point,
	                         &ignored) < 0)
		return false;
	plan_move_arguments(&code, point.where);
	return point.at == other->at && code.role == other->code.role &&
	       code.flags == other->code.flags && code.n == other->code.n &&
	       code.second == other->code.second &&
	       !memcmp(code.uops, other->code.uops, code.n * sizeof(code.uops[0]));
}

static bool is_wrapper(const struct runtime_probes *all, const struct runtime_probe *p)
{
	struct elf_file *f = symbol_module_elf(p->module);
	const struct runtime_probe *other = jumps_to(all, p, f);

	return other && other != p && same_plan(p, other, f);
}

static int drop_wrappers(struct runtime_probes *to, const struct runtime_ops *owner,
                         const struct symbol_module *m, struct error *err)
{
	cleanup_free bool *drop = calloc(to->n_probes + 1, sizeof(*drop));
	size_t kept = 0;

	if (!drop)
		return error_oom(err);
	/* all are looked at before any goes: wrappers may wrap wrappers */
	for (size_t i = 0; i < to->n_probes; i++)
		drop[i] = to->probes[i].owner == owner && to->probes[i].module == m &&
		          is_wrapper(to, &to->probes[i]);
	for (size_t i = 0; i < to->n_probes; i++)
		if (!drop[i])
			to->probes[kept++] = to->probes[i];
	to->n_probes = kept;
	return 0;
}

/* ---- ranges ---- */

struct closure {
	struct runtime_probes *to;
	const struct runtime_ops *owner;
	struct symbol_module *module;
	unsigned flags;
};

static bool in_probed_function(const struct closure *c, uint64_t vaddr)
{
	for (size_t i = 0; i < c->to->n_probes; i++) {
		const struct runtime_probe *p = &c->to->probes[i];

		if (p->module == c->module &&
		    (p->vaddr == vaddr || (vaddr > p->vaddr && vaddr - p->vaddr < p->size)))
			return true;
	}
	return false;
}

static bool has_range(const struct closure *c, uint64_t vaddr)
{
	for (size_t i = 0; i < c->to->n_ranges; i++) {
		const struct runtime_range *r = &c->to->ranges[i];

		if (r->module == c->module && r->owner == c->owner && vaddr >= r->vaddr &&
		    vaddr - r->vaddr < r->size)
			return true;
	}
	return false;
}

struct covering {
	uint64_t vaddr, from, size;
};

static int covers(const struct elf_symbol *s, void *arg)
{
	struct covering *c = arg;

	if (!s->defined || s->type != STT_FUNC || c->vaddr < s->value ||
	    c->vaddr - s->value >= s->size)
		return 0;
	c->from = s->value;
	c->size = s->size;
	return 1;
}

static int follow_jumps(const struct closure *c, uint64_t vaddr, uint64_t size, int depth,
                        struct error *err);

static int add_target(const struct closure *c, uint64_t target, int depth, struct error *err)
{
	cleanup(code_function_clear) struct code_function walked = { 0 };
	struct elf_file *f = symbol_module_elf(c->module);
	struct covering s = { .vaddr = target };
	struct error ignored;
	int r;

	if (in_probed_function(c, target) || has_range(c, target) ||
	    !code_is_executable(f, target) || plt_contains(f, target))
		return 0;
	if (!elf_file_each_symbol(f, ELF_ALL, covers, &s)) {
		if (code_function_read(f, target, 0, &walked, &ignored) < 0)
			return 0;
		s.from = target;
		s.size = walked.len;
	}
	r = runtime_add_range(c->to, c->owner, c->module, s.from, s.size, c->flags, err);
	return r < 0 || !depth ? r : follow_jumps(c, s.from, s.size, depth - 1, err);
}

static int follow_jumps(const struct closure *c, uint64_t vaddr, uint64_t size, int depth,
                        struct error *err)
{
	cleanup(code_function_clear) struct code_function code = { 0 };
	struct code_insn in;
	struct error ignored;

	if (code_function_read(symbol_module_elf(c->module), vaddr, size, &code, &ignored) < 0)
		return 0;
	for (size_t at = 0; at < code.len; at += in.length) {
		int r;

		if (!code_decode(code.bytes + at, code.len - at, vaddr + at, &in))
			break;
		if (!in.direct || in.flow == CODE_CALL ||
		    (in.target >= vaddr && in.target - vaddr < code.len))
			continue;
		r = add_target(c, in.target, depth, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_ranges(struct runtime_probes *to, const struct runtime_ops *owner,
                      struct symbol_module *m, struct error *err)
{
	/* what only throwing functions reach is marked so: they come last */
	for (unsigned flags = 0; flags <= PLAN_THROWS; flags += PLAN_THROWS) {
		struct closure c = { to, owner, m, flags };

		for (size_t i = 0; i < to->n_probes; i++) {
			const struct runtime_probe *p = &to->probes[i];
			int r = 0;

			if (p->module == m && p->owner == owner && p->code.flags == flags &&
			    allocates(p))
				r = follow_jumps(&c, p->vaddr, p->size, MAX_JUMPS_DEEP, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int family_finish(struct runtime_probes *to, const struct runtime_ops *owner,
                  struct symbol_module *m, struct error *err)
{
	int r = drop_wrappers(to, owner, m, err);

	return r < 0 ? r : add_ranges(to, owner, m, err);
}

int family_detect(const struct runtime_view *v, enum family which)
{
	struct symbol_module *m;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));)
		if (family_of_malloc(symbol_module_elf(m)) == which)
			return 1;
	return 0;
}

int family_probes(const struct runtime_view *v, enum family which, const struct runtime_ops *owner,
                  const struct runtime_function *const *lists, struct runtime_probes *to,
                  struct error *err)
{
	struct symbol_module *m;
	int r = 0;

	for (size_t pos = 0; !r && (m = runtime_next_module(v, &pos));) {
		if (family_of_malloc(symbol_module_elf(m)) != which)
			continue;
		for (size_t i = 0; !r && lists[i]; i++)
			r = family_add(to, owner, m, "", lists[i], err);
		if (!r)
			r = family_finish(to, owner, m, err);
	}
	return r;
}
