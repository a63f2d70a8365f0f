/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What an event means for the set of ranges. Everything here is arithmetic on
 * what the kernel was asked for and answered; mm/mmap.c, mm/mremap.c, ipc/shm.c
 * and mm/madvise.c of Linux 6.1 to 6.18 are the source of its rules.
 */

#include <errno.h>
#include <linux/mman.h>
#include <string.h>
#include <sys/mman.h>

#include "base/array.h"
#include "base/clock.h"
#include "base/log.h"
#include "map/tracer_state.h"
#include "target/maps.h"

enum {
	PAGE = 4096,
	SHM_READ_ONLY = 010000, /* sys/shm.h: SHM_RDONLY, SHM_EXEC */
	SHM_EXECUTE = 0100000,
	SHARES_MEMORY = 1, /* of MAP_EVENT_FORK */
};

#define SEGMENTS_NS 200000000ULL /* between two looks for a segment's length */

static u64 up(u64 x)
{
	return (x + PAGE - 1) & ~(u64)(PAGE - 1);
}

static bool failed(const struct map_event *e)
{
	return e->ret >= (u64)-4095;
}

static struct range_owner owner_of(const struct map_event *e, enum range_kind kind)
{
	return (struct range_owner){ .time_ns = e->time_ns,
		                     .stack = e->stack,
		                     .tid = e->tid,
		                     .kind = kind,
		                     .prot = e->prot & 7 };
}

static int insert(struct tracer_process *p, u64 start, u64 end, u64 base, struct range_owner owner,
                  struct error *err)
{
	struct range r = { start, end, base, owner };
	int rc;

	if (start >= end)
		return 0;
	rc = range_set_insert(&p->set, &r, err);
	if (rc == 0)
		rc = range_set_remove(&p->touched, start, end, NULL, err);
	return rc < 0 ? rc : tracer_sync_note(p, start, end, err);
}

/* ---- calls that are told twice ---- */

static struct tracer_pending *pending_of(struct tracer_process *p, u32 tid, struct error *err)
{
	uint64_t *known = hash_map_get(&p->pending_index, tid);
	int r;

	if (known)
		return &p->pending[*known];
	r = array_reserve(&p->pending, &p->cap_pending, p->n_pending + 1, err);
	if (r == 0)
		r = hash_map_put(&p->pending_index, tid, p->n_pending, err);
	if (r < 0)
		return NULL;
	p->pending[p->n_pending] = (struct tracer_pending){ 0 };
	return &p->pending[p->n_pending++];
}

/* Take [@start, @end) out; the thread's call can still fail. */
static int give_back(struct tracer_process *p, const struct map_event *e, u64 start, u64 end,
                     struct error *err)
{
	struct tracer_pending *w = pending_of(p, e->tid, err);
	int r;

	if (!w)
		return -ENOMEM;
	w->kind = e->kind;
	w->a = e->a;
	w->b = e->b;
	w->removed.n_items = 0;
	r = range_set_remove(&p->set, start, end, &w->removed, err);
	return r < 0 ? r : tracer_sync_note(p, start, end, err);
}

/* The same when the pages go for good. */
static int give_up(struct tracer_process *p, const struct map_event *e, u64 start, u64 end,
                   struct error *err)
{
	int r = range_set_remove(&p->touched, start, end, NULL, err);

	return r < 0 ? r : give_back(p, e, start, end, err);
}

/* The call of this thread that was told before, if it is of @kind. */
static struct tracer_pending *answer(struct tracer_process *p, const struct map_event *e, u32 kind)
{
	uint64_t *known = hash_map_get(&p->pending_index, e->tid);
	struct tracer_pending *w = known ? &p->pending[*known] : NULL;

	if (!w || w->kind != kind || w->a != e->a)
		return NULL;
	w->kind = 0;
	return w;
}

/* It has failed: what was there is there. */
static int undo(struct tracer_process *p, const struct map_event *e, u32 kind, struct error *err)
{
	struct tracer_pending *w = answer(p, e, kind);

	if (!w) {
		p->wants_sync = true;
		return 0;
	}
	for (size_t i = 0; i < w->removed.n_items; i++) {
		const struct range *r = &w->removed.items[i];
		int rc = tracer_sync_note(p, r->start, r->end, err);

		if (rc < 0)
			return rc;
	}
	return range_set_restore(&p->set, &w->removed, 0, err);
}

