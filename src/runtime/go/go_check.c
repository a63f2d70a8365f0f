/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/go/go_goroutines.h"
#include "runtime/go/go_marks.h"
#include "runtime/go/go_spans.h"
#include "runtime/go/go_waiting.h"

#define MIB (1024.0 * 1024.0)
enum {
	/* mspan.allocCountBeforeCache behind allocCount (mheap.go; DWARF of 1.17 to 1.26) */
	BEFORE_CACHE = 6,
	PERCENT = 1,      /* a larger disagreement is told */
	LEAST = 64 << 10, /* smaller ones never */
};

struct look {
	uint64_t records, unreadable, inconsistent;
	uint64_t in_use_bytes;   /* whole spans */
	uint64_t taken_bytes;    /* slots that are taken */
	uint64_t uncounted;      /* of these: handed out of spans that a P has */
	uint64_t missing, zeros; /* bytes of spans that are not there; that cannot be zeros */
};

static uint64_t word(const struct go_objects *o, uint64_t at)
{
	return image_uint64(o->image, at);
}

/* ---- the spans ---- */

/* What a P took from the span since it has it: mcache.go, refill() counts it at the end. A span
 * that a P has has an odd sweepgen (mheap.go, mspan). */
static uint64_t uncounted(struct go_objects *o, const struct go_heap_span *s)
{
	const struct go_layout *l = o->module->layout;
	uint32_t sweepgen = 0;
	uint16_t before = 0;

	if (!peek_read(&o->peek, s->at + l->mspan_sweepgen, &sweepgen, sizeof(sweepgen)) ||
	    !(sweepgen & 1) ||
	    !peek_read(&o->peek, s->at + l->mspan_alloc_count + BEFORE_CACHE, &before,
	               sizeof(before)))
		return 0;
	return s->count > before ? (uint64_t)(s->count - before) * s->elemsize : 0;
}

static void look_at_records(struct go_objects *o, struct look *to)
{
	const struct go_heap *h = &o->heap;

	for (uint64_t i = 0; i < h->n_spans; i++) {
		struct go_heap_span s = { 0 };
		int r = go_heap_read_span(&o->peek, h, word(o, h->spans + 8 * i), &s);

		to->records++;
		to->unreadable += r == 0;
		to->inconsistent += r < 0;
		if (r <= 0 || s.state != GO_HEAP_IN_USE)
			continue;
		to->in_use_bytes += s.pages * GO_HEAP_PAGE;
		to->taken_bytes += (uint64_t)s.count * s.elemsize;
		to->uncounted += uncounted(o, &s);
	}
}

/* Heap bits of objects that are there cannot all be zeros: each has a pointer. */
static bool is_wiped(const uint8_t *bits, uint64_t n)
{
	for (uint64_t i = 0; bits && i < n; i++) {
		if (bits[i])
			return false;
	}
	return bits != NULL;
}

/* Of a core, whose bytes are at hand, spans that the walk did not come to are looked at, too: a
 * slot that is taken has heap bits, or a type in its malloc header. */
static void look_at_span(struct go_objects *o, size_t i, struct look *to)
{
	const struct go_objects_span *s = &o->spans[i];
	uint64_t bytes = s->end - s->start;

	if (s->no_scan || !s->taken)
		return;
	if (s->is_missing || !image_at(o->image, s->start, bytes))
		to->missing += bytes;
	else if (s->has_header ? s->taken == s->n && !go_objects_type(o, i, 0)
	                       : is_wiped(go_objects_bits(o, i), bytes / 64))
		to->zeros += bytes;
}

static void look_at_memory(struct go_objects *o, struct look *to)
{
	bool is_core = image_kind(o->image) == IMAGE_CORE;

	for (size_t i = 0; i < o->n_spans; i++) {
		if (is_core)
			look_at_span(o, i, to);
		else if (o->spans[i].is_missing)
			to->missing += o->spans[i].end - o->spans[i].start;
	}
}

/* ---- the runtime's counters ---- */

