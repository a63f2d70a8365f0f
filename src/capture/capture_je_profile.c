/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_je_profile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/search.h"
#include "profile/heap_v2.h"
#include "target/maps.h"
#include "unwind/stack_frames.h"

/* As heap_v2_read() counts offsets: below this a program is not position-independent. */
#define FIXED_BELOW 0x100000000ull

enum { MOST_OF_ALLOCATOR = 24 /* frames, inlined ones among them */ };

/* ---- whose frames ---- */

static bool begins_with_any(const char *name, const char *const *prefixes)
{
	for (; *prefixes; prefixes++) {
		if (!strncmp(name, *prefixes, strlen(*prefixes)))
			return true;
	}
	return false;
}

static const char *without_prefix(const char *name)
{
	static const char *const prefixes[] = { "_rjem_je_", "_rjem_", "je_", "rjem_" };

	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
		if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
			return name + strlen(prefixes[i]);
	}
	return name;
}

/* jemalloc 5.2 and 5.3, src/{jemalloc,prof*}.c; the C++ operators of its jemalloc_cpp.cpp; Rust's
 * alloc crate and tikv-jemallocator. */
bool capture_je_profile_is_allocator(const char *name)
{
	static const char *const exact[] = { "malloc",
		                             "calloc",
		                             "realloc",
		                             "reallocarray",
		                             "aligned_alloc",
		                             "posix_memalign",
		                             "memalign",
		                             "valloc",
		                             "pvalloc",
		                             "mallocx",
		                             "rallocx",
		                             "xallocx",
		                             "malloc_default",
		                             "imalloc",
		                             "imalloc_body",
		                             "imalloc_sample",
		                             "imalloc_no_sample",
		                             "ialloc",
		                             "iallocztm",
		                             "do_rallocx",
		                             "do_realloc_nonnull_zero",
		                             "newImpl",
		                             "handleOOM",
		                             "fallback_impl",
		                             "__rust_alloc",
		                             "__rust_alloc_zeroed",
		                             "__rust_realloc",
		                             "__rg_alloc",
		                             "__rg_alloc_zeroed",
		                             "__rg_realloc",
		                             "__rdl_alloc",
		                             "irallocx_prof",
		                             "irallocx_prof_sample",
		                             "irealloc_prof",
		                             "irealloc_prof_sample",
		                             "ralloct",
		                             NULL };
	static const char *const begins[] = { "prof_",
		                              "operator new",
		                              "alloc::alloc::",
		                              "<tikv_jemallocator::",
		                              "tikv_jemallocator::",
		                              "<jemallocator::",
		                              "jemallocator::",
		                              "<alloc::alloc::Global",
		                              "alloc::raw_vec::",
		                              "<alloc::raw_vec::",
		                              "__rustc::__rust_alloc",
		                              "__rustc::__rust_realloc",
		                              "__rustc::__rg_",
		                              "fallbackNewImpl",
		                              NULL };
	const char *plain = without_prefix(name);

	for (size_t i = 0; exact[i]; i++) {
		if (!strcmp(plain, exact[i]))
			return true;
	}
	return plain != name || begins_with_any(name, begins);
}

/* How many of the innermost frames are the allocator's: up to the last that is. */
static size_t allocator_frames(const struct profile *p, const char *library, const uint32_t *ids,
                               size_t n)
{
	size_t cut = 0;

	for (size_t i = 0; i < n && i < MOST_OF_ALLOCATOR; i++) {
		const struct profile_frame *f = profile_frame_at(p, ids[i]);

		if (capture_je_profile_is_allocator(profile_text(p, f->name)) ||
		    (library && !strcmp(profile_text(p, f->module), library)))
			cut = i + 1;
	}
	return cut < n ? cut : 0; /* a stack of nothing else stays */
}

/* ---- addresses ---- */

struct making {
	const struct profile *raw;
	struct profile *to;
	const struct capture_je_profile_own *own;
	struct maps maps;
	struct hash_map bases; /* id of a module's path -> what its offsets count from */
	struct code_history history;
	struct stack_frames frames;
	u64 *pcs;
	u32 *ids;
};

static void making_clear(struct making *m)
{
	maps_clear(&m->maps);
	hash_map_clear(&m->bases);
	code_history_clear(&m->history);
	stack_frames_clear(&m->frames);
	profile_free(m->to);
	free(m->pcs);
	free(m->ids);
}

