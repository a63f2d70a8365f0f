/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Inlined functions and lines at an address, from DWARF. The surprising rule:
 * libdw runs in a process of its own. Debug information is as hostile as any
 * file and far richer; a crash, a loop or a file cut short under its mapping
 * then costs a module its inlined functions and nothing else. The worker holds
 * no file of ours but the one it reads, dies with us, and its time is bounded.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "target/elf_file.h"

enum {
	INLINES_QUERY_SECONDS = 10, /* for one address; the first one makes the index */
	INLINES_TOTAL_SECONDS = 60, /* for all addresses of a file */
	INLINES_MAX_NAME = 4096,
	INLINES_MAX_REPLY = 65536,
};

struct inlines;

struct inlines_frame {
	const char *name; /* linkage name, or the source's; NULL: none */
	const char *file; /* NULL: not known */
	unsigned line;    /* 0: not known */
	bool inlined;
};

/* @elf has .debug_info; it may be closed afterwards. */
int inlines_open(const struct elf_file *elf, struct inlines **ret, struct error *err);
struct inlines *inlines_close(struct inlines *in); /* NULL is fine; returns NULL */

/* Functions at @vaddr, innermost first; the last is the one that is there in
 * code. Returns how many, 0 when DWARF does not know, -errno when the worker
 * is lost (close it then). The strings are valid until the next call. */
int inlines_find(struct inlines *in, uint64_t vaddr, struct inlines_frame *frames, size_t max);
