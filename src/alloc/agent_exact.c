/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_exact.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "alloc/agent_still.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "target/maps.h"

enum {
	PAGE = 4096,
	WIPE_ON_FORK = 18, /* MADV_WIPEONFORK, Linux 4.14 */
	ID_BITS = 18,
	MAX_STACKS = 1 << 17,
	MAX_PCS = 1 << 21,
	CONTEXTS_BYTES = sizeof(struct agent_exact_context) << AGENT_EXACT_CONTEXT_BITS,
	CHUNK_BUCKETS = 1 << 10,
	CHUNK_STACKS = 256,
	TORN_TRIES = 4,
};

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

#define LOWEST     0x10000000ull
#define HIGHEST    0x7fff00000000ull
#define LEAST_GAP  (4ull << 30)
#define REFRESH_NS 100000000ull

/* ---- what lies where ---- */

static u64 room(u64 *end, u64 bytes)
{
	const u64 start = *end;

	*end += (bytes + PAGE - 1) / PAGE * PAGE;
	return start;
}

/* Returns where what the agent may not write begins. */
static u64 lay_out(struct agent_exact *h, const struct agent_tables *t, unsigned levels,
                   bool contexts)
{
	u64 end = PAGE, tables;

	h->magic = AGENT_EXACT_MAGIC;
	h->counters = room(&end, sizeof(struct agent_exact_counters));
	h->slots = room(&end, AGENT_SLOTS * sizeof(struct agent_slot));
	h->threads = room(&end, AGENT_SLOTS * sizeof(struct agent_exact_thread));
	h->works = room(&end, AGENT_EXACT_WORKS * sizeof(struct agent_exact_work));
	h->memos = room(&end, AGENT_SLOTS * AGENT_EXACT_MEMOS * sizeof(struct agent_exact_memo));
	h->rules = room(&end, sizeof(u64) << AGENT_EXACT_RULE_BITS);
	h->ids = room(&end, sizeof(u32) << ID_BITS);
	h->id_mask = (1u << ID_BITS) - 1;
	h->max_stacks = MAX_STACKS;
	h->stacks = room(&end, MAX_STACKS * sizeof(struct agent_exact_stack));
	h->max_pcs = MAX_PCS;
	h->pcs = room(&end, MAX_PCS * sizeof(u64));
	h->n_levels = levels;
	for (unsigned l = 0; l < levels; l++)
		h->levels[l] = room(
			&end, sizeof(struct agent_exact_bucket)
				      << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS * l));
	h->contexts = contexts ? room(&end, CONTEXTS_BYTES) : 0;
	for (unsigned l = 0; contexts && l < levels; l++)
		h->refs[l] = room(&end,
		                  sizeof(struct agent_exact_refs)
		                          << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS * l));
	tables = end;
	h->spans = room(&end, 2 * AGENT_EXACT_MAX_SPANS * sizeof(struct agent_exact_span));
	h->n_index = (u32)agent_tables_room_index(t);
	h->index = room(&end, h->n_index * sizeof(u64));
	h->n_rows = (u32)agent_tables_room_rows(t);
	h->rows = room(&end, h->n_rows * sizeof(struct unwind_row));
	h->bytes = end;
	return tables;
}

/* ---- the mapping ---- */

static int call(struct inject *in, const char *what, long number, u64 at, u64 bytes, u64 third,
                struct error *err)
{
	const uint64_t args[6] = { at, bytes, third };
	int64_t value = -1;
	int r = inject_syscall(in, number, args, &value, err);

	if (r < 0 || value == 0)
		return r;
	return error_sys(err, value < 0 && value > -4096 ? (int)-value : EINVAL,
	                 "the target's %s for exact mode", what);
}

static int note(struct inject *in, u64 base, u64 at, u64 bytes, struct error *err)
{
	const u64 where[2] = { at, bytes };

	return inject_write(in, base + AGENT_TABLE_AT + offsetof(struct agent_table, exact_at),
	                    where, sizeof(where), err);
}

/* The middle of the widest gap: nothing grows to there, so none of the target's mappings
 * becomes one with ours. */
