/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Joining the set with /proc/PID/maps, without stopping anything: what events
 * say about a byte while the maps are read (the window) is truer than they are,
 * and so is what calls say that have been entered and have not returned; about
 * every other byte the maps are right.
 */

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "map/tracer_state.h"
#include "target/maps.h"

enum {
	MAX_IN_FLIGHT = 1024,
	MAX_TRIES = 4, /* of reading maps while no event gets lost */
	ENOUGH = 1 << 20,
};

int tracer_sync_note(struct tracer_process *p, u64 start, u64 end, struct error *err)
{
	struct range r = { start, end, 0, { 0 } };
	int rc = 0;

	if (p->window_open)
		rc = range_set_insert(&p->window, &r, err);
	if (rc == 0 && p->n_forking)
		rc = range_set_insert(&p->fork_window, &r, err);
	return rc;
}

/* ---- what differs ---- */

struct joining {
	struct tracer *t;
	struct tracer_process *p;
	struct maps maps;
	bool attaching;
	u64 now;
	/* What the maps lack is looked for twice: Linux 6.17 and later read them
	 * without the lock, and a mapping that is being cut or joined can be missed. */
	struct range_set suspects;
	bool confirming;
};

static bool is_named(const struct mapping *m, const char *name)
{
	return m && !strcmp(m->name, name);
}

static enum range_kind kind_of_mapping(const struct mapping *m)
{
	if (!strcmp(m->name, "[heap]"))
		return RANGE_BRK;
	if (!strcmp(m->name, "[stack]"))
		return RANGE_STACK;
	if (!strncmp(m->name, "/SYSV", 5))
		return RANGE_SHM;
	if (m->name[0] == '[' && strncmp(m->name, "[anon", 5) != 0)
		return RANGE_KERNEL;
	if (m->inode && !(m->prot & MAPS_SHARED && !strncmp(m->name, "/dev/zero", 9)))
		return RANGE_FILE;
	return m->prot & MAPS_SHARED ? RANGE_SHARED : RANGE_MMAP;
}

static u16 flags_of(const struct joining *j, const struct mapping *m)
{
	u16 flags = j->p->begins_at_exec ? 0 : j->attaching ? RANGE_BEFORE_ATTACH : RANGE_UNCERTAIN;

	return is_named(m, "[stack]") ? flags | RANGE_GROWS_DOWN : flags;
}

/* A stack that has grown: like what is above. A piece of a segment: like the
 * others of it. */
static const struct range *neighbour(const struct joining *j, const struct mapping *m, u64 end)
{
	const struct range *r = range_set_find(&j->p->set, end);
	u64 base = m->start - m->offset;

	if (r && r->start == end && r->owner.flags & RANGE_GROWS_DOWN)
		return r;
	r = kind_of_mapping(m) == RANGE_SHM ? range_set_find(&j->p->set, base) : NULL;
	return r && r->owner.kind == RANGE_SHM && r->base == base ? r : NULL;
}

/* [@start, @end) of @m is mapped, and nobody has said so. */
static int add(struct joining *j, const struct mapping *m, u64 start, u64 end, struct error *err)
{
	const struct range *like = j->attaching ? NULL : neighbour(j, m, end);
	struct range r = { start, end, 0, { .time_ns = j->now } };

	if (like) {
		r.owner = like->owner;
		r.base = like->base;
		j->p->grown_bytes += end - start;
	} else {
		r.owner.kind = kind_of_mapping(m);
		r.owner.flags = flags_of(j, m);
		if (r.owner.kind == RANGE_SHM)
			r.base = m->start - m->offset;
		if (r.owner.kind == RANGE_KERNEL)
			r.owner.flags &= ~RANGE_UNCERTAIN;
	}
	r.owner.prot = m->prot & 7;
	return range_set_insert(&j->p->set, &r, err);
}

