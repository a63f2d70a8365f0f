/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "symbol/demangle.h"
#include "symbol/perf_map.h"
#include "symbol/symbol_internal.h"

struct place {
	struct symbol_mapping mapping;
	uint64_t offset, inode; /* what it is a mapping of */
	uint32_t dev_major, dev_minor;
};

struct places {
	struct place *items; /* by start, never overlapping */
	size_t n_items, cap_items;
};

struct symbol_space {
	struct symbol_pool *pool;
	struct places places;
	struct perf_map perf_map;
	struct intern strings; /* names of the perf map */
};

static void places_clear(struct places *p)
{
	free(p->items);
	*p = (struct places){ 0 };
}

static int places_add(struct places *p, const struct place *one, struct error *err)
{
	int r = array_reserve(&p->items, &p->cap_items, p->n_items + 1, err);

	if (r == 0)
		p->items[p->n_items++] = *one;
	return r;
}

int symbol_space_new(struct symbol_pool *pool, const struct target *t, struct symbol_space **ret,
                     struct error *err)
{
	cleanup(symbol_space_freep) struct symbol_space *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_oom(err);
	s->pool = pool;
	s->perf_map = perf_map_none();
	r = symbol_space_refresh(s, t, err);
	if (r < 0)
		return r;
	*ret = take_ptr(s);
	return 0;
}

struct symbol_space *symbol_space_free(struct symbol_space *s)
{
	if (!s)
		return NULL;
	places_clear(&s->places);
	perf_map_clear(&s->perf_map);
	intern_clear(&s->strings);
	free(s);
	return NULL;
}

void symbol_space_freep(struct symbol_space **s)
{
	*s = symbol_space_free(*s);
}

