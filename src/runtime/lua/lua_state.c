/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_state.h"

#include <string.h>

#include "base/cleanup.h"

enum {
	TYPE_THREAD = 8,  /* LUA_TTHREAD */
	BEHIND_MAX = 512, /* the main thread and global_State are one block (struct LG) */
	MAX_BUCKETS = 1 << 27,
	BATCH = 512,
	CHECK_BUCKETS = 4096, /* strings lie anywhere: each is a page to read */
};
#define MAX_BYTES (1ull << 46)

/* 5.2 before 5.4: their main threads are at one offset, and what 5.2 has behind it proves it. */
static const struct lua_state_layout layouts[] = {
	{ "5.2", 24, 0, 8, 16, 24, 48, 64, 0x45, 264, 272, 502, 0, false },
	{ "5.4", 24, 0, 8, 16, 24, 48, 64, 0x45, 264, 0, 0, 16, false },
	{ "5.4", 24, 0, 8, 16, 24, 48, 64, 0x45, 256, 0, 0, 16, false }, /* 5.4.0 */
	{ "5.3", 24, 0, 8, 16, 24, 48, 64, 0x45, 200, 208, 503, 16, false },
	{ "5.3", 24, 0, 8, 16, 24, 48, 64, 0x45, 224, 232, 503, 24, false }, /* 5.3.0 */
	{ "5.1", 32, 16, 24, 120, 0, 0, 160, 5, 176, 0, 0, 0, false },
	{ "5.4", 24, 0, 8, 16, 24, 48, 64, 0x45, 296, 0, 0, 16, true },
	{ "5.4", 24, 0, 8, 16, 24, 48, 64, 0x45, 288, 0, 0, 16, true }, /* 5.4.0 */
	{ "5.3", 24, 0, 8, 16, 24, 48, 64, 0x45, 216, 224, 503, 16, true },
};

static bool is_thread(struct peek *p, uint64_t addr)
{
	uint64_t w;

	/* tt; marked has two spare bits in all versions, so the byte says little */
	return addr && addr % 8 == 0 && peek_read(p, addr + 8, &w, sizeof(w)) &&
	       (uint8_t)w == TYPE_THREAD;
}

static bool is_code(const struct maps *m, uint64_t addr)
{
	const struct mapping *x = maps_find(m, addr);

	return x && (x->prot & MAPS_EXEC);
}

/* The version as the program's number type has it; false: it is none. */
static bool has_version(struct peek *p, const struct lua_state_layout *l, uint64_t global)
{
	uint64_t at = l->version_number ? peek_word(p, global + l->version_number) : 0;
	long double wide = 0;
	double number = 0;
	float narrow = 0;

	if (!l->version_number)
		return true;
	/* a constant of the program: it may lie in a page of the file that was never touched */
	if (!at || !peek_read(p, at, &narrow, sizeof(narrow)))
		return at != 0;
	if (l->is_wide) /* its 10 bytes; what is behind them is nothing */
		return peek_read(p, at, &wide, 10) && wide == (long double)l->number;
	return narrow == (float)l->number ||
	       (peek_read(p, at, &number, sizeof(number)) && number == l->number);
}

static bool fits(struct peek *p, const struct maps *m, const struct lua_state_layout *l,
                 uint64_t addr, struct lua_state *ret)
{
	uint64_t global = peek_word(p, addr + l->global), main_thread;
	uint8_t g[320];
	uint32_t size;

	if (!global || global % 8 || !peek_read(p, global, g, sizeof(g)))
		return false;
	memcpy(&main_thread, g + l->main_thread, 8);
	memcpy(&size, g + l->strings + 12, 4);
	if (main_thread >= global || global - main_thread > BEHIND_MAX || !size ||
	    size & (size - 1) || size > MAX_BUCKETS ||
	    g[l->registry + (l->is_wide ? 16 : 8)] != l->registry_type ||
	    !is_thread(p, main_thread) || peek_word(p, main_thread + l->global) != global)
		return false;
	if (!is_code(m, peek_word(p, global + l->frealloc)) || !has_version(p, l, global))
		return false;
	*ret = (struct lua_state){ .layout = l, .main_thread = main_thread, .global = global };
	return true;
}

