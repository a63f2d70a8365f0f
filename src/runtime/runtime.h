/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What a layer may ask of any runtime or allocator. One folder each; the only
 * list is registry.c. An operation that is NULL means "this runtime says
 * nothing here", and the command says so.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "bpf/plan_format.h"
#include "profile/profile.h"
#include "runtime/graph_account.h"
#include "runtime/object_graph.h"
#include "runtime/regions.h"
#include "runtime/runtime_trim.h"
#include "symbol/symbol.h"
#include "target/image.h"
#include "target/target.h"

/* What a runtime looks at: an open target and its modules. */
struct runtime_view {
	const struct target *target;
	struct symbol_space *space;
};

enum { RUNTIME_PROBE_NAME_BYTES = 64 };

/* One function of an allocator that an engine is to probe. */
struct runtime_probe {
	char name[RUNTIME_PROBE_NAME_BYTES]; /* function, for reports */
	const struct runtime_ops *owner;
	struct symbol_module *module;
	uint64_t vaddr, size;    /* the function; size is estimated where no symbol says it */
	uint64_t at;             /* vaddr of the instruction to probe; see probe_point.h */
	uint64_t counter_offset; /* in the file; to be raised while somebody listens. 0: none */
	bool single_stepped;     /* no emulated instruction was found: dear */
	bool left_out;           /* by an engine that cannot record it: what it calls counts */
	struct plan_code code;
	struct plan_code entry; /* the same for a look at the registers at vaddr */
	/* PLAN_THROWS: the function of @module that does the same, with the same arguments,
	 * and returns NULL where this one throws; 0: none is known */
	uint64_t quiet;
	/* of @owner's functions those that only make sense together have the same; 0: alone */
	unsigned group;
};

/* Code that belongs to an allocator without being probed itself (helpers that
 * a probed function jumps to): a call that returns into it is internal. */
struct runtime_range {
	struct symbol_module *module;
	uint64_t vaddr, size;
	const struct runtime_ops *owner;
	/* PLAN_THROWS: only functions with that flag jump here. An engine that
	 * leaves those out must leave this out too, as it must their own ranges:
	 * else what they call would be taken for internal and be missed. */
	unsigned flags;
};

struct runtime_probes {
	struct runtime_probe *probes;
	size_t n_probes, cap_probes;
	struct runtime_range *ranges;
	size_t n_ranges, cap_ranges;
	/* functions that exist but cannot be covered, with the reason: for the report */
	struct runtime_gap {
		char name[RUNTIME_PROBE_NAME_BYTES];
		char reason[128];
	} * gaps;
	size_t n_gaps, cap_gaps;
};
void runtime_probes_clear(struct runtime_probes *p); /* { 0 } is empty */

/* A sentence for a person when no runtime is detected: a static program without
 * symbols is another case than one that simply has no malloc. */
void runtime_why_none(const struct runtime_view *v, char *buf, size_t size);

/* What runtimes use to fill the above. */
struct runtime_function {
	const char *name; /* for reports; cut to RUNTIME_PROBE_NAME_BYTES */
	enum plan_role role;
	unsigned flags;   /* PLAN_THROWS */
	const char *text; /* the plan, see plan.h */
	/* PLAN_THROWS: the name of the function that returns NULL instead; or NULL */
	const char *quiet;
	unsigned asked; /* as in struct plan_code */
	unsigned group; /* as in struct runtime_probe */
};

/* Add a probe on the function at @vaddr (@size 0: not known). A second probe at
 * an address that already has one is dropped: names of one function are one
 * probe. A function that is only "jmp other" gives a probe on the other. 1
 * added, 0 was there. */
int runtime_add_probe(struct runtime_probes *to, const struct runtime_ops *owner,
                      struct symbol_module *m, uint64_t vaddr, uint64_t size,
                      const struct runtime_function *f, struct error *err);
/* The same by the name of a symbol in @m; 0 also when there is no such function.
 * One that is not readable code becomes a gap (0). */
int runtime_add_symbol(struct runtime_probes *to, const struct runtime_ops *owner,
                       struct symbol_module *m, const char *symbol,
                       const struct runtime_function *f, struct error *err);
int runtime_add_range(struct runtime_probes *to, const struct runtime_ops *owner,
                      struct symbol_module *m, uint64_t vaddr, uint64_t size, unsigned flags,
                      struct error *err);
int runtime_add_gap(struct runtime_probes *to, const char *name, const char *reason,
                    struct error *err);

/* The view's modules, each once, without the dynamic linker of glibc (its
 * malloc is for itself until libc takes over). NULL at the end: start with
 * *pos = 0. */
struct symbol_module *runtime_next_module(const struct runtime_view *v, size_t *pos);

/* Text labels of one context (pool); "" = no such label. */
struct runtime_context {
	uint64_t address;
	char path[1024]; /* names from the root, '/' between them; "" = not found */
	char ident[256];
	char class_name[32];
	uint64_t used_bytes; /* the runtime's own account (headers of blocks included); else 0 */
};