/* ---- mmap, munmap ---- */

static enum range_kind kind_of_mmap(const struct map_event *e)
{
	if (e->flags & MAP_GROWSDOWN)
		return RANGE_STACK;
	if (!(e->flags & MAP_ANONYMOUS))
		return RANGE_FILE;
	return e->flags & MAP_SHARED ? RANGE_SHARED : RANGE_MMAP;
}

/* hugetlb rounds up to its own pages (ksys_mmap_pgoff). */
static u64 length_of_mmap(const struct map_event *e)
{
	unsigned shift = e->flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK;
	u64 huge = 1ULL << (shift ? shift : 21);

	if (!(e->flags & MAP_HUGETLB))
		return up(e->b);
	return (e->b + huge - 1) & ~(huge - 1);
}

static int touch_all(struct tracer_process *p, const struct map_event *e, u64 start, u64 end,
                     struct error *err)
{
	struct range r = { start, end, 0, { .stack = e->stack, .tid = e->tid } };

	return range_set_fill(&p->touched, &r, err);
}

static int on_mmap(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                   struct error *err)
{
	struct range_owner owner = owner_of(e, kind_of_mmap(e));
	u64 end = e->a + length_of_mmap(e);
	int r;

	if (e->flags & MAP_GROWSDOWN)
		owner.flags |= RANGE_GROWS_DOWN;
	if (e->prot & PROT_EXEC)
		p->wants_code = true;
	r = insert(p, e->a, end, 0, owner, err);
	if (r == 0 && t->options.by == TRACER_BY_TOUCHED && e->flags & (MAP_POPULATE | MAP_LOCKED))
		r = touch_all(p, e, e->a, end, err);
	return r;
}

static int on_unmap(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	u64 end = e->a + up(e->b);

	/* mm/mmap.c refuses these */
	if (e->a & (PAGE - 1) || !e->b || end < e->a)
		return 0;
	return give_up(p, e, e->a, end, err);
}

/* ---- mremap ---- */

static int on_remap_begin(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	u64 end = e->a + up(e->b);

	if (e->a & (PAGE - 1) || end < e->a)
		end = e->a;
	return give_back(p, e, e->a, end, err);
}

/* Like the last page of what was there. */
static struct range_owner grown_owner(const struct range_list *old, const struct map_event *e)
{
	struct range_owner owner = owner_of(e, RANGE_MREMAP);

	if (old->n_items) {
		const struct range_owner *last = &old->items[old->n_items - 1].owner;

		owner.prot = last->prot;
		owner.flags = last->flags & (RANGE_GROWS_DOWN | RANGE_NO_FORK);
	}
	return owner;
}

/* The bytes of @old that are below @end go @distance further on. */
static int move(struct tracer_process *p, struct range_list *old, u64 end, u64 distance,
                struct error *err)
{
	struct range_list kept = { old->items, 0, 0 };
	int r;

	for (size_t i = 0; i < old->n_items && old->items[i].start < end; i++) {
		if (old->items[i].end > end)
			old->items[i].end = end;
		kept.n_items++;
	}
	r = range_set_restore(&p->set, &kept, distance, err);
	for (size_t i = 0; r == 0 && i < kept.n_items; i++)
		r = tracer_sync_note(p, kept.items[i].start + distance,
		                     kept.items[i].end + distance, err);
	return r;
}

/* Pages move along, and who touched them first. */
static int move_touched(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	struct range_list list = { 0 };
	u64 n = up(e->b) < up(e->c) ? up(e->b) : up(e->c);
	int r = range_set_remove(&p->touched, e->a, e->a + up(e->b), &list, err);

	if (r == 0)
		r = range_set_remove(&p->touched, e->ret, e->ret + up(e->c), NULL, err);
	if (r == 0)
		r = range_set_restore(&p->touched, &list, e->ret - e->a, err);
	if (r == 0)
		r = range_set_remove(&p->touched, e->ret + n, e->ret + up(e->b), NULL, err);
	range_set_list_clear(&list);
	return r;
}