/* By the symbol, else by shape: 1 found. */
static int counters(struct go_objects *o, struct go_spans_counters *ret, struct error *err)
{
	const struct go_layout *l = o->module->layout;
	cleanup(go_spans_clear) struct go_spans spans = { 0 };
	struct elf_symbol s;
	int r;

	if (l->gc_heap_in_use != GO_LAYOUT_NONE &&
	    elf_file_symbol(o->module->exe, ELF_SYMTAB, "runtime.gcController", &s) == 0) {
		uint64_t at = s.value + o->module->bias;

		*ret = (struct go_spans_counters){
			.at = at + l->gc_heap_in_use,
			.in_use = word(o, at + l->gc_heap_in_use),
			.total_alloc = word(o, at + l->gc_total_alloc),
			.total_free = word(o, at + l->gc_total_free),
		};
		return ret->in_use != 0;
	}
	r = go_spans_read(&o->peek, &o->heap, &spans, err);
	return r < 0 ? r : go_spans_find_counters(&o->peek, &o->heap, &spans, ret, err);
}

static bool is_far(uint64_t a, uint64_t b, unsigned percent)
{
	uint64_t more = a > b ? a : b, off = a > b ? a - b : b - a;

	return off > LEAST && off > more / 100 * percent;
}

static void compare_spans(const struct look *k, const struct go_spans_counters *c,
                          struct graph_account *to)
{
	uint64_t off = c->in_use > k->in_use_bytes ? c->in_use - k->in_use_bytes
	                                           : k->in_use_bytes - c->in_use;

	graph_account_check(to, "counted_span_bytes", c->in_use);
	graph_account_check(to, "span_mismatch_bytes", off);
	if (is_far(c->in_use, k->in_use_bytes, PERCENT))
		graph_account_warn(to,
		                   "spans in use are %.1f MiB, the runtime counts %.1f MiB: "
		                   "%.1f MiB do not agree",
		                   k->in_use_bytes / MIB, c->in_use / MIB, off / MIB);
}

static void compare_objects(const struct look *k, const struct go_spans_counters *c,
                            struct graph_account *to)
{
	uint64_t counted = c->total_alloc - c->total_free + k->uncounted;
	uint64_t off = counted > k->taken_bytes ? counted - k->taken_bytes
	                                        : k->taken_bytes - counted;

	graph_account_check(to, "counted_bytes", counted);
	graph_account_check(to, "mismatch_bytes", off);
	if (is_far(counted, k->taken_bytes, PERCENT))
		graph_account_warn(to,
		                   "objects of the spans are %.1f MiB, the runtime counts "
		                   "%.1f MiB: %.1f MiB do not agree",
		                   k->taken_bytes / MIB, counted / MIB, off / MIB);
}

/* The bits of the last collection against its own sum of them (mgcpacer.go, heapMarked): they are
 * equal, whatever the program did since, but for what the sum has twice. */
static void compare_bits(uint64_t counted, const struct go_marks *k, struct graph_account *to)
{
	uint64_t more = counted > k->marked_bytes ? counted - k->marked_bytes : 0;

	graph_account_check(to, "marked_bytes", counted);
	graph_account_check(to, "mark_bits_bytes", k->marked_bytes);
	counted -= more < k->finalized_bytes ? more : k->finalized_bytes;
	if (is_far(counted, k->marked_bytes, PERCENT))
		graph_account_warn(to,
		                   "mark bits are set for %.1f MiB, the runtime counts %.1f MiB: "
		                   "%.1f MiB do not agree",
		                   k->marked_bytes / MIB, counted / MIB,
		                   fabs((double)counted - (double)k->marked_bytes) / MIB);
}

#define MARKED_TEXT                                                                                \
	"of %.1f MiB that the last collection found reachable, this walk reaches %.1f MiB: "       \
	"%.1f MiB were let go since, or are not found"

/* Object by object: what was allocated since cannot make up for what is not found. A program lets
 * go of about as much as it allocates; more than that is a cache that was dropped, or a fault. */
static void compare_reached(const struct look *look, const struct go_marks *k,
                            struct graph_account *to)
{
	uint64_t since = look->taken_bytes > k->marked_bytes ? look->taken_bytes - k->marked_bytes
	                                                     : 0;
	double lost = (double)(k->marked_bytes - k->reached_bytes) / MIB;

	graph_account_check(to, "marked_reached_bytes", k->reached_bytes);
	if (is_far(k->marked_bytes, k->reached_bytes + since, PERCENT) &&
	    k->reached_bytes + since < k->marked_bytes)
		graph_account_warn(to, MARKED_TEXT, k->marked_bytes / MIB, k->reached_bytes / MIB,
		                   lost);
	else if (is_far(k->marked_bytes, k->reached_bytes, PERCENT))
		graph_account_note(to, MARKED_TEXT, k->marked_bytes / MIB, k->reached_bytes / MIB,
		                   lost);
}

