/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/tracee_probes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

static bool is_in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = list; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
		if (strcspn(p, ",") == len && !strncmp(p, name, len))
			return true;
	}
	return false;
}

int tracee_probes_check_list(const char *list, struct error *err)
{
	char name[64];

	if (!list[0]) {
		error_set(err, EINVAL, "--allocator: an empty list");
		return error_hint(err, "leave it out to have the allocators found");
	}
	for (const char *p = list; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
		const struct runtime_ops *ops;

		snprintf(name, sizeof(name), "%.*s", (int)strcspn(p, ","), p);
		ops = registry_find(name);
		if (!ops || !ops->alloc_probes) {
			error_set(err, EINVAL, "no allocator '%s'", name);
			return error_hint(err, "see `memwho alloc --help` for the list");
		}
	}
	return 0;
}

/* Go's heap is not malloc's: what malloc holds in it says nothing. Every Go
 * program since 1.13 has this section (cmd/link/internal/ld/data.go). */
static bool is_go(const struct tracee *t)
{
	struct elf_section ignored;
	size_t pos = 0;
	struct runtime_view view = { t->target, t->space };
	struct symbol_module *m = runtime_next_module(&view, &pos);

	for (; m; m = runtime_next_module(&view, &pos)) {
		struct elf_file *elf = symbol_module_elf(m);

		if (elf && !strcmp(symbol_module_path(m), t->target->exe) &&
		    elf_file_section(elf, ".go.buildinfo", &ignored))
			return true;
	}
	return false;
}

static int refuse_go(struct error *err)
{
	error_set(err, ENOTSUP, "this is a Go program: its heap is not malloc's");
	return error_hint(err, "without --engine its own heap profile is read; --allocator libc "
	                       "records what its C code allocates");
}

static bool has_runtime(const struct tracee *t, const struct runtime_ops *ops)
{
	for (size_t i = 0; i < t->n_runtimes; i++) {
		if (t->runtimes[i] == ops)
			return true;
	}
	return false;
}

/* Remember @ops as one of the process's, if it is wanted and there. */
static int add_runtime(struct tracee *t, const struct runtime_ops *ops, struct error *err)
{
	struct runtime_view view = { t->target, t->space };
	int r;

	if (!ops->detect || !ops->alloc_probes || t->n_runtimes == TRACEE_MAX_RUNTIMES ||
	    has_runtime(t, ops) || (ops->only_by_name && !t->allocators) ||
	    (t->allocators && !is_in_list(t->allocators, ops->name)))
		return 0;
	r = ops->detect(&view, err);
	if (r > 0)
		t->runtimes[t->n_runtimes++] = ops;
	return r < 0 ? r : 0;
}

/* Contexts first: the kind of process and the names are theirs. malloc's blocks
 * under a context are internal to it by its ranges, so that all allocators of a
 * process can be recorded together without counting a byte twice. */
