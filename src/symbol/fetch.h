/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Debug files from a debuginfod server, by libdebuginfod, which is loaded only
 * when DEBUGINFOD_URLS names a server. All waiting together is bounded: a
 * server that is slow or unreachable is asked no more.
 */

#include <stdbool.h>
#include <stdint.h>

#include "target/elf_file.h"

enum { FETCH_SECONDS = 20 }; /* for all files of a pool */

struct fetch {
	bool off;
	uint64_t spent_ns;
	void *library;
};

struct fetch fetch_start(bool off);
void fetch_stop(struct fetch *f);

/* The debug file of @stripped, verified by build-id: 0 or -errno. */
int fetch_debug(struct fetch *f, struct elf_file *stripped, const char *path,
                struct elf_file **ret);
