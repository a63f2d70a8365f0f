/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "target/reader.h"
#include "target/threads_internal.h"

/*
 * A thread's own structure (struct pthread) lies above its stack, in the same
 * mapping, and begins with its own address. Two C libraries on x86-64:
 *
 * glibc 2.31 to 2.43 (sysdeps/x86_64/nptl/tls.h, nptl/descr.h): own address at
 * +0 and +16, list at +0x2c0, thread id at +0x2d0; further behind, in a row:
 * stackblock, stackblock_size, guardsize.
 * musl 1.1.20 to 1.2.5 (src/internal/pthread_impl.h): own address at +0, thread
 * id at +48, then in a row: map_base, map_size, stack (its upper end), stack_size.
 */
enum {
	GLIBC_LIST = 0x2c0,
	GLIBC_TID = 0x2d0,
	GLIBC_BYTES = 0xa00, /* 0x900 in 2.36; grows */
	GLIBC_TAIL = 8 << 10,
	MUSL_NEXT = 24,
	MUSL_TID = 48,
	MUSL_BYTES = 112, /* as far as we look; all of it is 200 in 1.2.3 */

	TOP_BYTES = 16 << 10, /* of a mapping: struct pthread is in here */
	PIECE_BYTES = 256 << 10,
	DEEP_BYTES = 16 << 20, /* how far above sp we look */
	LOADER_BYTES = 256 << 10,
	MAIN_MAPPINGS = 1000,
	MAIN_MAPPING_BYTES = 4 << 20,
	MAIN_BYTES = 16 << 20, /* how much we read to find the first thread's */
	MAX_LIST = 1024,       /* members that are no threads: heads, ended ones, a torn list */
	MAX_ENDED = 1 << 14,   /* mappings looked at */
};

struct finder {
	const struct target *t;
	const struct maps *m;
	struct threads *threads;
	struct hash_map by_ns_tid; /* to index + 1 */
	size_t n_left;             /* threads without tcb */
	char *piece;               /* PIECE_BYTES */
	struct hash_map reached;   /* members of lists */
	size_t steps_left;
};

static uint64_t word(const char *at)
{
	uint64_t w;

	memcpy(&w, at, sizeof(w));
	return w;
}

static struct thread *thread_of(const struct finder *f, const char *tid_at)
{
	uint64_t *index;
	int32_t tid;

	memcpy(&tid, tid_at, sizeof(tid));
	index = tid > 0 ? hash_map_get(&f->by_ns_tid, (uint64_t)tid) : NULL;
	return index ? &f->threads->items[*index] : NULL;
}

/* The structure at @at: as much as is there, at most @size, which is zeroed. */
static size_t read_struct(const struct finder *f, uint64_t at, char *buf, size_t size)
{
	const struct mapping *m = maps_find(f->m, at);
	size_t len = !m ? 0 : m->end - at < size ? m->end - at : size;

	memset(buf, 0, size);
	return len && reader_fill(f->t, at, buf, len, NULL) == 0 ? len : 0;
}

static bool is_page(uint64_t x)
{
	return x % (uint64_t)sysconf(_SC_PAGESIZE) == 0;
}

/* The structure is at the very end of the block, whoever made the block. */
static bool glibc_stack(struct thread *th, const char *p, size_t len)
{
	for (size_t i = GLIBC_TID; i + 24 <= len; i += 8) {
		uint64_t block = word(p + i), size = word(p + i + 8), guard = word(p + i + 16);

		if (block && is_page(block) && is_page(size) && is_page(guard) && guard < size &&
		    block <= th->tcb && size < 1ull << 40 && block + size > th->tcb &&
		    block + size - th->tcb <= GLIBC_TAIL) {
			th->stack_start = block + guard;
			th->stack_end = block + size;
			th->guard_bytes = guard;
			return true;
		}
	}
	return false;
}

static bool musl_stack(struct thread *th, const char *p, uint64_t at)
{
	for (size_t i = MUSL_TID + 8; i + 32 <= MUSL_BYTES; i += 8) {
		uint64_t base = word(p + i), size = word(p + i + 8), top = word(p + i + 16),
			 bytes = word(p + i + 24);

		if (base && is_page(base) && is_page(size) && base <= at && size < 1ull << 40 &&
		    base + size > at && top > base && top <= at && bytes && bytes <= top - base) {
			th->stack_start = top - bytes;
			th->stack_end = base + size;
			return true;
		}
	}
	return false;
}

static bool claim(struct finder *f, struct thread *th, uint64_t at)
{
	if (!th || th->tcb)
		return false;
	th->tcb = at;
	f->n_left--;
	return true;
}

/* Is the structure of one of our threads, still without one, at @at? */
static bool try_at(struct finder *f, uint64_t at)
{
	char buf[GLIBC_BYTES];
	size_t len = read_struct(f, at, buf, sizeof(buf));
	struct thread *th;

	if (len < MUSL_BYTES || word(buf) != at)
		return false;
	th = len > GLIBC_TID + 4 && word(buf + 16) == at ? thread_of(f, buf + GLIBC_TID) : NULL;
	if (claim(f, th, at)) {
		glibc_stack(th, buf, len);
		return true;
	}
	th = thread_of(f, buf + MUSL_TID);
	if (!th || th->tcb || (!musl_stack(th, buf, at) && th->tid != f->t->pid))
		return false;
	return claim(f, th, at);
}