static int find_runtimes(struct tracee *t, struct error *err)
{
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; registry_runtimes[i]; i++) {
			const struct runtime_ops *ops = registry_runtimes[i];
			int r = ops->has_contexts == (pass == 0) ? add_runtime(t, ops, err) : 0;

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int ask_runtimes(const struct tracee *t, struct runtime_probes *to, struct error *err)
{
	struct runtime_view view = { t->target, t->space };

	for (size_t i = 0; i < t->n_runtimes; i++) {
		int r = t->runtimes[i]->alloc_probes(&view, to, err);

		if (r < 0)
			return error_context(err, "%s", t->runtimes[i]->title);
	}
	return 0;
}

static int no_allocator(const struct tracee *t, struct error *err)
{
	const struct runtime_ops *asked = t->allocators ? registry_find(t->allocators) : NULL;

	if (asked && asked->only_by_name) {
		error_set(err, ENOTSUP, "process %d has no %s", t->pid, asked->title);
		return error_hint(err, "--engine bpf or --engine agent need none");
	}
	if (t->allocators) {
		error_set(err, ENOTSUP, "no allocator of '%s' in process %d", t->allocators,
		          t->pid);
		return error_hint(err,
		                  "leave --allocator out to have it found; `memwho doctor "
		                  "%d` lists what is there",
		                  t->pid);
	}
	error_set(err, ENOTSUP, "process %d has no allocator function that memwho knows", t->pid);
	if (symbol_space_archive(t->space))
		return error_hint(err,
		                  "nothing of %s is in it: it was linked with another version, "
		                  "or is changed by link-time optimization",
		                  symbol_space_archive(t->space));
	return error_hint(err,
	                  "it is static and stripped, or has its own allocator; --archive "
	                  "LIB.a, the library that it was linked with, has it found there; `memwho "
	                  "doctor %d` lists what was looked for",
	                  t->pid);
}

int tracee_probes_find(struct tracee *t, struct error *err)
{
	int r;

	if (!t->allocators && is_go(t))
		return refuse_go(err);
	r = find_runtimes(t, err);
	if (r == 0)
		r = ask_runtimes(t, &t->probes, err);
	if (r < 0)
		return r;
	return t->probes.n_probes ? 0 : no_allocator(t, err);
}

int tracee_probes_copy(struct tracee *t, const struct tracee *parent, struct error *err)
{
	struct runtime_probes *to = &t->probes;
	const struct runtime_probes *from = &parent->probes;
	int r = array_reserve(&to->probes, &to->cap_probes, from->n_probes, err);

	if (r < 0)
		return r;
	r = array_reserve(&to->ranges, &to->cap_ranges, from->n_ranges, err);
	if (r < 0)
		return r;
	if (from->n_probes)
		memcpy(to->probes, from->probes, from->n_probes * sizeof(*to->probes));
	if (from->n_ranges)
		memcpy(to->ranges, from->ranges, from->n_ranges * sizeof(*to->ranges));
	to->n_probes = from->n_probes;
	to->n_ranges = from->n_ranges;
	memcpy(t->runtimes, parent->runtimes, sizeof(t->runtimes));
	t->n_runtimes = parent->n_runtimes;
	t->allocators = parent->allocators;
	return 0;
}

static bool has_probe(const struct tracee *t, const struct runtime_probe *p)
{
	for (size_t i = 0; i < t->probes.n_probes; i++) {
		if (t->probes.probes[i].module == p->module && t->probes.probes[i].at == p->at)
			return true;
	}
	return false;
}

static bool has_range(const struct tracee *t, const struct runtime_range *r)
{
	for (size_t i = 0; i < t->probes.n_ranges; i++) {
		const struct runtime_range *old = &t->probes.ranges[i];

		if (old->module == r->module && old->vaddr == r->vaddr && old->size == r->size)
			return true;
	}
	return false;
}

static int add_new(struct tracee *t, const struct runtime_probes *found, struct error *err)
{
	struct runtime_probes *to = &t->probes;
	int r = array_reserve(&to->probes, &to->cap_probes, to->n_probes + found->n_probes, err);

	if (r == 0)
		r = array_reserve(&to->ranges, &to->cap_ranges, to->n_ranges + found->n_ranges,
		                  err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < found->n_probes; i++) {
		if (!has_probe(t, &found->probes[i]))
			to->probes[to->n_probes++] = found->probes[i];
	}
	for (size_t i = 0; i < found->n_ranges; i++) {
		if (!has_range(t, &found->ranges[i]))
			to->ranges[to->n_ranges++] = found->ranges[i];
	}
	return 0;
}

int tracee_probes_find_new(struct tracee *t, struct error *err)
{
	cleanup(runtime_probes_clear) struct runtime_probes found = { 0 };
	int r = find_runtimes(t, err);

	if (r == 0)
		r = ask_runtimes(t, &found, err);
	return r < 0 ? r : add_new(t, &found, err);
}
