/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/glibc/glibc_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	MIB = 1 << 20,
	MIN_TRIM = 1 * MIB, /* less is not worth a finding */
	MIN_PINNED = 8 * MIB,
};

static double mib(uint64_t bytes)
{
	return bytes / (double)MIB;
}

void glibc_report_arena_name(const struct glibc_arenas *all, size_t arena, unsigned number,
                             char *buf, size_t size)
{
	char which[24] = "";

	if (number)
		snprintf(which, sizeof(which), " of libc %u", number + 1);
	if (all->items[arena].is_main)
		snprintf(buf, size, "main arena%s", which);
	else
		snprintf(buf, size, "arena %zu%s", arena, which);
}

/* glibc's "uordblks": all that is neither in bins, nor in fastbins, nor the top. */
static uint64_t in_use(const struct glibc_arena *arena, const struct glibc_view_arena *a)
{
	uint64_t all = a->whole ? a->area_bytes : arena->system_bytes;
	uint64_t idle = a->whole ? a->sum.fast + a->sum.free + a->sum.top
	                         : a->fast_bytes + a->binned + arena->top_bytes;

	return all > idle ? all - idle : 0;
}

/* The first chunk of an arena is the cache of the thread for which it was made. */
static bool has_first_chunk(const struct glibc_view *v, size_t arena, const struct glibc_thread *t)
{
	const struct glibc_arena *a = &v->arenas->items[arena];

	if (t->tcache < 0)
		return false;
	for (size_t k = 0; k < a->n_areas; k++) {
		if (v->tcaches.items[t->tcache].at == a->areas[k].first + 16 &&
		    a->areas[k].first > a->at && a->areas[k].first - a->at < 4096)
			return true;
	}
	return false;
}

static void describe_threads(const struct glibc_view *v, size_t arena, char *buf, size_t size)
{
	const struct glibc_thread *first = NULL;
	size_t n = 0, len = 0;

	for (size_t i = 0; i < v->threads.n; i++) {
		const struct glibc_thread *t = &v->threads.items[i];

		if (t->arena != (ssize_t)arena)
			continue;
		if (!first)
			first = t;
		if (n++ < 3 && len < size)
			len += snprintf(buf + len, size - len, "%s%s (tid %d)",
			                n == 1 ? "used by threads " : ", ", t->thread->comm,
			                t->thread->tid);
	}
	if (n == 1 && !v->arenas->items[arena].is_main)
		snprintf(buf, size, "%s thread %s (tid %d)",
		         has_first_chunk(v, arena, first) ? "made for" : "used by",
		         first->thread->comm, first->thread->tid);
	else if (n == 1)
		snprintf(buf, size, "used by thread %s (tid %d)", first->thread->comm,
		         first->thread->tid);
	else if (n > 3 && len < size)
		snprintf(buf + len, size - len, " and %zu more", n - 3);
	else if (!n && v->threads.n && !v->arenas->items[arena].attached_threads)
		snprintf(buf, size, "no thread uses it");
}

static void add_figures(const struct glibc_arena *arena, const struct glibc_view_arena *a,
                        struct regions_heap *h)
{
	const struct glibc_walk_sum *s = &a->sum;

	regions_figure(h, "system_bytes", "from the system", arena->system_bytes);
	regions_figure(h, "free_bytes", "free", a->whole ? s->free : a->binned);
	regions_figure(h, "fastbin_bytes", "fastbins", a->whole ? s->fast : a->fast_bytes);
	regions_figure(h, "top_bytes", "top", a->whole ? s->top : arena->top_bytes);
	regions_figure(h, "trim_bytes", "malloc_trim", s->trim);
	regions_figure(h, "pinned_bytes", "pinned", s->pinned_free);
	regions_figure(h, "pinned_by_bytes", "pinned by", s->pinned_live);
	regions_figure(h, "chunks", "chunks", s->chunks);
}