static int remap(struct tracer_process *p, const struct map_event *e, struct range_list *old,
                 struct error *err)
{
	u64 old_end = e->a + up(e->b), new_length = up(e->c);
	u64 kept = up(e->b) < new_length ? up(e->b) : new_length;
	bool stays = !e->b || e->flags & MREMAP_DONTUNMAP;
	struct range_owner owner = grown_owner(old, e);
	int r = 0;

	if (!e->b) { /* a second view of shared memory */
		const struct range *source = range_set_find(&p->set, e->a);

		if (source) {
			owner.prot = source->owner.prot;
			owner.kind = source->owner.kind;
		}
	}
	if (e->ret != e->a)
		r = move_touched(p, e, err);
	else
		r = range_set_remove(&p->touched, e->a + kept, old_end, NULL, err);
	/* both are there, the new one is what this call asked for */
	if (r == 0 && stays)
		r = range_set_restore(&p->set, old, 0, err);
	if (r == 0 && stays)
		return insert(p, e->ret, e->ret + new_length, 0, owner, err);
	/* the place, whatever was there; then what moved, and the rest is new */
	if (r == 0)
		r = range_set_remove(&p->set, e->ret, e->ret + new_length, NULL, err);
	if (r == 0)
		r = move(p, old, e->a + kept, e->ret - e->a, err);
	if (r == 0 && new_length > kept) {
		struct range grown = { e->ret + kept, e->ret + new_length, 0, owner };

		r = range_set_insert(&p->set, &grown, err);
	}
	return r < 0 ? r : tracer_sync_note(p, e->ret, e->ret + new_length, err);
}

static int on_remap(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	struct tracer_pending *w;
	struct range_list none = { 0 };

	if (failed(e)) {
		/* what was at a fixed place may be gone all the same */
		if (e->flags & MREMAP_FIXED)
			p->wants_sync = true;
		return undo(p, e, MAP_EVENT_REMAP_BEGIN, err);
	}
	w = answer(p, e, MAP_EVENT_REMAP_BEGIN);
	if (!w) {
		/* its beginning was lost, or was before the attach */
		p->wants_sync = true;
		return remap(p, e, &none, err);
	}
	return remap(p, e, &w->removed, err);
}

/* ---- brk ---- */

static int on_brk_begin(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	u64 start = up(e->a), end = up(e->b);

	return give_up(p, e, start, start < end ? end : start, err);
}

static int on_brk(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	struct tracer_pending *w;
	struct range_owner owner = owner_of(e, RANGE_BRK);

	if (e->b != e->a) /* refused: it answers what it was */
		return undo(p, e, MAP_EVENT_BRK_BEGIN, err);
	w = answer(p, e, MAP_EVENT_BRK_BEGIN);
	if (!w) {
		p->wants_sync = true;
		return 0;
	}
	owner.prot = MAPS_READ | MAPS_WRITE;
	return insert(p, up(w->b), up(e->a), 0, owner, err);
}

/* ---- System V shared memory ---- */

/* The kernel could not say how long segment @id is (its lock was taken). What
 * of it is attached now, at any place: the longest is the whole, unless all
 * have lost their ends. 0: nowhere. */
static u64 length_in_maps(const struct tracer_process *p, u32 id)
{
	struct maps maps = { 0 };
	struct error ignored;
	u64 longest = 0;

	if (!p->target || maps_read(p->target, &maps, &ignored) < 0)
		return 0;
	for (size_t i = 0; i < maps.n_items; i++) {
		const struct mapping *m = &maps.items[i];
		u64 length = m->offset + (m->end - m->start);

		/* ipc/shm.c: the inode is the segment's id */
		if (m->inode == id && !strncmp(m->name, "/SYSV", 5) && length > longest)
			longest = length;
	}
	maps_clear(&maps);
	return longest;
}

