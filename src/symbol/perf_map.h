/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * /tmp/perf-PID.map: what a JIT compiler says about the code it made, a line
 * "START SIZE name" each in hexadecimal (Linux, tools/perf/Documentation/
 * jit-interface.txt). The file grows while the program runs, and an address
 * may be used again: the last line that covers it counts.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "symbol/spans.h"
#include "target/target.h"

enum {
	PERF_MAP_MAX_BYTES = 256 << 20, /* what is beyond is not read */
	PERF_MAP_MAX_LINES = 4 << 20,
};

struct perf_map {
	int fd;
	off_t read_bytes; /* size of the file when it was read */
	char *text;       /* names point into it */
	struct spans spans;
};

struct perf_map perf_map_none(void);
void perf_map_clear(struct perf_map *m);

/* Hold the target's map open if there is one that it may have written itself;
 * another look later does no harm. */
void perf_map_open(struct perf_map *m, const struct target *t);

/* Name of the code at @addr, or NULL. Reads the file (again, when it has
 * grown); the name is valid until the next call. */
const char *perf_map_find(struct perf_map *m, uint64_t addr);

/* Cuts @text, which is NUL-terminated, into names; @spans then points into it. */
int perf_map_parse(char *text, struct spans *spans, struct error *err);
