/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Unwind tables on disk, one file for each build-id, under
 * $XDG_CACHE_HOME/memwho or ~/.cache/memwho. A cache file is believed only if
 * we own it, nobody else can write it, its sizes and checksum are right and it
 * was made from the very same frame information; anything else is as if it
 * were not there. Switched off by MEMWHO_CACHE=off and MEMWHO_WITHOUT=cache.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "unwind/table.h"

enum { CACHE_MAX_BYTES = 256 << 20, CACHE_NAME_BYTES = 192 };

/* What a cached table was made from. */
struct cache_key {
	char name[CACHE_NAME_BYTES]; /* of the file in the cache folder; "" is no key */
	uint64_t frames_hash;
	/* which file, for rows that come from its code: hashing that too would cost
	 * more than it saves */
	uint64_t file_identity;
};

/* Fills rows, n_rows and figures of @t, whose text range is already known.
 * false: not there or not to be believed. */
bool cache_load(const struct cache_key *key, struct unwind_table *t);
/* Failing is silent (LOG_DEBUG): the table is there all the same. */
void cache_store(const struct cache_key *key, const struct unwind_table *t);

/* Remove the least recently used tables of a folder until all together have at
 * most @max_bytes. */
void cache_trim(int folder, uint64_t max_bytes);