/* A segment is as long as it was when it was attached before. */
static u64 length_of_segment(struct tracer *t, const struct tracer_process *p,
                             const struct map_event *e)
{
	uint64_t *known = hash_map_get(&t->segments, e->c);
	u64 length = e->b > e->a ? e->b - e->a : 0, now;
	struct error ignored;

	if (known && *known >= length)
		return *known;
	if (!length) {
		now = clock_now_ns();
		if (now - t->segments_read_ns < SEGMENTS_NS)
			return 0;
		length = length_in_maps(p, (u32)e->c);
		t->segments_read_ns = clock_now_ns();
	}
	if (length)
		hash_map_put(&t->segments, e->c, length, &ignored);
	return length;
}

static int on_shmat(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                    struct error *err)
{
	struct range_owner owner = owner_of(e, RANGE_SHM);
	u64 length = length_of_segment(t, p, e);

	owner.prot = MAPS_READ;
	if (!(e->flags & SHM_READ_ONLY))
		owner.prot |= MAPS_WRITE;
	if (e->flags & SHM_EXECUTE)
		owner.prot |= MAPS_EXEC;
	if (!length) { /* gone already, or else the maps will tell */
		length = PAGE;
		p->wants_sync = true;
	}
	return insert(p, e->a, e->a + length, e->a, owner, err);
}

/* All pieces of the segment that would begin at @a: ipc/shm.c, ksys_shmdt(). */
static int on_shmdt(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	struct tracer_pending *w = pending_of(p, e->tid, err);
	const struct range *r;
	struct range_at at;
	int rc = 0;

	if (!w)
		return -ENOMEM;
	w->kind = e->kind;
	w->a = e->a;
	w->removed.n_items = 0;
	r = range_set_from(&p->set, e->a, &at);
	while (r && rc == 0) {
		u64 start = r->start, end = r->end;

		if (r->owner.kind == RANGE_SHM && r->base == e->a) {
			rc = range_set_remove(&p->set, start, end, &w->removed, err);
			if (rc == 0)
				rc = range_set_remove(&p->touched, start, end, NULL, err);
			if (rc == 0)
				rc = tracer_sync_note(p, start, end, err);
		}
		r = range_set_from(&p->set, end, &at);
	}
	return rc;
}

/* ---- mprotect, madvise, page faults ---- */

static int on_protect(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	if (failed(e)) {
		p->wants_sync = true; /* it may have got half of the way */
		return 0;
	}
	if (e->prot & PROT_EXEC)
		p->wants_code = true;
	return range_set_protect(&p->set, e->a, e->a + up(e->b), e->prot & 7, 7, err);
}

static int on_advise(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                     struct error *err)
{
	u64 end = e->a + up(e->b);

	switch (e->c) {
	case MADV_DONTNEED: /* after MADV_FREE they are there until they are needed */
	case MADV_REMOVE:
	case 24: /* MADV_DONTNEED_LOCKED */
		return range_set_remove(&p->touched, e->a, end, NULL, err);
	case 22: /* MADV_POPULATE_READ, _WRITE */
	case 23: return t->options.by == TRACER_BY_TOUCHED ? touch_all(p, e, e->a, end, err) : 0;
	case MADV_DONTFORK: return range_set_flag(&p->set, e->a, end, RANGE_NO_FORK, 0, err);
	case MADV_DOFORK: return range_set_flag(&p->set, e->a, end, 0, RANGE_NO_FORK, err);
	}
	return 0;
}

static int on_touch(struct tracer_process *p, const struct map_event *e, struct error *err)
{
	u64 page = e->a & ~(u64)(PAGE - 1);

	return touch_all(p, e, page, page + PAGE, err);
}

/* ---- processes ---- */

static int on_fork(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                   struct error *err)
{
	int r;

	if (e->flags & SHARES_MEMORY)
		return 0;
	r = tracer_process_fork(t, p, e->slot, e->a, e->b, err);
	if (p->n_forking)
		p->n_forking--;
	if (!p->n_forking)
		range_set_clear(&p->fork_window);
	return r;
}

static int on_exec(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                   struct error *err)
{
	if (p && !e->flags)
		tracer_process_end(p, TRACER_ENDED_EXEC);
	return e->a == MAP_NO_SLOT ? 0 : tracer_process_exec(t, e->pid, e->a, err);
}

/* ---- counting calls ---- */