/* Call @fn for what of [@start, @end) the window does not hold. */
static int outside_window(struct joining *j, const struct mapping *m, u64 start, u64 end,
                          int (*fn)(struct joining *j, const struct mapping *m, u64 start, u64 end,
                                    struct error *err),
                          struct error *err)
{
	struct range_at at;
	const struct range *w = range_set_from(&j->p->window, start, &at);
	int r = 0;

	while (r == 0 && start < end) {
		u64 stop = w && w->start < end ? w->start : end;

		if (start < stop)
			r = fn(j, m, start, stop, err);
		start = w && w->start < end ? w->end : end;
		w = range_set_next(&j->p->window, &at);
	}
	return r;
}

static int take_out(struct joining *j, u64 start, u64 end, struct error *err)
{
	const struct range *r;
	struct range_at at;

	for (r = range_set_from(&j->p->set, start, &at); r && r->start < end;
	     r = range_set_next(&j->p->set, &at))
		j->p->gone_bytes += (r->end < end ? r->end : end) -
		                    (r->start > start ? r->start : start);
	return range_set_remove(&j->p->set, start, end, NULL, err);
}

static int suspect(struct joining *j, u64 start, u64 end, struct error *err)
{
	const struct range *r;
	struct range_at at;
	int rc = 0;

	for (r = range_set_from(&j->p->set, start, &at); rc == 0 && r && r->start < end;
	     r = range_set_next(&j->p->set, &at)) {
		struct range piece = { r->start > start ? r->start : start,
			               r->end < end ? r->end : end };

		rc = range_set_insert(&j->suspects, &piece, err);
	}
	return rc;
}

/* The maps lack [@start, @end). */
static int gone(struct joining *j, const struct mapping *m, u64 start, u64 end, struct error *err)
{
	const struct range *s;
	struct range_at at;
	int r = 0;

	if (!j->confirming)
		return suspect(j, start, end, err);
	for (s = range_set_from(&j->suspects, start, &at); r == 0 && s && s->start < end;
	     s = range_set_next(&j->suspects, &at))
		r = take_out(j, s->start > start ? s->start : start, s->end < end ? s->end : end,
		             err);
	return r;
}

/* What of [@start, @end) the set does not hold, as a list: it will change. */
static int list_missing(const struct range_set *s, u64 start, u64 end, struct range_list *ret,
                        struct error *err)
{
	struct range_set holes = { 0 };
	struct range whole = { start, end, 0, { 0 } };
	const struct range *r;
	struct range_at at;
	int rc = range_set_insert(&holes, &whole, err);

	for (r = range_set_from(s, start, &at); rc == 0 && r && r->start < end;
	     r = range_set_next(s, &at))
		rc = range_set_remove(&holes, r->start, r->end, NULL, err);
	ret->n_items = 0;
	if (rc == 0)
		rc = range_set_remove(&holes, start, end, ret, err);
	range_set_clear(&holes);
	return rc;
}

static int add_missing(struct joining *j, const struct mapping *m, struct error *err)
{
	cleanup(range_set_list_clear) struct range_list missing = { 0 };
	int r = list_missing(&j->p->set, m->start, m->end, &missing, err);

	/* from above: a stack that has grown twice is like its top */
	for (size_t i = missing.n_items; r == 0 && i-- > 0;)
		r = outside_window(j, m, missing.items[i].start, missing.items[i].end, add, err);
	return r;
}

static int set_prot(struct joining *j, const struct mapping *m, u64 start, u64 end,
                    struct error *err)
{
	return range_set_protect(&j->p->set, start, end, m->prot & 7, 7, err);
}

static bool has_prot(const struct range_set *s, const struct mapping *m)
{
	const struct range *r;
	struct range_at at;

	for (r = range_set_from(s, m->start, &at); r && r->start < m->end;
	     r = range_set_next(s, &at)) {
		if (r->owner.prot != (m->prot & 7))
			return false;
	}
	return true;
}