static void add_evidence(const struct glibc_view *v, const struct glibc_arena *arena,
                         const struct glibc_view_arena *a, struct regions_heap *h)
{
	const char *how = arena->is_main ? "main_arena by its bins in a module's data"
	                                 : "linked to main_arena; heap_info";

	if (a->whole) {
		snprintf(h->evidence, sizeof(h->evidence), "%s; %" PRIu64 " chunks lead to %s", how,
		         a->sum.chunks, arena->is_main ? "the top chunk" : "each heap's end");
		return;
	}
	snprintf(h->evidence, sizeof(h->evidence),
	         "%s; walked %.1f of %.1f MiB, the rest by its bins", how, mib(a->sum.walked),
	         mib(arena->system_bytes));
}

static bool is_ours(const struct mapping *v)
{
	return !v->inode && !(v->prot & (MAPS_SHARED | MAPS_EXEC));
}

/* [start, end) as far as anonymous memory is mapped there. */
static int add_mapped(struct regions *to, uint32_t heap, const struct maps *m, uint64_t start,
                      uint64_t end, struct error *err)
{
	while (start < end) {
		const struct mapping *v = maps_find(m, start);
		uint64_t piece;
		int r = 0;

		if (!v)
			break;
		piece = v->end < end ? v->end : end;
		if (is_ours(v))
			r = regions_add_range(to, heap, start, piece, REGIONS_PROVEN, err);
		if (r < 0)
			return r;
		start = piece;
	}
	return 0;
}

static int report_arena(const struct glibc_view *v, size_t i, unsigned number, struct regions *to,
                        struct error *err)
{
	const struct glibc_arena *arena = &v->arenas->items[i];
	const struct glibc_view_arena *a = &v->items[i];
	struct regions_heap *h;
	uint32_t index;
	int r = regions_add_heap(to, REGIONS_GLIBC_ARENA, &h, &index, err);

	if (r < 0)
		return r;
	glibc_report_arena_name(v->arenas, i, number, h->name, sizeof(h->name));
	describe_threads(v, i, h->detail, sizeof(h->detail));
	add_evidence(v, arena, a, h);
	h->in_use_bytes = in_use(arena, a);
	h->cached_bytes = a->cached_bytes;
	h->checked = a->sum.checked;
	h->inconsistent = a->sum.inconsistent + arena->odd_bins;
	if (i == 0) {
		h->checked += v->checked + v->arenas->checked;
		h->inconsistent += v->inconsistent;
	}
	add_figures(arena, a, h);
	for (size_t k = 0; r == 0 && k < arena->n_areas; k++)
		r = add_mapped(to, index, v->in->maps, arena->areas[k].base, arena->areas[k].limit,
		               err);
	return r;
}

int glibc_report_arenas(const struct glibc_view *v, const struct regions_input *in, unsigned number,
                        struct regions *to, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < v->arenas->n; i++) {
		if (v->arenas->items[i].system_bytes)
			r = report_arena(v, i, number, to, err);
	}
	return r;
}

int glibc_report_mmapped(const struct glibc_view *v, const struct glibc_mmapped *m, unsigned number,
                         struct regions *to, struct error *err)
{
	const struct glibc_params *p = &v->arenas->params;
	struct regions_heap *h;
	uint32_t index;
	int r;

	if (!m->n && !p->n_mmaps)
		return 0;
	r = regions_add_heap(to, REGIONS_GLIBC_MMAPPED, &h, &index, err);
	if (r < 0)
		return r;
	snprintf(h->name, sizeof(h->name), number ? "mmapped blocks of libc %u" : "mmapped blocks",
	         number + 1);
	snprintf(h->detail, sizeof(h->detail), "%zu blocks", m->n);
	if (m->proven)
		snprintf(h->evidence, sizeof(h->evidence),
		         "headers; as many blocks and bytes as malloc's own counters say");
	else if (p->found)
		snprintf(h->evidence, sizeof(h->evidence),
		         "headers; malloc's counters say %u blocks, %.1f MiB; found %zu, %.1f MiB",
		         p->n_mmaps, mib(p->mmapped_bytes), m->n, mib(m->bytes));
	else
		snprintf(h->evidence, sizeof(h->evidence),
		         "headers only; malloc's own counters were not found");
	h->in_use_bytes = p->found ? p->mmapped_bytes : m->bytes;
	h->cached_bytes = 0;
	h->checked = m->n + 1;
	h->inconsistent = p->found && !m->proven;
	regions_figure(h, "blocks", "blocks", p->found ? p->n_mmaps : m->n);
	for (size_t i = 0; r == 0 && i < m->n; i++)
		r = regions_add_range(to, index, m->items[i].start, m->items[i].end,
		                      m->proven ? REGIONS_PROVEN : REGIONS_SHAPE, err);
	return r;
}