static int count(struct tracer *t, const struct map_event *e, u64 bytes, struct error *err)
{
	u64 hash = hash_u64((u64)e->stack << 32 | e->tid) ^ hash_u64((u64)e->slot << 8 | e->kind);
	struct tracer_calls *c;
	uint64_t *index;
	int r;

	for (size_t pos = 0; (index = hash_map_next(&t->calls_index, hash, &pos));) {
		c = &t->calls[*index];
		if (c->slot == e->slot && c->stack == e->stack && c->tid == e->tid &&
		    c->kind == e->kind) {
			c->calls++;
			c->bytes += bytes;
			return 0;
		}
	}
	r = array_reserve(&t->calls, &t->cap_calls, t->n_calls + 1, err);
	if (r == 0)
		r = hash_map_add(&t->calls_index, hash, t->n_calls, err);
	if (r == 0)
		t->calls[t->n_calls++] = (struct tracer_calls){ e->slot, e->stack, e->tid,
			                                        e->kind, 1,        bytes };
	return r;
}

static int change(struct tracer *t, struct tracer_process *p, const struct map_event *e,
                  struct error *err)
{
	switch (e->kind) {
	case MAP_EVENT_MMAP: return on_mmap(t, p, e, err);
	case MAP_EVENT_UNMAP: return on_unmap(p, e, err);
	case MAP_EVENT_UNMAP_FAILED: return undo(p, e, MAP_EVENT_UNMAP, err);
	case MAP_EVENT_REMAP_BEGIN: return on_remap_begin(p, e, err);
	case MAP_EVENT_REMAP: return on_remap(p, e, err);
	case MAP_EVENT_BRK_BEGIN: return on_brk_begin(p, e, err);
	case MAP_EVENT_BRK: return on_brk(p, e, err);
	case MAP_EVENT_SHMAT: return on_shmat(t, p, e, err);
	case MAP_EVENT_SHMDT: return on_shmdt(p, e, err);
	case MAP_EVENT_SHMDT_FAILED: return undo(p, e, MAP_EVENT_SHMDT, err);
	case MAP_EVENT_PROTECT: return on_protect(p, e, err);
	case MAP_EVENT_ADVISE: return on_advise(t, p, e, err);
	case MAP_EVENT_TOUCH: return on_touch(p, e, err);
	case MAP_EVENT_MMAP_FAILED:
	case MAP_EVENT_OTHER: p->wants_sync = true; return 0;
	case MAP_EVENT_MODULES: p->wants_code = true; return 0;
	case MAP_EVENT_FORK_BEGIN: p->n_forking++; return 0;
	case MAP_EVENT_FORK: return on_fork(t, p, e, err);
	case MAP_EVENT_FORK_FAILED: p->n_forking -= p->n_forking > 0; return 0;
	case MAP_EVENT_EXIT: tracer_process_end(p, TRACER_ENDED_EXIT); return 0;
	}
	return 0;
}

static bool is_counted(u32 kind)
{
	switch (kind) {
	case MAP_EVENT_MMAP:
	case MAP_EVENT_UNMAP:
	case MAP_EVENT_REMAP:
	case MAP_EVENT_BRK:
	case MAP_EVENT_SHMAT:
	case MAP_EVENT_SHMDT:
	case MAP_EVENT_PROTECT:
	case MAP_EVENT_ADVISE:
	case MAP_EVENT_OTHER:
	case MAP_EVENT_TOUCH: return true;
	}
	return false;
}

int tracer_apply(void *arg, const struct map_event *e, struct error *err)
{
	struct tracer *t = arg;
	struct tracer_process *p = tracer_process_of(t, e->slot);
	int r = 0;

	if (e->kind == MAP_EVENT_EXEC)
		return on_exec(t, p, e, err);
	if (!p && e->kind != MAP_EVENT_EXIT) {
		r = tracer_process_found(t, e->slot, err);
		p = tracer_process_of(t, e->slot);
	}
	if (r < 0 || !p || p->ended)
		return r;
	if (is_counted(e->kind))
		r = count(t, e, e->kind == MAP_EVENT_TOUCH ? 0 : e->b, err);
	return r < 0 ? r : change(t, p, e, err);
}
