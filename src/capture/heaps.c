/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/heaps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "target/proc.h"

void heaps_close(struct heaps_session *s)
{
	s->space = symbol_space_free(s->space);
	s->pool = symbol_pool_free(s->pool);
	s->target = target_close(s->target);
}

int heaps_open(pid_t pid, struct heaps_session *ret, struct error *err)
{
	static const struct symbol_options options = { .no_debuginfod = true, .no_inline = true };
	cleanup(heaps_close) struct heaps_session s = { 0 };
	int r = target_open(pid, &s.target, err);

	if (r == 0)
		r = symbol_pool_new(&options, &s.pool, err);
	if (r == 0)
		r = symbol_space_new(s.pool, s.target, &s.space, err);
	if (r < 0)
		return r;
	*ret = s;
	s = (struct heaps_session){ 0 };
	return 0;
}

void heaps_clear(struct heaps *h)
{
	ladder_clear(&h->ladder);
	*h = (struct heaps){ 0 };
}

const struct heaps_heap *heaps_find(const struct heaps *h, const char *name)
{
	for (size_t i = 0; i < h->n; i++) {
		if (!strcmp(h->items[i].name, name))
			return &h->items[i];
	}
	return NULL;
}

int64_t heaps_value(const struct heaps_heap *h, const char *key)
{
	for (size_t i = 0; i < h->n_figures; i++) {
		if (!strcmp(h->figures[i].key, key))
			return h->figures[i].value;
	}
	return -1;
}

/* Allocators, and languages' heaps that say what is in use. */
static bool is_heap(const struct ladder_part *p)
{
	static const char *const kinds[] = { REGIONS_GO, REGIONS_PYTHON, REGIONS_LUA, REGIONS_JVM,
		                             REGIONS_V8 };

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(p->heap.kind, kinds[i]))
			return true;
	}
	return runtime_trim_of(p->heap.kind);
}

static const char *name_of(const struct ladder_part *p)
{
	const struct runtime_trim *trim = runtime_trim_of(p->heap.kind);

	return trim ? trim->allocator : p->heap.kind;
}

static struct heaps_heap *heap_of(struct heaps *h, const struct ladder_part *p)
{
	const struct runtime_trim *trim = runtime_trim_of(p->heap.kind);
	const char *name = name_of(p);
	struct heaps_heap *new = (struct heaps_heap *)heaps_find(h, name);

	if (new || h->n == HEAPS_MAX)
		return new;
	new = &h->items[h->n++];
	*new = (struct heaps_heap){ .name = name, .trim = trim, .could_trim_bytes = -1 };
	return new;
}

static void add_figure(struct heaps_heap *to, const struct regions_figure *f)
{
	for (size_t i = 0; i < to->n_figures; i++) {
		if (!strcmp(to->figures[i].key, f->key)) {
			to->figures[i].value += f->value;
			return;
		}
	}
	if (to->n_figures < HEAPS_MAX_FIGURES)
		to->figures[to->n_figures++] = *f;
}

static void add_part(struct heaps_heap *to, const struct ladder_part *p)
{
	const struct regions_heap *h = &p->heap;

	to->resident_bytes += (int64_t)p->resident_bytes;
	to->virtual_bytes += (int64_t)p->virtual_bytes;
	to->checked += h->checked;
	to->inconsistent += h->inconsistent;
	to->is_inside |= h->inside[0] != 0;
	if (h->in_use_bytes < 0)
		memcpy(to->unknown_why, h->unknown_why, sizeof(to->unknown_why));
	to->in_use_bytes = to->in_use_bytes < 0 || h->in_use_bytes < 0
	                           ? -1
	                           : to->in_use_bytes + h->in_use_bytes;
	to->cached_bytes = to->cached_bytes < 0 || h->cached_bytes < 0
	                           ? -1
	                           : to->cached_bytes + h->cached_bytes;
	for (size_t i = 0; i < h->n_figures; i++)
		add_figure(to, &h->figures[i]);
}

static void finish(struct heaps_heap *h)
{
	const bool caches_count = h->trim && h->trim->cached_is_used;

	h->live_bytes = h->in_use_bytes;
	if (caches_count && h->live_bytes >= 0 && h->cached_bytes > 0)
		h->live_bytes = h->live_bytes > h->cached_bytes ? h->live_bytes - h->cached_bytes
		                                                : 0;
	if (h->trim && h->trim->figure)
		h->could_trim_bytes = heaps_value(h, h->trim->figure);
}

static bool is_mapped_still(const struct heaps *before, const struct heaps_heap *h,
                            const struct heaps *after)
{
	const struct ladder *l = &before->ladder;

	for (size_t i = 0; i < l->n_ranges; i++) {
		if (!strcmp(name_of(&l->parts[l->ranges[i].part]), h->name) &&
		    ladder_find(&after->ladder, l->ranges[i].start))
			return true;
	}
	return false;
}

void heaps_note_missing(const struct heaps *before, struct heaps *after)
{
	for (size_t i = 0; i < before->n && after->n < HEAPS_MAX; i++) {
		const struct heaps_heap *h = &before->items[i];
		struct heaps_heap *new = &after->items[after->n];

		if (heaps_find(after, h->name) || !is_mapped_still(before, h, after))
			continue;
		*new = (struct heaps_heap){
			.name = h->name,
			.trim = h->trim,
			.is_inside = h->is_inside,
			.resident_bytes = -1,
			.virtual_bytes = -1,
			.live_bytes = -1,
			.in_use_bytes = -1,
			.cached_bytes = -1,
			.could_trim_bytes = -1,
		};
		snprintf(new->unknown_why, sizeof(new->unknown_why),
		         "was not recognised the second time, though its memory is still mapped");
		after->n++;
	}
}

static int64_t pss_of(const struct target *t)
{
	cleanup_free char *text = NULL;
	struct error unused;
	const char *line;

	if (target_proc_file(t, "smaps_rollup", 1 << 16, &text, NULL, &unused) < 0)
		return -1;
	line = strstr(text, "\nPss:");
	return line ? strtoll(line + 5, NULL, 10) * 1024 : -1;
}

int heaps_read(const struct heaps_session *s, bool stop, struct heaps *ret, struct error *err)
{
	const struct target *t = s->target;
	const struct ladder_options options = { .stop = stop };
	const struct ladder *l = &ret->ladder;
	int r;

	heaps_clear(ret);
	r = symbol_space_refresh(s->space, t, err);
	if (r >= 0)
		r = ladder_read(t, s->space, &options, &ret->ladder, err);
	if (r < 0 && target_alive(t) < 0)
		return error_set(err, ESRCH, "process %d (%s) has ended", (int)t->pid, t->comm);
	if (r < 0)
		return r;
	for (size_t i = 0; i < l->n_parts; i++) {
		struct heaps_heap *h = is_heap(&l->parts[i]) ? heap_of(ret, &l->parts[i]) : NULL;

		if (h)
			add_part(h, &l->parts[i]);
	}
	for (size_t i = 0; i < ret->n; i++)
		finish(&ret->items[i]);
	ret->resident_bytes = (int64_t)l->resident_bytes;
	ret->virtual_bytes = (int64_t)l->virtual_bytes;
	ret->swap_bytes = (int64_t)l->swap_bytes;
	ret->vm_rss_bytes = target_status_bytes(t, "VmRSS");
	ret->stopped_ns = l->stopped_ns;
	ret->pss_bytes = pss_of(t);
	return 0;
}