static int compare(struct joining *j, struct error *err)
{
	u64 behind = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < j->maps.n_items; i++) {
		const struct mapping *m = &j->maps.items[i];

		if (!strcmp(m->name, "[vsyscall]"))
			continue; /* not an address of this process */
		if (m->start > behind)
			r = outside_window(j, NULL, behind, m->start, gone, err);
		if (r == 0)
			r = add_missing(j, m, err);
		if (r == 0 && !has_prot(&j->p->set, m))
			r = outside_window(j, m, m->start, m->end, set_prot, err);
		behind = m->end;
	}
	return r < 0 ? r : outside_window(j, NULL, behind, 1ULL << 63, gone, err);
}

/* ---- reading the maps ---- */

static int drain(struct tracer *t, struct error *err)
{
	int r = tracer_bpf_consume(t->bpf, ENOUGH, tracer_apply, t, err);

	return r < 0 ? r : 0;
}

/* What calls that are under way will have given back is not sure either. */
static int note_in_flight(struct tracer *t, struct tracer_process *p, struct error *err)
{
	struct map_in_flight flights[MAX_IN_FLIGHT];
	size_t n = tracer_bpf_in_flight(t->bpf, flights, MAX_IN_FLIGHT);
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		uint64_t *known = hash_map_get(&p->pending_index, flights[i].tid);

		if (tracer_process_of(t, flights[i].slot) != p)
			continue;

		r = tracer_sync_note(p, flights[i].start & ~4095ULL,
		                     (flights[i].end + 4095) & ~4095ULL, err);
		for (size_t k = 0; r == 0 && known && k < p->pending[*known].removed.n_items; k++) {
			const struct range *gone = &p->pending[*known].removed.items[k];

			r = tracer_sync_note(p, gone->start, gone->end, err);
		}
	}
	return r;
}

static int read_maps(struct joining *j, struct error *err)
{
	int r = drain(j->t, err);

	if (r < 0 || j->p->ended)
		return r;
	range_set_clear(&j->p->window);
	j->p->window_open = true;
	r = note_in_flight(j->t, j->p, err);
	if (r == 0)
		r = maps_read(j->p->target, &j->maps, err);
	if (r == 0)
		r = drain(j->t, err);
	j->p->window_open = false;
	return r;
}

static int join(struct joining *j, struct error *err)
{
	const volatile struct map_counters *c = tracer_bpf_counters(j->t->bpf);

	for (int i = 0;; i++) {
		u64 lost = c->event_lost;
		int r;

		maps_clear(&j->maps);
		r = read_maps(j, err);
		if (r < 0)
			return r;
		if (j->p->ended) /* these are another program's, or nobody's */
			return 0;
		/* a lost event says nothing about what it touched */
		if (c->event_lost != lost && i < MAX_TRIES)
			continue;
		r = compare(j, err);
		if (r < 0 || j->confirming || !j->suspects.n_ranges)
			return r;
		j->confirming = true;
	}
}

int tracer_sync(struct tracer *t, struct tracer_process *p, bool attaching, struct error *err)
{
	struct joining j = { .t = t, .p = p, .attaching = attaching, .now = clock_now_ns() };
	int r;

	p->wants_sync = false;
	if (!p->target || p->ended)
		return 0;
	r = join(&j, err);
	maps_clear(&j.maps);
	range_set_clear(&j.suspects);
	range_set_clear(&p->window);
	p->synced_ns = clock_now_ns();
	p->sync_cost_ns = p->synced_ns - j.now;
	if (p->lost_seen != tracer_bpf_counters(t->bpf)->event_lost) {
		/* the end of a fork may be among them */
		p->n_forking = 0;
		range_set_clear(&p->fork_window);
	}
	p->lost_seen = tracer_bpf_counters(t->bpf)->event_lost;
	p->begins_at_exec = false;
	/* it has ended meanwhile: the set is as it was */
	if (r < 0 && (p->ended || target_has_ended(p->target)))
		return 0;
	return r;
}