static int find_arenas(const struct glibc_view *v, const struct regions_input *in,
                       struct regions *to, struct error *err)
{
	uint64_t reserved = 0, system = 0;
	size_t n = v->arenas->n - 1;
	struct regions_finding *f;
	int r;

	if (!n)
		return 0;
	for (size_t i = 1; i < v->arenas->n; i++) {
		reserved += v->arenas->items[i].n_areas * v->arenas->heap_max;
		system += v->arenas->items[i].system_bytes;
	}
	r = regions_add_finding(to, "arenas", &f, err);
	if (r < 0)
		return r;
	f->bytes = reserved;
	snprintf(f->text, sizeof(f->text),
	         "%zu arena%s besides the main one for %zu threads: %.1f MiB of address space, "
	         "of which malloc has taken %.1f",
	         n, n == 1 ? "" : "s", in->threads ? in->threads->n_items : 0, mib(reserved),
	         mib(system));
	snprintf(f->evidence, sizeof(f->evidence), "heaps of %" PRIu64 " MiB, linked to main_arena",
	         v->arenas->heap_max / MIB);
	snprintf(f->remedy, sizeof(f->remedy),
	         "MALLOC_ARENA_MAX=1 would avoid it; what is only reserved (PROT_NONE) is no "
	         "memory used");
	return 0;
}

static int find_trim(const struct glibc_view *v, struct regions *to, struct error *err)
{
	struct regions_finding *f;
	uint64_t trim = 0;
	int r;

	for (size_t i = 0; i < v->arenas->n; i++)
		trim += v->items[i].sum.trim;
	if (trim < MIN_TRIM)
		return 0;
	r = regions_add_finding(to, "malloc-trim", &f, err);
	if (r < 0)
		return r;
	f->bytes = trim;
	snprintf(f->text, sizeof(f->text),
	         "%.1f MiB of resident memory is free inside glibc's heap in whole pages",
	         mib(trim));
	snprintf(f->evidence, sizeof(f->evidence),
	         "pages inside free chunks, counted from page tables");
	snprintf(f->remedy, sizeof(f->remedy), "malloc_trim(0) would return it");
	return 0;
}

static int find_pinned(const struct glibc_view *v, struct regions *to, struct error *err)
{
	uint64_t pinned = 0, by = 0, system = 0;
	struct regions_finding *f;
	int r;

	for (size_t i = 0; i < v->arenas->n; i++) {
		pinned += v->items[i].sum.pinned_free;
		by += v->items[i].sum.pinned_live;
		system += v->arenas->items[i].system_bytes;
	}
	if (pinned < MIN_PINNED || pinned < system / 10)
		return 0;
	r = regions_add_finding(to, "fragmentation", &f, err);
	if (r < 0)
		return r;
	f->bytes = pinned;
	snprintf(f->text, sizeof(f->text),
	         "%.1f MiB is free in glibc's heap and can't go back: %.1f MiB in use are on the "
	         "same pages",
	         mib(pinned), mib(by));
	snprintf(f->evidence, sizeof(f->evidence), "resident pages that hold both, chunk by chunk");
	return 0;
}

int glibc_report_findings(const struct glibc_view *v, const struct regions_input *in,
                          struct regions *to, struct error *err)
{
	int r = find_arenas(v, in, to, err);

	if (r == 0)
		r = find_trim(v, to, err);
	if (r == 0)
		r = find_pinned(v, to, err);
	return r;
}
