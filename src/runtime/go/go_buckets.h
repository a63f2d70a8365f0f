/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Records of Go's own profiles (mprof.go): a hash table of chains of buckets, each
 * with a stack behind its header and a record behind that.
 */

#include <stdint.h>

#include "runtime/peek.h"

/* Bytes of the buckets that the table at @at (of @bytes) leads to. The header is the same from
 * 1.17 to 1.26. */
uint64_t go_buckets_bytes(struct peek *p, uint64_t at, uint64_t bytes);
