/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_own.h"

#include <string.h>

#include "runtime/go/go_chain.h"
#include "runtime/go/go_variables.h"

enum { WORD = 8, MAX_PS = 1 << 16, MAX_TRIED = 1 << 22, MAX_THREADS = 1 << 20 };

/* ---- processors ---- */

/* @left: Ps that may still be looked at. */
static bool is_list(struct go_objects *o, uint64_t list, uint64_t n, uint64_t *left)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t p = go_objects_word(o, list + i * WORD);
		uint32_t id;

		if (!*left || !p ||
		    image_read(o->image, p + o->module->layout->p_id, &id, sizeof(id)) < 0 ||
		    id != i)
			return false;
		--*left;
	}
	return n > 0;
}

/* A slice of Ps: objects of the heap with ids 0, 1, ... */
static bool is_slice(struct go_objects *o, uint64_t at, uint64_t *left)
{
	uint64_t list = go_objects_word(o, at), n = go_objects_word(o, at + WORD);
	size_t span;

	if (n > go_objects_word(o, at + 2 * WORD) || n > MAX_PS ||
	    go_objects_find(o, list, &span) == UINT32_MAX || !is_list(o, list, n, left) ||
	    go_objects_find(o, go_objects_word(o, list), &span) == UINT32_MAX)
		return false;
	return o->spans[span].elemsize >= o->module->layout->p_bytes;
}

/* Of all of data and bss: of two or more, for one whose id is 0 says little. */
static uint64_t search(struct go_objects *o, uint64_t *left)
{
	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &o->module->data[k];

		for (uint64_t at = d->start; at + 3 * WORD <= d->end; at += WORD) {
			if (go_objects_word(o, at + WORD) >= 2 && is_slice(o, at, left))
				return at;
		}
	}
	return 0;
}

/* runtime.allp; without symbols by the code that sets it. */
static uint64_t find_ps(struct go_objects *o, const struct go_symbols *symbols)
{
	uint64_t at = go_symbols_find(symbols, "runtime.allp");
	struct go_variables used;
	uint64_t left = MAX_TRIED;

	if (at)
		return at;
	go_variables_of(o->module, "runtime.procresize", GO_VARIABLES_ANY, &used);
	for (size_t i = 0; i < used.n; i++) {
		if (is_slice(o, used.at[i], &left))
			return used.at[i];
	}
	return search(o, &left);
}

uint64_t go_own_ps(struct go_objects *o, const struct go_symbols *symbols, uint64_t *n)
{
	uint64_t at = find_ps(o, symbols), list, left = MAX_PS;

	*n = at ? go_objects_word(o, at + WORD) : 0;
	list = at ? go_objects_word(o, at) : 0;
	return *n <= MAX_PS && is_list(o, list, *n, &left) ? list : 0;
}

/* ---- all of them ---- */

static int tell(struct go_objects *o, const struct go_roots_sink *to, uint64_t value,
                struct error *err)
{
	size_t span;

	return value && go_objects_find(o, value, &span) != UINT32_MAX
	               ? to->own(to->arg, value, err)
	               : 0;
}

/* Is @m a runtime.m, whose g0 knows it, and are those that it links to? */
static bool is_thread(struct go_objects *o, uint64_t m)
{
	const struct go_layout *l = o->module->layout;
	uint64_t left = MAX_THREADS;
	struct go_chain chain = { .left = &left };
	unsigned n = 0;

	for (; go_chain_goes_on(&chain, m); n++) {
		uint64_t g0 = go_objects_word(o, m + l->m_g0);

		if (m % WORD || !g0 || go_objects_word(o, g0 + l->g_m) != m)
			return false;
		m = go_objects_word(o, m + l->m_alllink);
	}
	return n && !m;
}

/* What runtime.allm points to; without symbols by the code that takes a thread out of it. */
static uint64_t first_thread(struct go_objects *o, const struct go_symbols *symbols)
{
	uint64_t at = go_symbols_find(symbols, "runtime.allm"), m;
	struct go_variables used;

	if (at)
		return go_objects_word(o, at);
	go_variables_of(o->module, "runtime.mexit", GO_VARIABLES_ANY, &used);
	for (size_t i = 0; i < used.n; i++) {
		m = go_objects_word(o, used.at[i]);
		if (is_thread(o, m))
			return m;
	}
	return 0;
}

/* Each links to the one that was made before it (proc.go, allocm). */
static int threads(struct go_objects *o, const struct go_roots_sink *to, uint64_t m,
                   struct error *err)
{
	const struct go_layout *l = o->module->layout;
	uint64_t left = MAX_THREADS;
	struct go_chain chain = { .left = &left };
	int r = 0;

	while (r == 0 && go_chain_goes_on(&chain, m)) {
		r = tell(o, to, m, err);
		if (r == 0)
			r = tell(o, to, go_objects_word(o, m + l->m_g0), err);
		if (r == 0)
			r = tell(o, to, go_objects_word(o, m + l->m_gsignal), err);
		m = go_objects_word(o, m + l->m_alllink);
	}
	return r;
}

int go_own_each(struct go_objects *o, struct object_graph *texts, const struct go_roots_sink *to,
                const struct go_symbols *symbols, const struct go_goroutine *all, size_t n,
                struct error *err)
{
	static const char name[] = "runtime.allgs, runtime.allm, runtime.allp";
	struct object_root root = { .tier = OBJECT_TIER_RUNTIME };
	uint64_t n_ps, ps = go_own_ps(o, symbols, &n_ps);
	int r = object_graph_text(texts, name, strlen(name), &root.name, err);

	if (r == 0)
		r = object_graph_text(texts, "runtime", 7, &root.kind, err);
	if (r == 0)
		r = to->root(to->arg, &root, 0, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = tell(o, to, all[i].at, err);
	for (uint64_t i = 0; r == 0 && i < n_ps && ps; i++)
		r = tell(o, to, go_objects_word(o, ps + i * WORD), err);
	return r < 0 ? r : threads(o, to, first_thread(o, symbols), err);
}
