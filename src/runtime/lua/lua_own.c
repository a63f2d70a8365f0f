/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/lua/lua_own.h"

enum {
	MOST_EXTRA = 4096,
	MANY_THREADS = 8,
	MOST_GLOBAL = 1 << 16,
};

/* What is left of the sum is global_State: is it as long as in some release? */
static bool find_global_bytes(struct lua_heap *h)
{
	const uint64_t rest = h->total - h->sum;

	h->global_bytes = h->layout->global_bytes[0] + h->padding;
	for (size_t i = 0; i < LUA_MAX_GLOBALS && h->layout->global_bytes[i]; i++) {
		if (h->layout->global_bytes[i] + h->padding == rest) {
			h->global_bytes = rest;
			return true;
		}
	}
	return false;
}

/* malloc of glibc has the size of a block in front of it: is one of @bytes at @at? */
static bool is_block(struct lua_heap *h, uint64_t at, uint64_t bytes)
{
	const uint64_t size = peek_word(h->peek, at - 8) & ~7ull;

	return size >= bytes + 8 && size < bytes + 8 + 32;
}

/* Do all threads (so many are looked at) begin that far behind their blocks? */
static bool is_extra_space(struct lua_heap *h, uint64_t extra)
{
	const uint64_t state = h->layout->state_bytes;
	size_t left = MANY_THREADS;

	if (h->n_threads >= MANY_THREADS)
		return true;
	if (!is_block(h, h->main_thread - extra, extra + state + h->global_bytes))
		return false;
	for (size_t i = 0; left && i < h->n_objects; i++) {
		const uint64_t at = lua_heap_address(h, i);

		if (lua_heap_kind(h, i) != LUA_COROUTINE || at == h->main_thread)
			continue;
		left--;
		if (!is_block(h, at - extra, extra + state))
			return false;
	}
	return true;
}

/* Or is it a global_State of another length (STRCACHE_N of llimits.h)? The block says so. */
static bool find_other_global(struct lua_heap *h)
{
	const uint64_t rest = h->total - h->sum, state = h->layout->state_bytes;

	if (rest > MOST_GLOBAL ||
	    !is_block(h, h->main_thread - LUA_EXTRA_SPACE, LUA_EXTRA_SPACE + state + rest))
		return false;
	h->global_bytes = rest;
	return true;
}

/* Or does what is left divide by the threads: a Lua that was built with another LUA_EXTRASPACE. A
 * state in the midst of its work has a rest, too, so it must be seen at the threads themselves, or
 * there must be so many of them that it is no chance. */
static void find_extra_space(struct lua_heap *h)
{
	const uint64_t all = h->n_threads * LUA_EXTRA_SPACE;

	for (size_t i = 0; i < LUA_MAX_GLOBALS && h->layout->global_bytes[i]; i++) {
		const uint64_t global = h->layout->global_bytes[i] + h->padding;
		const uint64_t rest = h->total - h->sum + all - global;
		const uint64_t extra = h->n_threads ? rest / h->n_threads : 0;

		h->global_bytes = global;
		if (!h->n_threads || rest % h->n_threads || extra % 8 || extra > MOST_EXTRA ||
		    !is_extra_space(h, extra))
			continue;
		h->extra_space = (uint16_t)extra;
		h->sum += h->n_threads * extra - all;
		return;
	}
	h->global_bytes = h->layout->global_bytes[0] + h->padding;
}

void lua_own_find(struct lua_heap *h)
{
	h->padding = h->global - h->main_thread - h->layout->state_bytes;
	if (!find_global_bytes(h) && !find_other_global(h))
		find_extra_space(h);
	h->sum += h->global_bytes;
}
