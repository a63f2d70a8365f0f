/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The live table from user space: growth, sweep, reading.
 *
 * Blocks of a context that was reset stay in the table as stale entries until
 * they are swept. An entry may only be deleted here while no program can write
 * its key into the same map: so the sweep first sends new blocks to another
 * level, waits until every program that might not have seen that is done
 * (updating a map of maps waits), and sweeps the levels that are left alone.
 */

#include "alloc/engine_bpf_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc.skel.h"
#include "alloc/engine_bpf_state.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "bpf/libbpf_old.h"

enum {
	BATCH = 16384,
	ENTRY_KERNEL_BYTES = 128, /* of one preallocated block, measured 116 */
};

static int outer_fd(const struct engine_bpf *e)
{
	return bpf_map__fd(e->skel->maps.levels);
}

static u64 entries_in(const struct engine_bpf *e, u32 level)
{
	return __atomic_load_n(&e->skel->bss->level_entries[level], __ATOMIC_RELAXED);
}

/* ---- levels ---- */

static bool memory_allows(u64 capacity)
{
	char line[128];
	u64 kib = 0;
	cleanup_fclose FILE *f = fopen("/proc/meminfo", "re");

	if (!feature_allowed("table_growth"))
		return false;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "MemAvailable: %lu kB", &kib) == 1)
			break;
	}
	return kib == 0 || capacity * ENTRY_KERNEL_BYTES < kib * 1024 / 4;
}

static int add_level(struct engine_bpf *e, u64 capacity, struct error *err)
{
	u32 key = e->n_levels;
	int fd;

	if (e->n_levels == ALLOC_MAX_LEVELS || capacity > UINT32_MAX)
		return error_set(err, ENOSPC, "the live table cannot grow any further");
	if (e->n_levels && !memory_allows(capacity))
		return error_set(err, ENOMEM, "not enough free memory for %lu more live blocks",
		                 capacity);
	fd = bpf_map_create(BPF_MAP_TYPE_HASH, "live", sizeof(u64), sizeof(struct alloc_entry),
	                    capacity, NULL);
	if (fd < 0)
		return error_sys(err, -fd, "cannot make a table for %lu live blocks", capacity);
	if (bpf_map_update_elem(outer_fd(e), &key, &fd, BPF_ANY)) {
		close(fd);
		return error_sys(err, errno, "cannot add a level to the live table");
	}
	e->levels[key] = (struct engine_bpf_level){ fd, capacity };
	e->n_levels++;
	__atomic_store_n(&e->skel->bss->n_levels, e->n_levels, __ATOMIC_RELEASE);
	return 0;
}

static int add_reset_table(struct engine_bpf *e, u32 which, struct error *err)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_HASH, "resets", sizeof(u64), sizeof(u64),
	                        e->reset_capacity, NULL);

	if (fd < 0)
		return error_sys(err, -fd, "cannot make a table for resets");
	if (bpf_map_update_elem(bpf_map__fd(e->skel->maps.resets), &which, &fd, BPF_ANY)) {
		close(fd);
		return error_sys(err, errno, "cannot use a table for resets");
	}
	if (e->reset_fds[which] >= 0)
		close(e->reset_fds[which]);
	e->reset_fds[which] = fd;
	return 0;
}

int engine_bpf_table_open(struct engine_bpf *e, u64 first_level, u32 reset_contexts,
                          struct error *err)
{
	int r = add_level(e, first_level, err);

	if (r < 0)
		return r;
	e->reset_capacity = reset_contexts;
	r = add_reset_table(e, 0, err);
	if (r < 0)
		return r;
	return add_reset_table(e, 1, err);
}

void engine_bpf_table_close(struct engine_bpf *e)
{
	for (u32 i = 0; i < e->n_levels; i++)
		close(e->levels[i].fd);
	for (int i = 0; i < 2; i++) {
		if (e->reset_fds[i] >= 0)
			close(e->reset_fds[i]);
	}
	hash_map_clear(&e->known_resets);
}

u64 engine_bpf_table_capacity(const struct engine_bpf *e)
{
	u64 n = 0;

	for (u32 i = 0; i < e->n_levels; i++)
		n += e->levels[i].capacity;
	return n;
}

u64 engine_bpf_table_swept_bytes(const struct engine_bpf *e)
{
	return e->swept_bytes;
}

/* ---- reading in batches ---- */

struct batch {
	u64 keys[BATCH];
	struct alloc_entry entries[BATCH];
};

