/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "runtime/go/go_meta.h"
#include "runtime/go/go_spans.h"
#include "runtime/go/go_version.h"
#include "runtime/peek.h"

#define MIB (1024.0 * 1024.0)
enum { TRIES = 3, VERSION_BYTES = 32 };

void go_report_version(const struct runtime_view *v, const char *path, char *buf, size_t size)
{
	struct symbol_module *m;
	size_t pos = 0;

	buf[0] = 0;
	while (v->space && (m = runtime_next_module(v, &pos))) {
		struct elf_file *elf = symbol_module_elf(m);

		if (elf && strcmp(symbol_module_path(m), path) == 0)
			go_version_text(elf, buf, size);
	}
}

/* The classes with the most bytes: "48 B 13.7 MiB". */
static void describe_classes(const struct go_spans *s, char *buf, size_t size)
{
	bool told[GO_SPANS_CLASSES] = { false };
	size_t len = 0;

	for (unsigned n = 0; n < 4; n++) {
		unsigned best = GO_SPANS_CLASSES;

		for (unsigned i = 0; i < GO_SPANS_CLASSES; i++)
			if (!told[i] && s->classes[i].bytes &&
			    (best == GO_SPANS_CLASSES ||
			     s->classes[i].bytes > s->classes[best].bytes))
				best = i;
		if (best == GO_SPANS_CLASSES || len >= size)
			return;
		told[best] = true;
		if (best)
			len += snprintf(buf + len, size - len, ", %" PRIu64 " B %.1f MiB",
			                s->classes[best].elemsize, s->classes[best].bytes / MIB);
		else
			len += snprintf(buf + len, size - len, ", large %.1f MiB",
			                s->classes[0].bytes / MIB);
	}
}

/* Sums of a moment that did not contradict, if the target lets us have one. */
static int read_sums(struct peek *p, struct go_heap *h, struct go_spans *ret, struct error *err)
{
	for (unsigned try = 1;; try++) {
		uint64_t slice[3];
		int r = go_spans_read(p, h, ret, err);

		if (r < 0 || p->gone || ret->inconsistent <= ret->checked / 1000 || try == TRIES)
			return r;
		go_spans_clear(ret);
		/* the list may have moved */
		peek_forget(p);
		if (peek_read(p, h->all_spans, slice, sizeof(slice)) && slice[1] <= slice[2] &&
		    slice[2] <= 1ull << 32) {
			h->spans = slice[0];
			h->n_spans = slice[1];
			h->cap_spans = slice[2];
		}
	}
}

static void add_figures(struct regions_heap *to, const struct go_spans *s,
                        const struct go_meta *meta, const struct go_spans_counters *c)
{
	regions_figure(to, "objects_bytes", "objects", s->objects);
	regions_figure(to, "unused_bytes", "free in spans", s->in_use - s->objects);
	regions_figure(to, "stack_bytes", "goroutine stacks", s->stacks);
	regions_figure(to, "gc_work_bytes", "collector's buffers", s->work);
	if (c) {
		regions_figure(to, "idle_bytes", "idle", c->free);
		regions_figure(to, "released_bytes", "released", c->released);
	}
	regions_figure(to, "metadata_bytes", "metadata reserved", meta->meta_bytes);
	regions_figure(to, "arenas", "arenas", meta->arenas);
	regions_figure(to, "spans", "spans", s->n_in_use);
	regions_figure(to, "stack_spans", "spans of stacks", s->n_stacks);
}

static void describe(struct regions_heap *to, const struct go_heap *h, const struct go_spans *s,
                     const struct go_meta *meta, const char *version)
{
	char classes[120] = "";

	describe_classes(s, classes, sizeof(classes));
	snprintf(to->name, sizeof(to->name), "Go heap");
	snprintf(to->detail, sizeof(to->detail), "%s%s%" PRIu64 " arena%s%s", version,
	         version[0] ? ", " : "", meta->arenas, meta->arenas == 1 ? "" : "s", classes);
	snprintf(to->evidence, sizeof(to->evidence),
	         "runtime.mheap_ of %.40s by shape: list of %" PRIu64 " spans at 0x%" PRIx64
	         ", map of arenas gives them back, layout of Go %s",
	         path_base(h->data.file->name), h->n_spans, h->all_spans, h->layout->versions);
	to->in_use_bytes = s->in_use;
	to->checked = s->checked;
	to->inconsistent = s->inconsistent;
}

int go_report_add(const struct runtime_view *v, const struct regions_input *in, struct peek *p,
                  struct go_heap *h, struct regions *to, struct error *err)
{
	cleanup(go_spans_clear) struct go_spans spans = { 0 };
	struct go_spans_counters counters;
	struct go_meta meta = { 0 };
	struct regions_heap *heap;
	char version[VERSION_BYTES];
	unsigned minor = 0;
	uint32_t index;
	size_t first = to->n_ranges;
	int found, r = read_sums(p, h, &spans, err);

	if (r < 0)
		return r;
	/* a list that is mostly nonsense is none */
	if (spans.inconsistent > spans.checked / 4 || spans.untouched == spans.checked)
		return 0;
	found = go_spans_find_counters(p, h, &spans, &counters, err);
	if (found < 0)
		return found;
	go_report_version(v, h->data.file->name, version, sizeof(version));
	sscanf(version, "go1.%u", &minor);
	r = regions_add_heap(to, REGIONS_GO, &heap, &index, err);
	if (r == 0)
		r = go_meta_add(p, in->maps, h, &spans, minor, to, index, &meta, err);
	if (r < 0)
		return r;
	regions_join(to, first);
	heap = &to->heaps[index];
	describe(heap, h, &spans, &meta, version);
	add_figures(heap, &spans, &meta, found ? &counters : NULL);
	return 0;
}
