/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A lua_State by its shape: a thread object whose global_State names a main
 * thread that has the same global_State, an allocation function in code, and a
 * table of strings in which every string is in the bucket that its hash says.
 * Offsets from lstate.h and lobject.h of 5.1.5, 5.2.4, 5.3.6, 5.4.4, 64 bits.
 * Built with another number type (luaconf.h) it is the same but for long double,
 * with which each value takes 32 bytes instead of 16.
 */

#include <stdbool.h>
#include <stdint.h>

#include "runtime/peek.h"
#include "runtime/regions.h"

struct lua_state_layout {
	const char *version;
	uint16_t global;       /* lua_State.l_G */
	uint16_t frealloc, ud; /* of global_State, as all that follow */
	uint16_t total, debt;  /* 0: has none */
	uint16_t strings;      /* strt.hash; .nuse and .size, 4 bytes each, behind it */
	uint16_t registry;     /* TValue, type at +8 */
	uint8_t registry_type; /* LUA_TTABLE, collectable */
	uint16_t main_thread;
	uint16_t version_number; /* pointer to the version as a double; 0: has none */
	double number;
	uint16_t next_string; /* of TString: the next in the bucket */
	bool is_wide;         /* numbers are long double */
};

struct lua_state {
	const struct lua_state_layout *layout;
	uint64_t main_thread, global;
	uint64_t bytes; /* what collectgarbage("count") says, in bytes */
	uint64_t strings, buckets;
	uint64_t checked, inconsistent; /* strings and their buckets */
	/* too many are: its table of strings is about to be made larger, or it is none */
	bool is_doubtful;
};

/* Is a lua_State (any thread of a state) at @addr? Cheap: no strings are looked at. */
bool lua_state_at(struct peek *p, const struct maps *m, uint64_t addr, struct lua_state *ret);
/* Checks the strings of the first 4096 buckets and reads the counters; false: it is none after all.
 * @doubts: one whose strings contradict is one still, if all else is right; is_doubtful says so,
 * and its objects must prove it. */
bool lua_state_check(struct peek *p, struct lua_state *s, bool doubts);
/* Could the words at @w, which lie at @addr, be a main thread with its global_State behind? Only
 * looks at 5 words. */
bool lua_state_maybe(const uint64_t *w, uint64_t addr);