static void compare_marked(struct go_objects *o, const struct look *look,
                           const struct go_spans_counters *c,
                           const struct go_check_reached *reached, struct graph_account *to)
{
	const struct go_layout *l = o->module->layout;
	struct go_marks k;

	if (l->gc_heap_marked == GO_LAYOUT_NONE || l->gc_heap_in_use == GO_LAYOUT_NONE)
		return;
	go_marks_count(o, reached->node, &k);
	compare_bits(word(o, c->at - l->gc_heap_in_use + l->gc_heap_marked), &k, to);
	compare_reached(look, &k, to);
}

static int compare(struct go_objects *o, const struct look *k,
                   const struct go_check_reached *reached, struct graph_account *to,
                   struct error *err)
{
	struct go_spans_counters c = { 0 };
	int r = counters(o, &c, err);

	graph_account_check(to, "counters_found", r > 0);
	if (r <= 0)
		return r;
	compare_spans(k, &c, to);
	if (c.total_alloc)
		compare_objects(k, &c, to);
	if (c.total_alloc)
		compare_marked(o, k, &c, reached, to);
	return 0;
}

/* ---- goroutines ---- */

static int look_at_goroutines(struct go_objects *o, struct graph_account *to, struct error *err)
{
	cleanup_free struct go_goroutine *g = NULL;
	uint64_t unreadable = 0, unknown = 0;
	size_t n = 0;
	int r = go_goroutines_read(o, &g, &n, err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t unused;

		unreadable += g[i].sp + sizeof(unused) <= g[i].high &&
		              image_read(o->image, g[i].sp, &unused, sizeof(unused)) < 0;
		unknown += g[i].status == GO_STATUS_RUNNING && !g[i].pc;
	}
	if (r < 0)
		return r;
	graph_account_check(to, "goroutines", n);
	graph_account_check(to, "goroutines_unreadable", unreadable);
	graph_account_check(to, "goroutines_without_registers", unknown);
	if (unknown)
		graph_account_warn(to,
		                   "%llu of %zu goroutines ran and their registers are not known: "
		                   "what only those hold counts as garbage, and what any word of "
		                   "their stacks points to as live",
		                   (unsigned long long)unknown, n);
	if (!n)
		graph_account_warn(to, "no list of goroutines is found: what only their stacks "
		                       "hold counts as garbage");
	if (unreadable)
		graph_account_warn(to,
		                   "stacks of %llu of %zu goroutines cannot be read: what only "
		                   "they hold counts as garbage",
		                   (unsigned long long)unreadable, n);
	return 0;
}

static void tell_damage(const struct look *k, uint64_t garbage, struct graph_account *to)
{
	graph_account_check(to, "missing_bytes", k->missing);
	graph_account_check(to, "wiped_bytes", k->zeros);
	if (k->missing > k->in_use_bytes / 100 * PERCENT)
		graph_account_warn(to,
		                   "%.1f MiB of %.1f MiB of the heap cannot be read: what only "
		                   "they refer to is among the %.1f MiB that count as garbage",
		                   k->missing / MIB, k->in_use_bytes / MIB, garbage / MIB);
	if (k->zeros > k->in_use_bytes / 100 * PERCENT)
		graph_account_warn(to,
		                   "%.1f MiB of %.1f MiB of the heap are zeros where objects "
		                   "are: a hole in the core?",
		                   k->zeros / MIB, k->in_use_bytes / MIB);
}

int go_check_make(struct go_objects *o, const struct go_claims *claims,
                  const struct go_check_reached *reached, struct graph_account *to,
                  struct error *err)
{
	struct look k = { 0 };
	int r;

	look_at_records(o, &k);
	look_at_memory(o, &k);
	graph_account_check(to, "walked_bytes", reached->bytes);
	graph_account_check(to, "walked_objects", reached->objects);
	graph_account_check(to, "taken_bytes", k.taken_bytes);
	graph_account_check(to, "spans", o->n_spans);
	graph_account_check(to, "span_records", k.records);
	/* in a process records in store are zeros, and none is missing */
	graph_account_check(to, "spans_unreadable", k.unreadable);
	graph_account_check(to, "spans_inconsistent", k.inconsistent);
	graph_account_check(to, "claims_rejected", claims->rejected);
	graph_account_check(to, "claims_conflicting", claims->conflicting);
	tell_damage(&k, k.taken_bytes > reached->bytes ? k.taken_bytes - reached->bytes : 0, to);
	r = compare(o, &k, reached, to, err);
	return r < 0 ? r : look_at_goroutines(o, to, err);
}