/* Index of the first place that ends behind @addr. */
static size_t first_behind(const struct places *p, uint64_t addr)
{
	size_t lo = 0, hi = p->n_items;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (p->items[mid].mapping.end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static const struct place *known(const struct places *p, const struct mapping *m)
{
	size_t i = first_behind(p, m->start);
	const struct place *have = i < p->n_items ? &p->items[i] : NULL;

	if (have && have->mapping.start == m->start && have->mapping.end == m->end &&
	    have->offset == m->offset && have->inode == m->inode &&
	    have->dev_major == m->dev_major && have->dev_minor == m->dev_minor)
		return have;
	return NULL;
}

static int make_place(struct symbol_space *s, const struct target *t, const struct mapping *m,
                      struct place *ret, struct error *err)
{
	struct place one = {
		.mapping = { .start = m->start, .end = m->end },
		.offset = m->offset,
		.inode = m->inode,
		.dev_major = m->dev_major,
		.dev_minor = m->dev_minor,
	};
	struct symbol_module *module;
	int r = symbol_pool_module(s->pool, t, m, &module, err);

	if (r < 0)
		return r;
	/* a file that could not be opened counts by its offsets; so does an ELF
	 * file mapped where it has no segment */
	one.mapping.bias = m->start - m->offset;
	one.mapping.module = module;
	if (module && module->elf &&
	    !elf_file_bias(module->elf, m->start, m->offset, &one.mapping.bias))
		one.mapping.module = NULL;
	*ret = one;
	return 0;
}

/* Code that can be called. The vsyscall page is the kernel's, not the process's. */
static bool is_code(const struct mapping *m)
{
	return m->prot & MAPS_EXEC && strcmp(m->name, "[vsyscall]");
}

static int add_current(struct symbol_space *s, const struct target *t, const struct maps *maps,
                       struct places *to, struct error *err)
{
	int n_new = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *m = &maps->items[i];
		const struct place *have;
		struct place one;
		int r;

		if (!is_code(m))
			continue;
		have = known(&s->places, m);
		if (have) {
			one = *have;
			n_new += one.mapping.gone; /* it is back */
			one.mapping.gone = false;
		} else {
			r = make_place(s, t, m, &one, err);
			if (r < 0)
				return r;
			n_new++;
		}
		r = places_add(to, &one, err);
		if (r < 0)
			return r;
	}
	return n_new;
}

static int by_start(const void *a, const void *b)
{
	const struct place *x = a, *y = b;

	return (x->mapping.start > y->mapping.start) - (x->mapping.start < y->mapping.start);
}

/* Keep what was there before and is not overlapped now. @to is sorted. */
static int add_gone(const struct symbol_space *s, struct places *to, struct error *err)
{
	size_t n_current = to->n_items;

	for (size_t i = 0; i < s->places.n_items; i++) {
		struct place old = s->places.items[i];
		struct places current = { to->items, n_current, n_current };
		size_t at = first_behind(&current, old.mapping.start);
		int r;

		if (at < n_current && to->items[at].mapping.start < old.mapping.end)
			continue;
		old.mapping.gone = true;
		r = places_add(to, &old, err);
		if (r < 0)
			return r;
	}
	if (to->n_items)
		qsort(to->items, to->n_items, sizeof(*to->items), by_start);
	return 0;
}

/* Code of no file that we know: a JIT's, perhaps in a memfd that we may not open. */
static bool may_be_jit(const struct symbol_mapping *m)
{
	return !m->module || !m->module->elf;
}

static bool has_jit(const struct places *p)
{
	for (size_t i = 0; i < p->n_items; i++) {
		if (may_be_jit(&p->items[i].mapping))
			return true;
	}
	return false;
}

int symbol_space_refresh(struct symbol_space *s, const struct target *t, struct error *err)
{
	cleanup(places_clear) struct places now = { 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	int n_new, r = maps_read(t, &maps, err);

	if (r < 0)
		return r;
	n_new = add_current(s, t, &maps, &now, err);
	if (n_new < 0)
		return n_new;
	r = add_gone(s, &now, err);
	if (r < 0)
		return r;
	places_clear(&s->places);
	s->places = now;
	now = (struct places){ 0 };
	if (has_jit(&s->places))
		perf_map_open(&s->perf_map, t);
	return n_new;
}

size_t symbol_space_n(const struct symbol_space *s)
{
	return s->places.n_items;
}

const struct symbol_mapping *symbol_space_at(const struct symbol_space *s, size_t i)
{
	return &s->places.items[i].mapping;
}

const struct symbol_mapping *symbol_space_find(const struct symbol_space *s, uint64_t addr)
{
	size_t i = first_behind(&s->places, addr);

	if (i == s->places.n_items || s->places.items[i].mapping.start > addr)
		return NULL;
	return &s->places.items[i].mapping;
}

/* A JIT's names are the compiler's own, or mangled ones (perf demangles too). */
static const char *perf_map_name(struct symbol_space *s, uint64_t addr)
{
	const char *name = perf_map_find(&s->perf_map, addr);
	cleanup_free char *shown = NULL;

	if (!name)
		return NULL;
	if (strncmp(name, "_Z", 2) && strncmp(name, "_R", 2))
		return intern_put(&s->strings, name, strlen(name));
	shown = demangle_name(name);
	return shown ? intern_put(&s->strings, shown, strlen(shown)) : NULL;
}

size_t symbol_space_frames(struct symbol_space *s, uint64_t addr, bool is_return_address,
                           struct symbol_frame *frames, size_t max, struct symbol_module **module,
                           uint64_t *vaddr)
{
	uint64_t pc = is_return_address && addr ? addr - 1 : addr;
	const struct symbol_mapping *m = symbol_space_find(s, pc);
	const char *name = !m || may_be_jit(m) ? perf_map_name(s, pc) : NULL;

	*module = m ? m->module : NULL;
	*vaddr = *module ? pc - m->bias : pc;
	if (*module && !name)
		return symbol_module_frames(*module, *vaddr, frames, max);
	if (!max)
		return 0;
	frames[0] = (struct symbol_frame){ .name = name };
	return 1;
}