static int base_of(struct making *m, uint32_t module, uint64_t *ret, struct error *err)
{
	const char *path = profile_text(m->raw, module);
	uint64_t *known = hash_map_get(&m->bases, module), base = 0;

	if (known) {
		*ret = *known;
		return 0;
	}
	for (size_t i = 0; i < m->maps.n_items; i++) {
		const struct mapping *k = &m->maps.items[i];

		if (strcmp(k->name, path) != 0)
			continue;
		base = k->start < FIXED_BELOW ? 0 : k->start - k->offset;
		break;
	}
	*ret = base;
	return hash_map_put(&m->bases, module, base, err);
}

/* The address that the dump had, less one for callers already. */
static int pc_of(struct making *m, const struct profile_frame *f, u64 *ret, struct error *err)
{
	uint64_t base = 0;
	int r = 0;

	if (!f->module) {
		*ret = strtoull(profile_text(m->raw, f->name), NULL, 16) | STACK_PC_EXACT;
		return 0;
	}
	r = base_of(m, f->module, &base, err);
	*ret = ((base + f->offset) & STACK_PC_ADDRESS) | STACK_PC_EXACT;
	return r;
}

/* The same by addresses, where there is one for each frame. */
static size_t nameless_frames(const struct making *m, size_t n)
{
	const struct inject_range *ranges = m->own->ranges;
	size_t cut = 0;

	for (size_t i = 0; i < n && i < MOST_OF_ALLOCATOR; i++) {
		const uint64_t pc = m->pcs[i] & STACK_PC_ADDRESS;
		const size_t at = partition_point(m->own->n_ranges, k, ranges[k].end <= pc);

		if (at < m->own->n_ranges && ranges[at].start <= pc)
			cut = i + 1;
	}
	return cut < n ? cut : 0;
}

static int add_sample(struct making *m, const struct profile_sample *s, struct error *err)
{
	size_t cut;
	int n, r = 0;

	for (size_t i = 0; r == 0 && i < s->n_frames; i++)
		r = pc_of(m, profile_frame_at(m->raw, s->frames[i]), &m->pcs[i], err);
	if (r < 0)
		return r;
	n = stack_frames_of_pcs(&m->frames, &m->history, 0, m->pcs, s->n_frames,
	                        s->n_frames ? NULL : "[no stack]", m->ids, err);
	if (n < 0)
		return n;
	cut = allocator_frames(m->to, m->own->library, m->ids, (size_t)n);
	if ((size_t)n == s->n_frames && nameless_frames(m, (size_t)n) > cut)
		cut = nameless_frames(m, (size_t)n);
	return profile_add(m->to, m->ids + cut, (size_t)n - cut, NULL, 0, s->values, err);
}

static int fill_report(struct making *m, const struct target *t, struct error *err)
{
	struct report *to = profile_report(m->to);
	const struct report_figure *interval = report_get(profile_report_const(m->raw),
	                                                  "sample_interval_bytes");
	char text[128];
	int r;

	snprintf(text, sizeof(text), "%s (%d)", t->comm, (int)t->pid);
	r = report_text(to, "target", NULL, text, err);
	if (r == 0)
		r = report_int(to, "pid", NULL, t->pid, "", err);
	if (r == 0)
		r = report_text(to, "engine", "engine", "jemalloc's own profiler", err);
	if (r == 0)
		r = report_int(to, "held_bytes", NULL, profile_total(m->to, PROFILE_INUSE_SPACE),
		               "bytes", err);
	if (r == 0 && interval)
		r = report_int(to, "sample_bytes", "one sample in", interval->integer, "bytes",
		               err);
	return r;
}

int capture_je_profile_make(const char *dump, size_t len, const struct target *t,
                            struct symbol_space *space, const struct capture_je_profile_own *own,
                            struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *raw = NULL;
	cleanup(making_clear) struct making m = { .history = { .space = space }, .own = own };
	int r = heap_v2_read(dump, len, &raw, err);

	if (r == 0)
		r = maps_read(t, &m.maps, err);
	if (r == 0)
		r = profile_new(&m.to, profile_heap_types, PROFILE_HEAP_TYPES, PROFILE_INUSE_SPACE,
		                err);
	if (r < 0)
		return r;
	m.raw = raw;
	m.frames.profile = m.to;
	m.pcs = calloc(PROFILE_MAX_FRAMES, sizeof(*m.pcs));
	m.ids = calloc(PROFILE_MAX_FRAMES + 1, sizeof(*m.ids));
	if (!m.pcs || !m.ids)
		return error_oom(err);
	code_history_note(&m.history, 0);
	for (size_t i = 0; r == 0 && i < profile_n_samples(raw); i++) {
		const struct profile_sample s = profile_sample_at(raw, i);

		r = add_sample(&m, &s, err);
	}
	if (r == 0)
		r = fill_report(&m, t, err);
	if (r == 0)
		*ret = take_ptr(m.to);
	return r;
}