/* All of [start, end), at every word: musl aligns to no more. */
static void scan(struct finder *f, uint64_t start, uint64_t end)
{
	start = (start + 7) / 8 * 8;
	while (start < end && f->n_left) {
		size_t len = end - start < PIECE_BYTES ? end - start : PIECE_BYTES;
		uint64_t missing;

		if (reader_fill(f->t, start, f->piece, len, &missing) < 0)
			return;
		for (size_t i = 0; missing < len && i + 8 <= len; i += 8) {
			if (word(f->piece + i) == start + i)
				try_at(f, start + i);
		}
		start += len;
	}
}

static bool is_anonymous(const struct mapping *m)
{
	return !m->inode && (m->prot & MAPS_WRITE) && !(m->prot & MAPS_SHARED);
}

static void scan_top(struct finder *f, const struct mapping *m)
{
	scan(f, m->end - m->start > TOP_BYTES ? m->end - TOP_BYTES : m->start, m->end);
}

/* Where newer glibc guards stacks without a mapping of their own (2.42), or a
 * program makes its own stacks, several lie in one mapping: look above sp. */
static void find_above(struct finder *f, struct thread *th)
{
	const struct mapping *m = th->sp ? maps_find(f->m, th->sp) : NULL;

	if (!m || !is_anonymous(m) || !strcmp(m->name, "[stack]"))
		return;
	scan_top(f, m);
	if (!th->tcb)
		scan(f, th->sp, m->end - th->sp > DEEP_BYTES ? th->sp + DEEP_BYTES : m->end);
}

static bool is_guarded(const struct maps *m, size_t i)
{
	const struct mapping *below = i ? &m->items[i - 1] : NULL;

	return below && below->end == m->items[i].start && !below->inode &&
	       !(below->prot & (MAPS_READ | MAPS_WRITE | MAPS_EXEC | MAPS_SHARED));
}

/* Running threads, and those whose sp we may not see. */
static void find_in_stacks(struct finder *f)
{
	for (size_t i = 0; i < f->m->n_items && f->n_left; i++) {
		const struct mapping *m = &f->m->items[i];

		if (is_anonymous(m) && is_guarded(f->m, i))
			scan_top(f, m);
	}
}

/* Was @at never reached before? All walks together end when nothing new comes. */
static bool is_new(struct finder *f, uint64_t at)
{
	struct error ignored;

	if (!f->steps_left || hash_map_get(&f->reached, at) ||
	    hash_map_put(&f->reached, at, 1, &ignored) < 0)
		return false;
	f->steps_left--;
	return true;
}

/* glibc's threads are in lists (stack_used, stack_user) by a member, musl's in one
 * by their beginnings: each leads to all. */
static void follow_list(struct finder *f, uint64_t tcb)
{
	uint64_t self, member, at, next;
	bool is_glibc;

	if (reader_try(f->t, tcb + 16, &self, sizeof(self)) < 0)
		return;
	is_glibc = self == tcb;
	member = is_glibc ? GLIBC_LIST : 0;
	at = tcb + member;
	while (f->n_left && is_new(f, at)) {
		if (reader_try(f->t, at + (is_glibc ? 0 : MUSL_NEXT), &next, sizeof(next)) < 0 ||
		    next % 8 || next < GLIBC_LIST)
			return;
		at = next;
		try_at(f, at - member);
	}
}

static void follow_lists(struct finder *f)
{
	for (size_t i = 0; i < f->threads->n_items && f->n_left; i++) {
		if (f->threads->items[i].tcb)
			follow_list(f, f->threads->items[i].tcb);
	}
}

static bool is_data(const struct mapping *m)
{
	return m->inode && (m->prot & MAPS_WRITE) && !(m->prot & MAPS_SHARED);
}

/* The first thread's structure lies where the loader or the C library's start
 * put it: mostly a small mapping among the libraries, else .bss or the heap. */
static void find_main(struct finder *f)
{
	uint64_t left = MAIN_BYTES;
	int tries = MAIN_MAPPINGS;

	for (size_t i = f->m->n_items; i-- > 0 && f->n_left && tries;) {
		const struct mapping *m = &f->m->items[i];

		/* later mappings grow down from it, and may have become one with it */
		if (is_anonymous(m) && !m->name[0]) {
			scan(f, m->end - m->start > LOADER_BYTES ? m->end - LOADER_BYTES : m->start,
			     m->end);
			tries--;
		}
	}
	for (size_t i = 0; i < f->m->n_items && f->n_left && left; i++) {
		const struct mapping *m = &f->m->items[i];
		uint64_t bytes = m->end - m->start;

		if (!is_data(m) && (!is_anonymous(m) || !strcmp(m->name, "[stack]")))
			continue;
		if (bytes > MAIN_MAPPING_BYTES && strcmp(m->name, "[heap]") != 0)
			continue;
		bytes = bytes > MAIN_MAPPING_BYTES ? MAIN_MAPPING_BYTES : bytes;
		bytes = bytes > left ? left : bytes;
		scan(f, m->start, m->start + bytes);
		left -= bytes;
	}
}