static u64 choose(const struct target *t, u64 bytes, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	u64 start, n;

	if (maps_read(t, &maps, err) < 0)
		return 0;
	start = maps_gap(&maps, LOWEST, HIGHEST, &n);
	if (n < bytes + LEAST_GAP) {
		error_set(err, ENOMEM, "no room for exact mode's tables in the target");
		return 0;
	}
	return (start + (n - bytes) / 2) / PAGE * PAGE;
}

/* 1; 0: not as large as that. */
static int map(struct agent_exact_run *r, struct error *err)
{
	const unsigned flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
	uint64_t args[6] = { choose(r->tracee->target, r->head.bytes, err),
		             r->head.bytes,
		             PROT_READ | PROT_WRITE,
		             flags,
		             -1,
		             0 };
	int64_t at = 0;
	int rc;

	if (!args[0])
		return err->code;
	rc = note(r->inject, r->base, args[0], args[1], err);
	if (rc == 0)
		rc = agent_still_note(r->inject, r->base, AGENT_PLACE_UNCLEAN, err);
	if (rc == 0)
		rc = inject_syscall(r->inject, SYS_mmap, args, &at, err);
	if (rc < 0 || at == -ENOMEM)
		return rc;
	if (at < 0 && at > -4096)
		return error_sys(err, (int)-at, "the target's mmap for exact mode");
	r->at = (u64)at;
	if (r->at == args[0])
		return 1;
	/* a kernel that does not know NOREPLACE may have chosen another place */
	call(r->inject, "munmap", SYS_munmap, r->at, args[1], 0, err);
	return error_set(err, EAGAIN, "the place for exact mode's tables was taken");
}

static int make(struct agent_exact_run *r, unsigned levels, struct error *err)
{
	struct error unused;
	u64 tables = 0;
	int rc = 0;

	if (!levels || levels > AGENT_EXACT_LEVELS)
		levels = AGENT_EXACT_LEVELS;
	for (; rc == 0 && levels; levels--) {
		tables = lay_out(&r->head, &r->tables, levels, tracee_has_contexts(r->tracee));
		rc = map(r, err);
	}
	if (rc == 0)
		return error_set(err, ENOMEM,
		                 "process %d has no address space left for exact mode's tables",
		                 (int)r->tracee->pid);
	if (rc == 1)
		rc = call(r->inject, "mprotect", SYS_mprotect, r->at + tables,
		          r->head.bytes - tables, PROT_READ, err);
	/* single pages are touched, all over it; kernels without huge pages say EINVAL */
	if (rc == 0)
		call(r->inject, "madvise", SYS_madvise, r->at, r->head.bytes, MADV_NOHUGEPAGE,
		     &unused);
	return rc < 0 ? rc
	              : call(r->inject, "madvise", SYS_madvise, r->at, r->head.bytes, WIPE_ON_FORK,
	                     err);
}

int agent_exact_open(struct inject *in, struct tracee *t, u64 base, unsigned levels, u64 alive,
                     struct agent_stacks *stacks, struct agent_exact_run **ret, struct error *err)
{
	struct agent_exact_run *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return error_oom(err);
	*r = (struct agent_exact_run){ .inject = in, .tracee = t, .base = base, .stacks = stacks };
	r->head.alive = alive;
	r->local = calloc(MAX_STACKS, sizeof(*r->local));
	rc = r->local ? agent_tables_make(&r->tables, t, err) : error_oom(err);
	if (rc == 0)
		rc = make(r, levels, err);
	if (rc == 0)
		rc = inject_write(in, r->at, &r->head, sizeof(r->head), err);
	if (rc == 0)
		rc = agent_tables_write(&r->tables, in, r->at, &r->head, err);
	if (rc < 0) {
		agent_exact_free(r);
		return rc;
	}
	r->refreshed_ns = clock_now_ns();
	*ret = r;
	return 0;
}

struct agent_exact_run *agent_exact_free(struct agent_exact_run *r)
{
	if (!r)
		return NULL;
	agent_tables_clear(&r->tables);
	free(r->local);
	free(r);
	return NULL;
}

u64 agent_exact_slots(const struct agent_exact_run *r)
{
	return r->at + r->head.slots;
}

/* ---- taking it away ---- */

/* All of it is anonymous, and it begins as ours does, or with zeros: its memwho was killed
 * before it wrote anything, or this is a child's. */
