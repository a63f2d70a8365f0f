/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
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
	struct places replaced; /* by others, in the order of their end */
	uint32_t snapshot;
	struct perf_map perf_map;
	struct intern strings; /* names of the perf map */
};

const char *symbol_space_archive(const struct symbol_space *s)
{
	return s->pool->options.archives[0];
}

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
	places_clear(&s->replaced);
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
	return partition_point(p->n_items, i, p->items[i].mapping.end <= addr);
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
		.mapping = { .start = m->start, .end = m->end, .first = s->snapshot + 1 },
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
		one.mapping.last = s->snapshot + 1;
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

/* The same file at the same distance: mprotect has cut or joined mappings. And
 * one JIT's code is as good as another's. */
static bool is_same_code(const struct place *x, const struct place *y)
{
	return x->mapping.module == y->mapping.module && x->inode == y->inode &&
	       (x->mapping.bias == y->mapping.bias || !x->inode);
}

/* Is @old still there in all that overlaps it (from @at on)? Then that is as old. */
static bool goes_on(struct places *now, size_t at, const struct place *old)
{
	size_t end = at;

	for (; end < now->n_items && now->items[end].mapping.start < old->mapping.end; end++) {
		if (!is_same_code(&now->items[end], old))
			return false;
	}
	for (; at < end; at++) {
		if (now->items[at].mapping.first > old->mapping.first)
			now->items[at].mapping.first = old->mapping.first;
	}
	return true;
}

/* The oldest are forgotten: what was recorded in them has no name then. */
static int add_replaced(struct symbol_space *s, const struct place *old, struct error *err)
{
	enum { MANY = 1 << 14 };
	struct places *p = &s->replaced;

	if (p->n_items == MANY) {
		memmove(p->items, p->items + MANY / 2, MANY / 2 * sizeof(*p->items));
		p->n_items = MANY / 2;
	}
	return places_add(p, old, err);
}

/* Keep what was there before, apart where it is overlapped now. @to is sorted. */
static int add_gone(struct symbol_space *s, struct places *to, struct error *err)
{
	size_t n_current = to->n_items;

	for (size_t i = 0; i < s->places.n_items; i++) {
		struct place old = s->places.items[i];
		struct places current = { to->items, n_current, n_current };
		size_t at = first_behind(&current, old.mapping.start);
		int r;

		if (at < n_current && to->items[at].mapping.start < old.mapping.end) {
			r = goes_on(&current, at, &old) ? 0 : add_replaced(s, &old, err);
		} else {
			old.mapping.gone = true;
			r = places_add(to, &old, err);
		}
		if (r < 0)
			return r;
	}
	if (to->n_items)
		qsort(to->items, to->n_items, sizeof(*to->items), by_start);
	return 0;
}

static size_t count_gone(const struct places *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_items; i++)
		n += p->items[i].mapping.gone;
	return n;
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

/* Places say that they were seen in the one after s->snapshot: nothing has
 * changed, so that was the same one. */
static void finish_snapshot(struct symbol_space *s, bool changed)
{
	if (changed) {
		s->snapshot++;
		return;
	}
	for (size_t i = 0; i < s->places.n_items; i++) {
		if (s->places.items[i].mapping.last > s->snapshot)
			s->places.items[i].mapping.last = s->snapshot;
	}
}

int symbol_space_refresh(struct symbol_space *s, const struct target *t, struct error *err)
{
	cleanup(places_clear) struct places now = { 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	size_t gone = count_gone(&s->places);
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
	finish_snapshot(s, n_new || count_gone(&s->places) != gone);
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

uint32_t symbol_space_snapshot(const struct symbol_space *s)
{
	return s->snapshot;
}

static bool holds(const struct symbol_mapping *m, uint64_t addr)
{
	return m->start <= addr && addr < m->end;
}

const struct symbol_mapping *symbol_space_find_in(const struct symbol_space *s, uint64_t addr,
                                                  uint32_t snapshot)
{
	const struct symbol_mapping *m = symbol_space_find(s, addr);

	if (m && m->first <= snapshot && snapshot <= m->last)
		return m;
	for (size_t i = s->replaced.n_items; i-- > 0;) {
		m = &s->replaced.items[i].mapping;
		if (holds(m, addr) && m->first <= snapshot && snapshot <= m->last)
			return m;
	}
	return NULL;
}

bool symbol_space_is_sure(const struct symbol_space *s, uint64_t addr)
{
	for (size_t i = 0; i < s->replaced.n_items; i++) {
		if (holds(&s->replaced.items[i].mapping, addr))
			return false;
	}
	return true;
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

size_t symbol_space_frames_of(struct symbol_space *s, const struct symbol_mapping *m, uint64_t pc,
                              struct symbol_frame *frames, size_t max,
                              struct symbol_module **module, uint64_t *vaddr)
{
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

size_t symbol_space_frames(struct symbol_space *s, uint64_t addr, bool is_return_address,
                           struct symbol_frame *frames, size_t max, struct symbol_module **module,
                           uint64_t *vaddr)
{
	uint64_t pc = is_return_address && addr ? addr - 1 : addr;

	return symbol_space_frames_of(s, symbol_space_find(s, pc), pc, frames, max, module, vaddr);
}
