/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_own.h"

#include <string.h>

enum { WORD = 8, MAX_PS = 1 << 16, MAX_THREADS = 1 << 20 };

/* ---- processors ---- */

static bool is_list(struct go_objects *o, uint64_t list, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t p = go_objects_word(o, list + i * WORD);
		uint32_t id;

		if (!p || image_read(o->image, p + o->module->layout->p_id, &id, sizeof(id)) < 0 ||
		    id != i)
			return false;
	}
	return n > 0;
}

/* By its shape: a slice of Ps whose ids are 0, 1, ... Of two or more, for one that is 0 says
 * little. */
static uint64_t search(struct go_objects *o)
{
	for (unsigned k = 0; k < 2; k++) {
		const struct go_module_data *d = &o->module->data[k];

		for (uint64_t at = d->start; at + 3 * WORD <= d->end; at += WORD) {
			uint64_t n = go_objects_word(o, at + WORD);
			size_t span;

			if (n >= 2 && n <= go_objects_word(o, at + 2 * WORD) && n <= MAX_PS &&
			    go_objects_find(o, go_objects_word(o, at), &span) != UINT32_MAX &&
			    is_list(o, go_objects_word(o, at), n))
				return at;
		}
	}
	return 0;
}

uint64_t go_own_ps(struct go_objects *o, const struct go_symbols *symbols, uint64_t *n)
{
	uint64_t at = symbols->n ? go_symbols_find(symbols, "runtime.allp") : search(o), list;

	*n = at ? go_objects_word(o, at + WORD) : 0;
	list = at ? go_objects_word(o, at) : 0;
	return *n <= MAX_PS && is_list(o, list, *n) ? list : 0;
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

/* Each links to the one that was made before it (proc.go, allocm). */
static int threads(struct go_objects *o, const struct go_roots_sink *to, uint64_t m,
                   struct error *err)
{
	const struct go_layout *l = o->module->layout;
	int r = 0;

	for (unsigned i = 0; r == 0 && m && i < MAX_THREADS; i++) {
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
	uint64_t n_ps, ps = go_own_ps(o, symbols, &n_ps), m;
	int r = object_graph_text(texts, name, strlen(name), &root.name, err);

	if (r == 0)
		r = object_graph_text(texts, "runtime", 7, &root.kind, err);
	if (r == 0)
		r = to->root(to->arg, &root, 0, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = tell(o, to, all[i].at, err);
	for (uint64_t i = 0; r == 0 && i < n_ps && ps; i++)
		r = tell(o, to, go_objects_word(o, ps + i * WORD), err);
	m = go_symbols_find(symbols, "runtime.allm");
	return r < 0 ? r : threads(o, to, m ? go_objects_word(o, m) : 0, err);
}