static bool is_ours(struct inject *in, const struct target *t, u64 at, u64 bytes)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	const struct mapping *m;
	struct error unused;
	u64 magic = 0, end = at;

	if (maps_read(t, &maps, &unused) < 0)
		return false;
	m = maps_find(&maps, at);
	if (!m || m->start != at || at + bytes < at)
		return false;
	for (; m < maps.items + maps.n_items && m->start == end && end < at + bytes; m++) {
		if (m->inode || m->name[0] || m->prot & (MAPS_EXEC | MAPS_SHARED))
			return false;
		end = m->end;
	}
	return end == at + bytes && inject_read(in, at, &magic, sizeof(magic), &unused) == 0 &&
	       (!magic || magic == AGENT_EXACT_MAGIC);
}

int agent_exact_drop(struct inject *in, const struct target *t, u64 base,
                     const struct agent_table *table, struct error *err)
{
	int r = 0;

	if (!table->exact_at)
		return 0;
	if (is_ours(in, t, table->exact_at, table->exact_bytes))
		r = call(in, "munmap", SYS_munmap, table->exact_at, table->exact_bytes, 0, err);
	return r < 0 ? r : note(in, base, 0, 0, err);
}

/* ---- stacks ---- */

static int read_stack(struct agent_exact_run *r, const struct agent_exact_stack *s, u32 *ret,
                      struct error *err)
{
	u64 pcs[UNWIND_MAX_FRAMES];
	int rc;

	*ret = 0;
	if (!s->n || s->n > UNWIND_MAX_FRAMES || s->first > MAX_PCS - (u32)s->n ||
	    s->stop >= UNWIND_STOP_KINDS)
		return 0;
	rc = inject_read(r->inject, r->at + r->head.pcs + s->first * sizeof(u64), pcs,
	                 s->n * sizeof(u64), err);
	for (u32 i = 0; rc == 0 && i < s->n; i++)
		pcs[i] = agent_tables_pc(&r->tables, pcs[i], s->epoch);
	return rc < 0 ? rc : agent_stacks_add_pcs(r->stacks, pcs, s->n, s->stop, ret, err);
}

/* Calls @each with all stacks from @from on. */
static int for_stacks(struct agent_exact_run *r, size_t from,
                      int (*each)(struct agent_exact_run *r, size_t id,
                                  const struct agent_exact_stack *s, struct error *err),
                      struct error *err)
{
	const size_t end = r->counters.used_stacks < MAX_STACKS ? r->counters.used_stacks + 1
	                                                        : MAX_STACKS;
	struct agent_exact_stack s[CHUNK_STACKS];
	int rc = 0;

	for (size_t id = from; rc == 0 && id < end; id += ARRAY_SIZE(s)) {
		const size_t n = end - id < ARRAY_SIZE(s) ? end - id : ARRAY_SIZE(s);

		rc = inject_read(r->inject, r->at + r->head.stacks + id * sizeof(*s), s,
		                 n * sizeof(*s), err);
		for (size_t i = 0; rc == 0 && i < n; i++)
			rc = each(r, id + i, &s[i], err);
	}
	return rc;
}

/* One that is being written is looked at again. */
static int learn_stack(struct agent_exact_run *r, size_t id, const struct agent_exact_stack *s,
                       struct error *err)
{
	int rc = s->ready && !r->local[id] ? read_stack(r, s, &r->local[id], err) : 0;

	if (s->ready && id == r->n_seen + 1)
		r->n_seen++;
	return rc;
}

static int read_counters(struct agent_exact_run *r, struct error *err)
{
	return inject_read(r->inject, r->at + r->head.counters, &r->counters, sizeof(r->counters),
	                   err);
}

int agent_exact_learn(struct agent_exact_run *r, struct error *err)
{
	int rc = read_counters(r, err);

	return rc < 0 ? rc : for_stacks(r, r->n_seen + 1, learn_stack, err);
}

u32 agent_exact_local(const struct agent_exact_run *r, u32 stack)
{
	return stack < MAX_STACKS ? r->local[stack] : 0;
}

static int sum_stack(struct agent_exact_run *r, size_t id, const struct agent_exact_stack *s,
                     struct error *err)
{
	struct agent_stack *to = agent_stacks_at(r->stacks, r->local[id]);

	if (s->ready && r->local[id]) {
		to->objects.estimate += (double)s->objects;
		to->bytes.estimate += (double)s->bytes;
	}
	return 0;
}

