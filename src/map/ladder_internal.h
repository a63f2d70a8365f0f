/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * How a ladder is made, in the order of the files: ladder.c reads what is there,
 * ladder_label.c says of each mapping what maps alone tells, ladder_stacks.c and
 * ladder_files.c, ladder_loader.c and ladder_own.c claim what else is proven, ladder_divide.c
 * divides the address space among the claims, ladder_count.c counts pages, ladder_findings.c looks
 * at the result. All of it refers to ONE snapshot of the mappings: claims are
 * clipped to it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "map/ladder.h"
#include "target/maps.h"
#include "target/pages.h"
#include "target/threads.h"

/* Who keeps the bytes that two want: the higher one, then the earlier. */
enum ladder_rank {
	LADDER_BY_SHAPE, /* a stack that only looks like one */
	LADDER_RUNTIME_SHAPE,
	LADDER_PROVEN, /* stacks and .bss */
	LADDER_RUNTIME_PROVEN,
};

struct ladder_claim {
	uint64_t start, end;
	uint32_t part;
	uint32_t order;
	enum ladder_rank rank;
};

/* What smaps says of a mapping. */
struct ladder_smaps {
	uint64_t start, resident_bytes, pss_bytes, locked_bytes;
};

/* A file system whose files are memory. */
struct ladder_mount {
	uint32_t dev_major, dev_minor;
	bool is_huge; /* hugetlbfs */
};

struct ladder_work {
	const struct target *t;
	struct symbol_space *space;
	const struct ladder_options *options;
	struct maps maps;
	struct threads threads;
	struct regions regions;
	struct ladder_claim *claims;
	size_t n_claims, cap_claims;
	struct hash_map by_key; /* of parts that maps alone tells: to its index */
	/* The pieces: each within one mapping and of one part, by address. */
	struct pages_range *pages;
	struct ladder_piece {
		uint32_t mapping, part;
	} * pieces;
	size_t n_pieces, cap_pieces, cap_pages;
	struct ladder_smaps *smaps; /* by start; only when read */
	size_t n_smaps, cap_smaps;
	struct ladder_mount *mounts;
	size_t n_mounts, cap_mounts;
	/* Runtimes' claims on mapped files, which can't be heap: the first one of them. */
	const struct mapping *file_over_heap;
	const char *file_over_heap_kind;
	uint64_t file_over_heap_bytes;
	struct ladder l;
};

/* ladder_label.c: the part that @m belongs to when nobody claims it. [vsyscall] is not asked. */
int ladder_label_mapping(struct ladder_work *w, const struct mapping *m, uint32_t *ret,
                         struct error *err);
/* A part more; *ret is valid until the next. @kind is static. */
int ladder_label_add(struct ladder_work *w, const char *kind, uint32_t *ret, struct error *err);
bool ladder_label_is_counted(const struct mapping *m); /* all but [vsyscall] */
bool ladder_label_is_no_access(const struct mapping *m);
/* Pages of a file that are no memory of the process's own: code, read-only data,
 * shared mappings of a disk's file. Whatever an allocator says of them is old. */
bool ladder_label_is_solid_file(const struct ladder_work *w, const struct mapping *m);

/* ladder_mounts.c: is @m a shared file of tmpfs or hugetlbfs? NULL: no. */
int ladder_mounts_read(struct ladder_work *w, struct error *err);
const struct ladder_mount *ladder_mounts_find(const struct ladder_work *w, const struct mapping *m);

/* ladder_stacks.c, ladder_files.c, ladder_loader.c, ladder_own.c: claims. */
int ladder_stacks_claim(struct ladder_work *w, struct error *err);
int ladder_files_claim(struct ladder_work *w, struct error *err);
int ladder_loader_claim(struct ladder_work *w, struct error *err);
int ladder_own_claim(struct ladder_work *w, struct error *err);

/* ladder_divide.c */
int ladder_divide_claim(struct ladder_work *w, uint64_t start, uint64_t end, uint32_t part,
                        enum ladder_rank rank, struct error *err);
int ladder_divide(struct ladder_work *w, struct error *err);

/* ladder_count.c: fill the figures of parts and of the ladder. */
int ladder_count(struct ladder_work *w, struct error *err);

/* ladder_smaps.c */
int ladder_smaps_read(struct ladder_work *w, struct error *err);
const struct ladder_smaps *ladder_smaps_find(const struct ladder_work *w, uint64_t start);

/* ladder_findings.c: what needs the target's memory, then what the parts tell. */
int ladder_findings_look(struct ladder_work *w, struct error *err);
int ladder_findings_add(struct ladder_work *w, struct error *err);