/* What sp alone shows: a writable mapping with a guard below it. */
static void by_shape(const struct maps *maps, struct thread *th)
{
	const struct mapping *m = th->sp ? maps_find(maps, th->sp) : NULL;

	if (th->stack_end || !m)
		return;
	if (!strcmp(m->name, "[stack]") ||
	    (is_anonymous(m) && is_guarded(maps, (size_t)(m - maps->items)))) {
		th->stack_start = m->start;
		th->stack_end = m->end;
	}
}

/* The structure of the first thread says nothing of its stack. */
static void main_stack(const struct finder *f, struct thread *th)
{
	for (size_t i = f->m->n_items; i-- > 0;) {
		const struct mapping *m = &f->m->items[i];

		if (strcmp(m->name, "[stack]") != 0)
			continue;
		if (!th->sp || (th->sp >= m->start && th->sp < m->end)) {
			th->stack_start = m->start;
			th->stack_end = m->end;
		}
		return;
	}
}

static int index_threads(struct finder *f)
{
	struct error ignored;

	for (size_t i = 0; i < f->threads->n_items; i++) {
		struct thread *th = &f->threads->items[i];

		if (hash_map_put(&f->by_ns_tid, (uint64_t)th->ns_tid, i, &ignored) < 0)
			return -1;
	}
	return 0;
}

static void find_all(struct finder *f)
{
	struct threads *all = f->threads;

	for (size_t i = 0; i < all->n_items; i++) {
		if (all->items[i].tcb)
			continue;
		find_above(f, &all->items[i]);
		if (all->items[i].tcb) /* and the list spares us the search for others */
			follow_list(f, all->items[i].tcb);
	}
	if (f->n_left)
		find_main(f);
	if (f->n_left)
		find_in_stacks(f);
	follow_lists(f);
}

/* The structure of a thread that has ended (its id is 0, or -1 once it was joined)
 * in the last pages of @m, naming @m as its stack. */
static bool find_ended(const struct finder *f, const struct mapping *m, struct thread *ret)
{
	uint64_t start = m->end - m->start > GLIBC_TAIL ? m->end - GLIBC_TAIL : m->start;
	size_t len = m->end - start;
	uint64_t missing;

	if (reader_fill(f->t, start, f->piece, len, &missing) < 0 || missing == len)
		return false;
	for (size_t i = 0; i + GLIBC_TID + 4 <= len; i += 16) {
		struct thread th = { .tcb = start + i };
		int32_t tid;

		memcpy(&tid, f->piece + i + GLIBC_TID, sizeof(tid));
		if (word(f->piece + i) == th.tcb && word(f->piece + i + 16) == th.tcb && tid <= 0 &&
		    glibc_stack(&th, f->piece + i, len - i < GLIBC_BYTES ? len - i : GLIBC_BYTES) &&
		    th.stack_start == m->start && th.stack_end <= m->end) {
			*ret = th;
			return true;
		}
	}
	return false;
}

static void find_all_ended(const struct finder *f, struct threads *to)
{
	struct hash_map ends = { 0 };
	struct error ignored;
	int tries = MAX_ENDED;

	for (size_t i = 0; i < to->n_items; i++) {
		if (hash_map_put(&ends, to->items[i].stack_end, 1, &ignored) < 0)
			tries = 0;
	}
	for (size_t i = 0; i < f->m->n_items && tries; i++) {
		const struct mapping *m = &f->m->items[i];
		struct thread th;

		if (!is_anonymous(m) || !is_guarded(f->m, i) || hash_map_get(&ends, m->end))
			continue;
		tries--;
		if (find_ended(f, m, &th) &&
		    array_reserve(&to->ended, &to->cap_ended, to->n_ended + 1, &ignored) == 0)
			to->ended[to->n_ended++] = th;
	}
	hash_map_clear(&ends);
}

void threads_stack_find(const struct target *t, const struct maps *m, struct threads *to)
{
	cleanup_free char *piece = malloc(PIECE_BYTES);
	struct finder f = { .t = t, .m = m, .threads = to, .n_left = to->n_items, .piece = piece };

	f.steps_left = to->n_items + MAX_LIST;
	if (piece && index_threads(&f) == 0)
		find_all(&f);
	hash_map_clear(&f.by_ns_tid);
	hash_map_clear(&f.reached);
	for (size_t i = 0; i < to->n_items; i++) {
		if (to->items[i].tid == t->pid)
			main_stack(&f, &to->items[i]);
		by_shape(m, &to->items[i]);
	}
	if (piece)
		find_all_ended(&f, to);
}