int agent_exact_sum_stacks(struct agent_exact_run *r, struct error *err)
{
	struct agent_stack *none = agent_stacks_at(r->stacks, 0);

	for (u32 id = 0; id < agent_stacks_n(r->stacks); id++) {
		struct agent_stack *s = agent_stacks_at(r->stacks, id);

		s->objects = s->bytes = (struct interval_sum){ 0 };
	}
	none->objects.estimate = (double)r->counters.no_stack;
	none->bytes.estimate = (double)r->counters.no_stack_bytes;
	return for_stacks(r, 1, sum_stack, err);
}

/* ---- while it records ---- */

/* Stacks that end in code that is not known ask for a look, but not one after the other. */
static bool refresh_is_due(const struct agent_exact_run *r, u64 now)
{
	const u64 since = now - r->refreshed_ns;

	return since > REFRESH_NS ||
	       (r->counters.unknown != r->unknown_seen && since > REFRESH_NS / 5);
}

static int refresh(struct agent_exact_run *r, struct error *err)
{
	/* what is there was recorded with the code that was there */
	int rc = agent_exact_learn(r, err);

	r->unknown_seen = r->counters.unknown;
	if (rc == 0)
		rc = agent_tables_refresh(&r->tables, err);
	r->refreshed_ns = clock_now_ns();
	return rc == 1 ? agent_tables_write(&r->tables, r->inject, r->at, &r->head, err) : rc;
}

static int settle(struct agent_exact_run *r, const struct agent_table *table, struct error *err)
{
	int rc = agent_still_wait(r->inject, r->tracee->target, r->base, table, err);

	if (rc == 0)
		rc = agent_tables_settle(&r->tables, r->inject, r->at, &r->head, err);
	return rc == -EAGAIN ? 0 : rc;
}

int agent_exact_tend(struct agent_exact_run *r, const struct agent_table *table, struct error *err)
{
	int rc = read_counters(r, err);

	if (rc == 0 && r->tables.is_mixed)
		return settle(r, table, err);
	return rc == 0 && refresh_is_due(r, clock_now_ns()) ? refresh(r, err) : rc;
}

/* ---- the set ---- */

struct look {
	struct agent_exact_run *r;
	agent_exact_found_fn found;
	void *arg;
	struct agent_exact_bucket *buckets; /* CHUNK_BUCKETS */
	struct agent_exact_refs *refs;      /* theirs; zeros where there are none */
	/* as they were when the look began; NULL: there are none */
	struct agent_exact_context *contexts;
};

/* Or damaged. */
static bool is_torn(const struct look *l, size_t bucket, unsigned i)
{
	const struct agent_exact_bucket *b = &l->buckets[bucket];
	const struct agent_exact_value *v = &b->values[i];
	const u64 size = v->size & AGENT_EXACT_MAX_SIZE;

	return b->ptrs[i] > AGENT_BUSY &&
	       v->size != (size | agent_exact_check(b->ptrs[i], size, v->stack, v->birth,
	                                            l->refs[bucket].refs[i]));
}

static bool any_torn(const struct look *l, size_t n)
{
	for (size_t i = 0; i < n * AGENT_EXACT_BUCKET_ENTRIES; i++) {
		if (is_torn(l, i / AGENT_EXACT_BUCKET_ENTRIES, i % AGENT_EXACT_BUCKET_ENTRIES))
			return true;
	}
	return false;
}

/* 1, and the context's address; 0: the block has gone with it. One that has begun anew since
 * the look began has blocks as well; whose they are is looked up once more. */
static int context_of(const struct look *l, u64 ref, u64 *ret, struct error *err)
{
	const u32 index = agent_exact_ref_index(ref);
	int rc = 0;

	*ret = 0;
	if (!ref || !l->contexts)
		return 1;
	if ((int32_t)((u32)(ref >> 32) - l->contexts[index].generation) > 0)
		rc = inject_read(l->r->inject,
		                 l->r->at + l->r->head.contexts + index * sizeof(l->contexts[0]),
		                 &l->contexts[index], sizeof(l->contexts[0]), err);
	if (rc < 0)
		return rc;
	*ret = l->contexts[index].context;
	return (u32)(ref >> 32) == l->contexts[index].generation;
}

