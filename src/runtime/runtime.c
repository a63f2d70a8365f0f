/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/runtime.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "runtime/code.h"
#include "runtime/plan.h"
#include "runtime/probe_point.h"

void runtime_probes_clear(struct runtime_probes *p)
{
	free(p->probes);
	free(p->ranges);
	free(p->gaps);
	*p = (struct runtime_probes){ 0 };
}

int runtime_add_gap(struct runtime_probes *to, const char *name, const char *reason,
                    struct error *err)
{
	struct runtime_gap *g;
	int r = array_reserve(&to->gaps, &to->cap_gaps, to->n_gaps + 1, err);

	if (r < 0)
		return r;
	g = &to->gaps[to->n_gaps++];
	snprintf(g->name, sizeof(g->name), "%s", name);
	snprintf(g->reason, sizeof(g->reason), "%s", reason);
	return 0;
}

int runtime_add_range(struct runtime_probes *to, const struct runtime_ops *owner,
                      struct symbol_module *m, uint64_t vaddr, uint64_t size, unsigned flags,
                      struct error *err)
{
	int r;

	for (size_t i = 0; i < to->n_ranges; i++) {
		struct runtime_range *old = &to->ranges[i];

		if (old->module == m && old->vaddr == vaddr && old->owner == owner) {
			old->flags &= flags;
			return 0;
		}
	}
	r = array_reserve(&to->ranges, &to->cap_ranges, to->n_ranges + 1, err);
	if (r < 0)
		return r;
	to->ranges[to->n_ranges++] = (struct runtime_range){
		.module = m, .vaddr = vaddr, .size = size, .owner = owner, .flags = flags
	};
	return 0;
}

static bool is_probed(const struct runtime_probes *p, const struct symbol_module *m, uint64_t vaddr)
{
	for (size_t i = 0; i < p->n_probes; i++)
		if (p->probes[i].module == m && p->probes[i].vaddr == vaddr)
			return true;
	return false;
}

struct size_search {
	uint64_t vaddr, size;
};

static int size_at(const struct elf_symbol *s, void *arg)
{
	struct size_search *search = arg;

	if (s->defined && s->type == STT_FUNC && s->value == search->vaddr && s->size)
		search->size = s->size;
	return search->size != 0;
}

/* Size of the function that begins at @vaddr, from whatever symbol says so. */
static uint64_t function_size(struct elf_file *f, uint64_t vaddr)
{
	struct size_search search = { .vaddr = vaddr };

	elf_file_each_symbol(f, ELF_ALL, size_at, &search);
	return search.size;
}

static void cut_second(struct plan_code *c)
{
	if (c->second)
		c->n = c->second;
	c->second = 0;
}

int runtime_add_probe(struct runtime_probes *to, const struct runtime_ops *owner,
                      struct symbol_module *m, uint64_t vaddr, uint64_t size,
                      const struct runtime_function *f, struct error *err)
{
	struct runtime_probe p = { .owner = owner, .module = m };
	struct elf_file *elf = symbol_module_elf(m);
	struct probe_point point;
	struct elf_symbol quiet;
	uint64_t start, given = vaddr;
	int r;

	if (!elf)
		return error_set(err, ENOEXEC, "%s: no ELF file", symbol_module_path(m));
	start = code_real_start(elf, vaddr);
	if (start != given) {
		vaddr = start;
		size = function_size(elf, vaddr);
	}
	if (is_probed(to, m, vaddr))
		return 0;
	snprintf(p.name, sizeof(p.name), "%s", f->name);
	p.group = f->group;
	p.vaddr = vaddr;
	r = plan_compile(f->role, f->text, &p.code, err);
	if (r < 0)
		return error_context(err, "%s", f->name);
	p.code.flags = f->flags;
	p.code.asked = f->asked;
	/* what else jumps there may not have the size in the same register */
	if (start != given && f->role == PLAN_FREE && plan_arguments(&p.code) != 1)
		cut_second(&p.code);
	r = probe_point_find_for(elf, vaddr, size, plan_arguments(&p.code), &point, err);
	if (r < 0)
		return error_context(err, "%s", f->name);
	p.at = point.at;
	p.size = point.size;
	p.single_stepped = point.single_stepped;
	if (f->quiet && elf_file_symbol(elf, ELF_ALL, f->quiet, &quiet) == 0 && quiet.defined)
		p.quiet = code_real_start(elf, quiet.value);
	p.entry = p.code;
	plan_move_arguments(&p.code, point.where);
	r = array_reserve(&to->probes, &to->cap_probes, to->n_probes + 1, err);
	if (r < 0)
		return r;
	to->probes[to->n_probes++] = p;
	return 1;
}

int runtime_add_symbol(struct runtime_probes *to, const struct runtime_ops *owner,
                       struct symbol_module *m, const char *symbol,
                       const struct runtime_function *f, struct error *err)
{
	struct elf_file *elf = symbol_module_elf(m);
	struct elf_symbol s;
	struct error why;
	int r;

	if (elf && elf_file_symbol(elf, ELF_ALL, symbol, &s) < 0 &&
	    symbol_module_is_undecided(m, symbol))
		return runtime_add_gap(to, symbol, "its code is there more than once, or too short",
		                       err);
	if (!elf || elf_file_symbol(elf, ELF_ALL, symbol, &s) < 0 || s.type != STT_FUNC)
		return 0;
	r = runtime_add_probe(to, owner, m, s.value, s.size, f, &why);
	if (r == -ENOEXEC) /* it is there, but not as code that we can read */
		return runtime_add_gap(to, symbol, why.message, err);
	if (r < 0)
		*err = why;
	return r;
}

/* glibc's ld.so: defines (or defined, before 2.31) a malloc of its own, used
 * before libc's is there. */
static bool is_glibc_loader(struct elf_file *elf)
{
	const char *soname = elf_file_soname(elf);

	return soname && !strncmp(soname, "ld-linux", 8);
}

static bool seen_before(const struct symbol_space *s, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (symbol_space_at(s, k)->module == symbol_space_at(s, i)->module &&
		    !symbol_space_at(s, k)->gone)
			return true;
	return false;
}

struct symbol_module *runtime_next_module(const struct runtime_view *v, size_t *pos)
{
	while (*pos < symbol_space_n(v->space)) {
		size_t i = (*pos)++;
		const struct symbol_mapping *m = symbol_space_at(v->space, i);
		struct elf_file *elf = m->module ? symbol_module_elf(m->module) : NULL;

		if (elf && !m->gone && !is_glibc_loader(elf) && !seen_before(v->space, i))
			return m->module;
	}
	return NULL;
}

static int is_function(const struct elf_symbol *s, void *arg)
{
	return s->defined && s->type == STT_FUNC;
}

void runtime_why_none(const struct runtime_view *v, char *buf, size_t size)
{
	struct symbol_module *m, *program = NULL;
	bool named = false;

	for (size_t pos = 0; (m = runtime_next_module(v, &pos));) {
		if (symbol_module_path(m)[0] == '[') /* vdso */
			continue;
		if (!program)
			program = m;
		named |= elf_file_each_symbol(symbol_module_elf(m), ELF_ALL, is_function, NULL);
	}
	if (program && !named)
		snprintf(buf, size,
		         "%s is static and without symbols: no function in it has a name",
		         symbol_module_path(program));
	else
		snprintf(buf, size, "no module of the process defines malloc");
}

void runtime_pools_clear(struct runtime_pools *p)
{
	free(p->items);
	free(p->strings);
	*p = (struct runtime_pools){ 0 };
}