/* Call @fn with each batch of a level's blocks. */
static int each_batch(int fd, struct batch *b, int (*fn)(void *arg, const struct batch *b, u32 n),
                      void *arg, struct error *err)
{
	u32 position = 0, next = 0, n;
	void *in = NULL;

	for (;;) {
		int r, end;

		n = BATCH;
		r = bpf_map_lookup_batch(fd, in, &next, b->keys, b->entries, &n, NULL);
		if (r && errno != ENOENT)
			return error_sys(err, errno, "cannot read the live table");
		end = r != 0;
		r = fn(arg, b, n);
		if (r < 0 || end)
			return r;
		position = next;
		in = &position;
	}
}

static int read_resets(struct engine_bpf *e, int fd, struct error *err)
{
	u64 key, *prev = NULL, at, epoch;

	while (!bpf_map_get_next_key(fd, prev, &key)) {
		if (!bpf_map_lookup_elem(fd, &key, &epoch)) {
			u64 *known = hash_map_get(&e->known_resets, key);
			int r = 0;

			if (known)
				*known = epoch > *known ? epoch : *known;
			else
				r = hash_map_put(&e->known_resets, key, epoch, err);
			if (r < 0)
				return r;
		}
		at = key;
		prev = &at;
	}
	return 0;
}

static bool is_stale(const struct engine_bpf *e, u64 key, const struct alloc_entry *entry)
{
	u64 slot = key >> ALLOC_SLOT_SHIFT << ALLOC_SLOT_SHIFT, *reset;

	if (!entry->context)
		return false;
	reset = hash_map_get(&e->known_resets, entry->context | slot);
	return reset && *reset > entry->epoch;
}

/* ---- the sweep ---- */

struct sweep {
	struct engine_bpf *e;
	u32 level;
	u64 *stale;
};

static int sweep_batch(void *arg, const struct batch *b, u32 n)
{
	struct sweep *s = arg;
	u64 bytes = 0;
	u32 gone = 0;

	for (u32 i = 0; i < n; i++) {
		if (!is_stale(s->e, b->keys[i], &b->entries[i]))
			continue;
		s->stale[gone++] = b->keys[i];
		bytes += b->entries[i].size;
	}
	for (u32 i = 0; i < gone; i++) {
		if (!bpf_map_delete_elem(s->e->levels[s->level].fd, &s->stale[i]))
			__atomic_fetch_sub(&s->e->skel->bss->level_entries[s->level], 1,
			                   __ATOMIC_RELAXED);
	}
	s->e->swept_bytes += bytes;
	return 0;
}

/* Nothing goes into @level any more when this returns: updating the map of maps
 * waits for the programs that run. */
static int close_level(struct engine_bpf *e, u32 level, struct error *err)
{
	int fd = e->levels[level].fd;

	__atomic_store_n(&e->skel->bss->closed_levels, 1u << level, __ATOMIC_RELEASE);
	if (bpf_map_update_elem(outer_fd(e), &level, &fd, BPF_ANY))
		return error_sys(err, errno, "cannot close a level of the live table");
	return 0;
}

static int sweep_level(struct engine_bpf *e, u32 level, struct error *err)
{
	cleanup_free struct batch *b = malloc(sizeof(*b));
	cleanup_free u64 *stale = malloc(BATCH * sizeof(*stale));
	struct sweep s = { e, level, stale };
	int r;

	if (!b || !stale)
		return error_oom(err);
	r = close_level(e, level, err);
	if (r == 0)
		r = each_batch(e->levels[level].fd, b, sweep_batch, &s, err);
	__atomic_store_n(&e->skel->bss->closed_levels, 0, __ATOMIC_RELEASE);
	return r;
}

/* New resets go to the other table; the full one is read and replaced by an
 * empty one. Replacing it waits for the programs that still use it. */
static int turn_resets(struct engine_bpf *e, struct error *err)
{
	u32 old = e->skel->bss->active_resets;
	int r, fd;

	__atomic_store_n(&e->skel->bss->active_resets, old ^ 1, __ATOMIC_RELEASE);
	fd = e->reset_fds[old ^ 1];
	/* the same map again: only for its wait */
	if (bpf_map_update_elem(bpf_map__fd(e->skel->maps.resets), &(u32){ old ^ 1 }, &fd, BPF_ANY))
		return error_sys(err, errno, "cannot turn the resets");
	r = read_resets(e, e->reset_fds[old], err);
	return r < 0 ? r : add_reset_table(e, old, err);
}

