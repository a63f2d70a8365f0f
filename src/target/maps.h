/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* /proc/PID/maps, parsed. Names are any bytes (the kernel escapes newlines as
 * \012; they are unescaped here). */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/target.h"

enum maps_prot { MAPS_READ = 1, MAPS_WRITE = 2, MAPS_EXEC = 4, MAPS_SHARED = 8 };

struct mapping {
	uint64_t start, end;
	uint64_t offset; /* in the file */
	uint64_t inode;  /* 0: anonymous */
	uint32_t dev_major, dev_minor;
	unsigned prot; /* enum maps_prot */
	bool deleted;  /* name ended in " (deleted)", cut off here */
	char *name;    /* "" for anonymous without a name; "[heap]", "[vdso]", path */
};

struct maps {
	struct mapping *items; /* by address */
	size_t n_items, cap_items;
};

/* Names of files count from the target's root; pages that we have moved (maps_moved.h) are where
 * they belong. -ESRCH: has ended. */
int maps_read(const struct target *t, struct maps *ret, struct error *err);
int maps_read_raw(const struct target *t, struct maps *ret, struct error *err); /* as it is */
int maps_parse(const char *text, size_t len, struct maps *ret, struct error *err);
void maps_clear(struct maps *m); /* { 0 } is empty; usable with cleanup() */
const struct mapping *maps_find(const struct maps *m, uint64_t addr); /* NULL: not mapped */
/* The widest gap between mappings in [@low, @high): its start, *ret how many bytes; 0: none. */
uint64_t maps_gap(const struct maps *m, uint64_t low, uint64_t high, uint64_t *ret);
/* Index of the first mapping that ends above @addr; n_items: none. */
size_t maps_first_behind(const struct maps *m, uint64_t addr);

/* Open the file behind a mapping, even if it was deleted or replaced: through
 * /proc/PID/map_files, else the path in the target's root if device and inode
 * still are the same. */
int maps_open_file(const struct target *t, const struct mapping *m, int *ret_fd, struct error *err);
