/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What runtimes prove about a process's address space, read from outside: which
 * ranges are theirs ("regions"), and what their own structures say of the bytes
 * in them ("heaps": an arena, an allocator, a language's heap). A heap is one
 * row of the ladder. The surprising rule: a heap may have no regions. A Lua
 * state whose blocks come from malloc is inside another heap's regions; it then
 * has figures and `inside`, and no bytes of its own.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "target/maps.h"
#include "target/threads.h"

/* Kinds of rows: the values of "kind" in our JSON. */
#define REGIONS_THREAD_STACK  "thread-stack"
#define REGIONS_MAIN_STACK    "main-stack"
#define REGIONS_GLIBC_ARENA   "glibc-arena"
#define REGIONS_GLIBC_MMAPPED "glibc-mmapped"
#define REGIONS_JEMALLOC      "jemalloc"
#define REGIONS_TCMALLOC      "tcmalloc"
#define REGIONS_MIMALLOC      "mimalloc"
#define REGIONS_MUSL          "musl"
#define REGIONS_GO            "go"
#define REGIONS_POSTGRES      "postgres"
#define REGIONS_PYTHON        "python"
#define REGIONS_LUA           "lua"
#define REGIONS_JVM           "jvm"
#define REGIONS_V8            "v8"
#define REGIONS_FILE          "file"
#define REGIONS_SHARED        "shared"
#define REGIONS_VDSO          "vdso"
#define REGIONS_GUARD         "guard"
#define REGIONS_OTHER_HEAP    "other-heap"
#define REGIONS_MEMWHO        "memwho"
#define REGIONS_UNNAMED       "unnamed"

enum {
	REGIONS_NAME_BYTES = 64,
	REGIONS_TEXT_BYTES = 200,
	REGIONS_MAX_FIGURES = 20,
};

/* One more figure of a heap. @key is its name in JSON and ends in "_bytes" for
 * bytes; both texts are static. */
struct regions_figure {
	const char *key;   /* "dirty_bytes" */
	const char *title; /* "dirty" */
	int64_t value;
};

struct regions_heap {
	const char *kind;                  /* one of the above (static) */
	char name[REGIONS_NAME_BYTES];     /* "main arena", "arena 3", "jemalloc 5.3" */
	char detail[REGIONS_TEXT_BYTES];   /* for a person: "made for thread worker-0 (tid 4715)" */
	char evidence[REGIONS_TEXT_BYTES]; /* how the owner was proven */
	char inside[REGIONS_NAME_BYTES];   /* kind of the heap that this one's bytes lie in; "" */
	/* Why in_use_bytes is not known ("size known, inside unknown: ..."); "" when it is. */
	char unknown_why[REGIONS_TEXT_BYTES];
	/* What the allocator's own report calls in use, thread caches included (glibc: uordblks;
	 * hblkhd for mmapped blocks); -1: not known. */
	int64_t in_use_bytes;
	int64_t cached_bytes; /* of these: in thread caches, free for the program; -1 */
	struct regions_figure figures[REGIONS_MAX_FIGURES];
	size_t n_figures;
	/* The self-check: structures looked at, and those that contradicted each other
	 * (torn by a running target). Printed as the error bar. */
	uint64_t checked, inconsistent;
};

/* How sure a claim is. Where two claims overlap the stronger keeps the bytes, then the earlier. */
enum regions_claim {
	REGIONS_SHAPE,  /* looks like it, and nothing contradicts */
	REGIONS_PROVEN, /* the allocator's own structures lead to it */
};

struct regions_range {
	uint64_t start, end; /* any byte range inside mappings; need not be page-aligned */
	uint32_t heap;       /* index */
	enum regions_claim claim;
};

/* Something seen that a person should know, with what proves it and what to do. */
struct regions_finding {
	char key[REGIONS_NAME_BYTES]; /* "two-allocators" */
	char text[REGIONS_TEXT_BYTES];
	char evidence[REGIONS_TEXT_BYTES];
	char remedy[REGIONS_TEXT_BYTES]; /* "" = none known */
	int64_t bytes;                   /* what it is about; -1 */
};

struct regions {
	struct regions_heap *heaps;
	size_t n_heaps, cap_heaps;
	struct regions_range *ranges;
	size_t n_ranges, cap_ranges;
	struct regions_finding *findings;
	size_t n_findings, cap_findings;
};
void regions_clear(struct regions *r); /* { 0 } is empty */

/* What label_regions() of a runtime is given beside the view: read once for all. */
struct regions_input {
	const struct maps *maps;
	const struct threads *threads;
	bool stopped; /* the target stands still: exact live sets may be taken from lists */
};

/* A new heap: in_use_bytes and cached_bytes are -1, the rest is empty. *ret is
 * valid until the next one is added; *ret_index (may be NULL) names it in ranges. */
int regions_add_heap(struct regions *r, const char *kind, struct regions_heap **ret,
                     uint32_t *ret_index, struct error *err);
int regions_add_range(struct regions *r, uint32_t heap, uint64_t start, uint64_t end,
                      enum regions_claim claim, struct error *err);
/* The anonymous parts of [@start, @end): pieces of private mappings without a file, [stack] left
 * out, and of those neighbours joined. For what a runtime reserved in one call and the kernel shows
 * in pieces. Returns in *ret_bytes (may be NULL) how much that was; 0 bytes are no error. */
int regions_add_anonymous(struct regions *r, uint32_t heap, const struct maps *m, uint64_t start,
                          uint64_t end, enum regions_claim claim, uint64_t *ret_bytes,
                          struct error *err);
/* The heap that claimed @addr so far, or NULL: for `inside`. */
const struct regions_heap *regions_owner(const struct regions *r, uint64_t addr);
/* Sort the ranges from number @first on and join those of one heap that overlap or touch. */
void regions_join(struct regions *r, size_t first);
/* Is every byte of [@start, @end) in such mappings? */
bool regions_is_anonymous(const struct maps *m, uint64_t start, uint64_t end);
/* A figure more of @h; one too many is dropped. */
void regions_figure(struct regions_heap *h, const char *key, const char *title, int64_t value);
/* The value of figure @key, or -1. */
int64_t regions_value(const struct regions_heap *h, const char *key);
/* *ret (valid until the next) has @key, bytes -1 and empty texts. */
int regions_add_finding(struct regions *r, const char *key, struct regions_finding **ret,
                        struct error *err);

/* The block of an allocator around an address: what `memwho what` asks. */
enum regions_block_state { REGIONS_BLOCK_LIVE, REGIONS_BLOCK_FREE, REGIONS_BLOCK_CACHED };
struct regions_block {
	const char *kind;              /* as above */
	char heap[REGIONS_NAME_BYTES]; /* "arena 3" */
	uint64_t start, size;          /* what the program may use */
	enum regions_block_state state;
	char detail[REGIONS_TEXT_BYTES]; /* "size class 48", "top chunk" */
};

/* Where globals live: each module's writable data with the .bss behind it,
 * joined; [heap] is none of it. */
struct regions_data {
	uint64_t start, end;
	const struct mapping *file; /* the mapping that names the module */
	bool is_exe;
};
/* The next one after *pos (start with 0); false at the end. @exe: target->exe. */
bool regions_next_data(const struct maps *m, const char *exe, size_t *pos,
                       struct regions_data *ret);
