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
#include "symbol/symbol.h"
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
	uint64_t vaddr, size; /* the function */
	uint64_t at;          /* vaddr of the instruction to probe; see probe_point.h */
	bool single_stepped;  /* no emulated instruction was found: dear */
	struct plan_code code;
};

/* Code that belongs to an allocator without being probed itself (helpers that
 * a probed function jumps to): a call that returns into it is internal. */
struct runtime_range {
	struct symbol_module *module;
	uint64_t vaddr, size;
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
void runtime_probes_clear(struct runtime_probes *p);

/* Text labels of one context (pool); "" = no such label. */
struct runtime_context {
	uint64_t address;
	char path[1024]; /* names from the root, '/' between them; "" = not found */
	char ident[256];
	char class_name[32];
	uint64_t used_bytes; /* the runtime's own account, where it has one; else 0 */
};

struct runtime_ops {
	const char *name;  /* what --allocator takes */
	const char *title; /* for people */
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

	/* Bytes that all contexts together have in use now, or -errno (-EAGAIN:
	 * torn by a running target). May be NULL. */
	int (*used_bytes)(const struct runtime_view *v, uint64_t *ret, struct error *err);
};

/* registry.c */
extern const struct runtime_ops *const registry_runtimes[]; /* NULL-terminated */
const struct runtime_ops *registry_find(const char *name);  /* NULL: unknown */
