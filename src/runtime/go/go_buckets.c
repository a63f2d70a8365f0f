/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_buckets.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum {
	/* mprof.go, bucket: next, allnext, typ, hash, size, nstk */
	TYP = 16,
	NSTK = 40,
	HEADER = 48,
	MEM_PROFILE = 1,
	MEM_RECORD = 128, /* memRecord: four cycles */
	BLOCK_RECORD = 16,
	MAX_STACK = 1024,
	MAX_BUCKETS = 1 << 20,
};

static uint64_t bucket_bytes(const uint8_t *header)
{
	uint64_t n;
	int typ;

	memcpy(&typ, header + TYP, sizeof(typ));
	memcpy(&n, header + NSTK, sizeof(n));
	if (n > MAX_STACK)
		return 0;
	return HEADER + 8 * n + (typ == MEM_PROFILE ? MEM_RECORD : BLOCK_RECORD);
}

uint64_t go_buckets_bytes(struct peek *p, uint64_t at, uint64_t bytes)
{
	cleanup_free uint64_t *table = bytes ? malloc(bytes) : NULL;
	uint64_t sum = 0, left = MAX_BUCKETS;

	if (!table || !peek_fill(p, at, table, bytes))
		return 0;
	for (size_t i = 0; i < bytes / 8; i++) {
		uint8_t header[HEADER];

		for (uint64_t b = table[i]; b && left; left--) {
			if (!peek_read(p, b, header, sizeof(header)))
				break;
			sum += bucket_bytes(header);
			memcpy(&b, header, sizeof(b));
		}
	}
	return sum;
}