/* The level with the most room, other than the active one; n_levels: none
 * that is at most half full. */
static u32 roomy_level(const struct engine_bpf *e)
{
	u32 active = e->skel->bss->active_level, best = e->n_levels;
	u64 room = 0;

	for (u32 i = 0; i < e->n_levels; i++) {
		u64 used = entries_in(e, i);

		if (i == active || used * 2 > e->levels[i].capacity)
			continue;
		if (e->levels[i].capacity - used > room) {
			room = e->levels[i].capacity - used;
			best = i;
		}
	}
	return best;
}

/* Send new blocks to another level. */
static int leave_active_level(struct engine_bpf *e, struct error *err)
{
	u32 next = roomy_level(e);

	if (next == e->n_levels && e->growth_refused)
		return 0; /* a sweep may make room elsewhere */
	if (next == e->n_levels) {
		int r = add_level(e, engine_bpf_table_capacity(e), err);

		if (r < 0)
			return r;
	}
	__atomic_store_n(&e->skel->bss->active_level, next, __ATOMIC_RELEASE);
	return 0;
}

static int sweep_idle_levels(struct engine_bpf *e, struct error *err)
{
	u32 active = e->skel->bss->active_level;
	u64 begun = clock_now_ns();
	int r;

	e->swept_resets = e->skel->bss->counters.resets;
	r = turn_resets(e, err);
	for (u32 i = 0; r == 0 && i < e->n_levels; i++) {
		if (i != active)
			r = sweep_level(e, i, err);
	}
	e->swept_ns = clock_now_ns();
	e->sweep_cost_ns = e->swept_ns - begun;
	return r;
}

int engine_bpf_table_tend(struct engine_bpf *e, struct error *err)
{
	u32 active = e->skel->bss->active_level;
	u64 resets = e->skel->bss->counters.resets - e->swept_resets;
	bool filling = entries_in(e, active) * 5 > e->levels[active].capacity * 3;
	int r;

	if (filling) {
		r = leave_active_level(e, err);
		if (r < 0) {
			/* what does not fit is counted, with its bytes and stacks */
			e->growth_refused = true;
			log_note(LOG_WARN, "%s", err->message);
		}
	}
	/* not again and again when it does not help; but resets must not fill up */
	if (resets > e->reset_capacity / 4 ||
	    (resets && filling && clock_now_ns() - e->swept_ns > 10 * e->sweep_cost_ns))
		return sweep_idle_levels(e, err);
	return 0;
}

/* ---- walking what is live ---- */

struct each {
	struct engine_bpf *e;
	int (*fn)(void *arg, u64 key, const struct alloc_entry *entry);
	void *arg;
};

static int each_live(void *arg, const struct batch *b, u32 n)
{
	const struct each *each = arg;

	for (u32 i = 0; i < n; i++) {
		int r = 0;

		if (!is_stale(each->e, b->keys[i], &b->entries[i]))
			r = each->fn(each->arg, b->keys[i], &b->entries[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Blocks that a realloc took out and has not given back yet. */
static int each_in_hand(const struct each *each)
{
	int fd = bpf_map__fd(each->e->skel->maps.stashes);
	u64 key, *prev = NULL, at;
	struct alloc_stash s;

	while (!bpf_map_get_next_key(fd, prev, &key)) {
		u64 slot = key >> ALLOC_SLOT_SHIFT << ALLOC_SLOT_SHIFT;

		if (!bpf_map_lookup_elem(fd, &key, &s) && s.has_old) {
			int r = each->fn(each->arg, s.old_ptr | slot, &s.old);

			if (r < 0)
				return r;
		}
		at = key;
		prev = &at;
	}
	return 0;
}

int engine_bpf_table_each(struct engine_bpf *e,
                          int (*fn)(void *arg, u64 key, const struct alloc_entry *entry), void *arg,
                          struct error *err)
{
	cleanup_free struct batch *b = malloc(sizeof(*b));
	struct each each = { e, fn, arg };
	int r;

	if (!b)
		return error_oom(err);
	for (int i = 0; i < 2; i++) {
		r = read_resets(e, e->reset_fds[i], err);
		if (r < 0)
			return r;
	}
	for (u32 i = 0; i < e->n_levels; i++) {
		r = each_batch(e->levels[i].fd, b, each_live, &each, err);
		if (r < 0)
			return r;
	}
	return each_in_hand(&each);
}