bool lua_state_at(struct peek *p, const struct maps *m, uint64_t addr, struct lua_state *ret)
{
	if (!is_thread(p, addr))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(layouts); i++)
		if (fits(p, m, &layouts[i], addr, ret))
			return true;
	return false;
}

bool lua_state_maybe(const uint64_t *w, uint64_t addr)
{
	return (uint8_t)w[1] == TYPE_THREAD && ((w[3] > addr && w[3] - addr <= BEHIND_MAX) ||
	                                        (w[4] > addr && w[4] - addr <= BEHIND_MAX));
}

/* Every string of a bucket has a hash that leads there (lstring.c). */
static uint64_t check_bucket(struct peek *p, struct lua_state *s, uint64_t first, uint64_t bucket,
                             uint64_t left)
{
	uint64_t n = 0;

	for (uint64_t at = first; at && n < left; n++) {
		uint8_t head[24];
		uint32_t hash;

		s->checked++;
		/* tt: a short string is LUA_TSTRING in all */
		if (at % 8 || !peek_read(p, at, head, sizeof(head)) || (head[8] & 0x0f) != 4) {
			s->inconsistent++;
			return n;
		}
		memcpy(&hash, head + 12, 4);
		/* the table may have just become larger, or be about to become smaller */
		if (s->buckets > 1 && (hash ^ bucket) & (s->buckets / 2 - 1))
			s->inconsistent++;
		memcpy(&at, head + s->layout->next_string, 8);
	}
	return n;
}

/* @n strings in @seen of all buckets: as many as the count lets expect? Lua's hash of short strings
 * is far from even: 60,000 numbers as text had 2,263 to 5,495 strings in 4,096 buckets where 3,750
 * are the mean. */
static bool is_count(const struct lua_state *s, uint64_t n, uint64_t seen)
{
	uint64_t expected = s->strings * seen / s->buckets;

	if (seen == s->buckets)
		return n == s->strings;
	return n + 16 >= expected / 4 && n <= 4 * expected + 16;
}

static bool check_strings(struct peek *p, struct lua_state *s)
{
	uint64_t table, words[BATCH], n = 0, seen;
	uint32_t use, size;

	if (!peek_read(p, s->global + s->layout->strings, &table, 8) ||
	    !peek_read(p, s->global + s->layout->strings + 8, &use, 4) ||
	    !peek_read(p, s->global + s->layout->strings + 12, &size, 4) || !table || table % 8)
		return false;
	s->strings = use;
	s->buckets = size;
	s->checked = s->inconsistent = 0;
	seen = size < CHECK_BUCKETS ? size : CHECK_BUCKETS;
	for (uint64_t i = 0; i < seen; i += BATCH) {
		size_t k, len = seen - i < BATCH ? seen - i : BATCH;

		if (!peek_read(p, table + 8 * i, words, 8 * len))
			return false;
		for (k = 0; k < len && n <= use; k++)
			n += check_bucket(p, s, words[k], i + k, use - n + 1);
	}
	s->checked++;
	s->inconsistent += !is_count(s, n, seen);
	return s->inconsistent <= s->checked / 16;
}

bool lua_state_check(struct peek *p, struct lua_state *s, bool doubts)
{
	uint64_t debt = 0;

	if (!peek_read(p, s->global + s->layout->total, &s->bytes, 8) ||
	    (s->layout->debt && !peek_read(p, s->global + s->layout->debt, &debt, 8)))
		return false;
	s->bytes += debt;
	/* the table of strings is part of it */
	if (s->bytes >= MAX_BYTES)
		return false;
	s->is_doubtful = !check_strings(p, s) || s->bytes < 8 * s->buckets;
	return !s->is_doubtful || doubts;
}