struct object_graph_options {
	bool no_types; /* reachability and sizes only */
	/* called now and then with the share that is done (0 to 1); non-zero ends the
	 * walk with a graph that is marked as partial. May be NULL. */
	int (*progress)(void *arg, double share);
	/* of memory that does not stand still: the same once more, as it is now (the
	 * caller's), to tell how much changed. NULL: it stands still. */
	int (*fresh)(void *fresh_arg, struct image **ret, struct error *err);
	void *arg, *fresh_arg;
	/* filled beside the graph, as far as the runtime can; { 0 } before. May be NULL. */
	struct graph_account *account;
};

/* All contexts (pools) of a process, as its own account would have them. */
struct runtime_pool {
	uint64_t address;
	uint32_t parent; /* index; UINT32_MAX for a root */
	uint32_t level;  /* 0 for a root */
	const char *name, *ident, *class_name;
	uint64_t total_bytes, used_bytes, free_bytes, blocks, free_chunks;
};
struct runtime_pools {
	struct runtime_pool *items; /* a pool comes before its children */
	size_t n;
	char *strings;        /* what names and idents point into */
	const char *inside;   /* REGIONS_...: whose memory their blocks are; NULL: not proven */
	int64_t parked_bytes; /* of pools that were deleted and kept for reuse; -1: not known */
	uint64_t n_parked;
	pid_t leader;        /* of a helper process, as the target's pid namespace counts; 0 */
	uint64_t stopped_ns; /* how long the process was stopped for it; 0: it was not */
};
void runtime_pools_clear(struct runtime_pools *p); /* { 0 } is empty */

struct runtime_ops {
	const char *name;  /* what --allocator takes */
	const char *title; /* for people */
	bool only_by_name; /* not looked for unless it is asked for */
	bool has_contexts; /* samples carry a context; result bytes are chunk bytes */

	/* Does this runtime live in the target? 1 yes, 0 no, -errno. Must be cheap. */
	int (*detect)(const struct runtime_view *v, struct error *err);

	/* Add the probes (one for each function found in any module). A runtime
	 * that was detected but whose layout fails its self-check is -ENOTSUP
	 * with what was found. */
	int (*alloc_probes)(const struct runtime_view *v, struct runtime_probes *to,
	                    struct error *err);

	/* Fill path, ident and class of contexts whose `address` is set; reads
	 * the target's memory as it is now. A context that is not found keeps
	 * what it had. May be NULL. */
	int (*name_contexts)(const struct runtime_view *v, struct runtime_context *contexts,
	                     size_t n, struct error *err);

	/* What kind of process this is ("client backend", "startup", "walsender");
	 * false if the runtime does not know. May be NULL. */
	bool (*process_kind)(const struct runtime_view *v, char *buf, size_t size);

	/* Bytes of the blocks that all contexts together have in use now, counted
	 * as probes count them (chunk space; what contexts need for themselves is
	 * left out), so that the change over a recording can be compared with what
	 * was recorded. -EAGAIN: torn by a running target. May be NULL. */
	int (*used_bytes)(const struct runtime_view *v, uint64_t *ret, struct error *err);

	/* All contexts of the process. -EAGAIN: torn by a running target, in spite of a short
	 * stop; -ENOTSUP: laid out in a way not known. May be NULL. */
	int (*pools)(const struct runtime_view *v, struct runtime_pools *ret, struct error *err);

	/* Add the heaps and regions of this runtime, found by shape, without symbols,
	 * whatever detect() says (0 also when there are none). A target that changes
	 * meanwhile is no error: what could be proven is added, contradictions are
	 * counted in the heaps. May be NULL. */
	int (*label_regions)(const struct runtime_view *v, const struct regions_input *in,
	                     struct regions *to, struct error *err);

	/* Make the graph of all live objects of this runtime from memory that stands
	 * still: 1 made, 0 not this runtime, -ENOTSUP with the reason (a version that is
	 * not known). May be NULL. */
	int (*object_graph)(struct image *i, const struct object_graph_options *o,
	                    struct object_graph *ret, struct error *err);

	/* "Lua 5.4" into @buf when it has objects in there: as far as a quick look shows it. For
	 * what another runtime's graph was made of. 1 it has, 0 no. May be NULL. */
	int (*has_objects)(struct image *i, char *buf, size_t size);

	/* What the runtime itself has recorded about who allocated what, since its program's
	 * start: 1 made (value types profile_heap_types; *ret_fingerprint is the same for
	 * readings of one state), 0 not this runtime, -ENODATA it records nothing (why, in
	 * @err), -EAGAIN nothing yet. The memory may change meanwhile. May be NULL. */
	int (*heap_profile)(struct image *i, struct profile **ret, uint64_t *ret_fingerprint,
	                    struct error *err);

	/* Bytes that a block of @size takes of in_use_bytes of its heap, headers and rounding
	 * included; as good as its size alone can tell. NULL: not known. */
	uint64_t (*block_bytes)(uint64_t size);

	/* How it gives free memory back, if it is an allocator. May be NULL. */
	const struct runtime_trim *trim;

	/* The block around @addr: 1 filled, 0 not this runtime's, -errno. May be NULL. */
	int (*find_block)(const struct runtime_view *v, const struct regions_input *in,
	                  uint64_t addr, struct regions_block *ret, struct error *err);
};

/* registry.c */
extern const struct runtime_ops *const registry_runtimes[]; /* NULL-terminated */
const struct runtime_ops *registry_find(const char *name);  /* NULL: unknown */