static int tell(const struct look *l, size_t bucket, struct error *err)
{
	const struct agent_exact_bucket *b = &l->buckets[bucket];
	int rc = 0;

	for (unsigned i = 0; rc >= 0 && i < AGENT_EXACT_BUCKET_ENTRIES; i++) {
		struct agent_exact_found f = { .size = b->values[i].size & AGENT_EXACT_MAX_SIZE,
			                       .stack = b->values[i].stack,
			                       .birth = b->values[i].birth };

		if (is_torn(l, bucket, i)) {
			l->r->torn++;
			continue;
		}
		if (b->ptrs[i] <= AGENT_BUSY)
			continue;
		rc = context_of(l, l->refs[bucket].refs[i], &f.context, err);
		if (rc == 1)
			rc = l->found(l->arg, &f, err);
	}
	return rc < 0 ? rc : 0;
}

static int read_buckets(const struct look *l, unsigned level, size_t first, size_t n,
                        struct error *err)
{
	const struct agent_exact_run *r = l->r;
	int rc = inject_read(r->inject, r->at + r->head.levels[level] + first * sizeof(*l->buckets),
	                     l->buckets, n * sizeof(*l->buckets), err);

	if (rc == 0 && l->contexts)
		rc = inject_read(r->inject, r->at + r->head.refs[level] + first * sizeof(*l->refs),
		                 l->refs, n * sizeof(*l->refs), err);
	return rc;
}

static int look_at(const struct look *l, unsigned level, size_t first, size_t n, struct error *err)
{
	int rc = 0;

	for (unsigned k = 0; k < TORN_TRIES; k++) {
		rc = read_buckets(l, level, first, n, err);
		if (rc < 0 || !any_torn(l, n))
			break;
	}
	for (size_t i = 0; rc == 0 && i < n; i++)
		rc = tell(l, i, err);
	return rc;
}

static int read_contexts(struct look *l, struct error *err)
{
	const struct agent_exact_run *r = l->r;

	if (!r->head.contexts)
		return 0;
	l->contexts = malloc(CONTEXTS_BYTES);
	if (!l->contexts)
		return error_oom(err);
	return inject_read(r->inject, r->at + r->head.contexts, l->contexts, CONTEXTS_BYTES, err);
}

int agent_exact_read_sums(struct agent_exact_run *r, struct error *err)
{
	const size_t bytes = AGENT_SLOTS * sizeof(struct agent_exact_thread);
	cleanup_free struct agent_exact_thread *t = malloc(bytes);
	const struct agent_exact_thread *others = &r->counters.others;
	struct agent_exact_sums s;
	int rc = t ? read_counters(r, err) : error_oom(err);

	if (rc == 0)
		rc = inject_read(r->inject, r->at + r->head.threads, t, bytes, err);
	s = (struct agent_exact_sums){ others->objects, others->bytes, others->freed_objects,
		                       others->freed_bytes };
	for (size_t i = 0; rc == 0 && i < AGENT_SLOTS; i++) {
		s.objects += t[i].objects;
		s.bytes += t[i].bytes;
		s.freed_objects += t[i].freed_objects;
		s.freed_bytes += t[i].freed_bytes;
	}
	if (rc == 0)
		r->sums = s;
	return rc;
}

int agent_exact_look(struct agent_exact_run *r, agent_exact_found_fn found, void *arg,
                     struct error *err)
{
	cleanup_free struct agent_exact_bucket *buckets = malloc(CHUNK_BUCKETS * sizeof(*buckets));
	cleanup_free struct agent_exact_refs *refs = calloc(CHUNK_BUCKETS, sizeof(*refs));
	struct look l = { r, found, arg, buckets, refs, NULL };
	int rc = buckets && refs ? agent_exact_learn(r, err) : error_oom(err);

	if (rc == 0)
		rc = agent_exact_read_sums(r, err);
	if (rc == 0)
		rc = read_contexts(&l, err);
	for (u32 k = 0; rc == 0 && k < r->head.n_levels && k <= r->counters.top; k++) {
		const size_t n = 1ull << (AGENT_EXACT_FIRST_BITS + AGENT_EXACT_STEP_BITS * k);

		for (size_t i = 0; rc == 0 && i < n; i += CHUNK_BUCKETS)
			rc = look_at(&l, k, i, CHUNK_BUCKETS, err);
	}
	free(l.contexts);
	return rc;
}
