/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * All functions of a module without symbols: where they begin, what each calls
 * or jumps to, and what data each names. The surprising rule: functions are what
 * the unwind table says (PT_GNU_EH_FRAME), as a stripped program keeps it, and
 * code between two of them counts as the first one's.
 *
 * Addresses are those of the file (vaddr). x86-64.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

struct code_graph_function {
	uint64_t start, end;
	uint32_t calls, refs; /* the first one's index in the two lists below */
};

struct code_graph_ref {
	uint64_t addr;     /* in a segment without code; its bytes, or its address, are used */
	uint32_t function; /* by this one */
};

struct code_graph {
	struct code_graph_function *functions; /* by address; one more at the end */
	size_t n;
	uint32_t *calls; /* indices of functions: called, jumped to, or their address is taken */
	size_t n_calls, cap_calls;
	struct code_graph_ref *refs; /* by function */
	size_t n_refs, cap_refs;
};
void code_graph_clear(struct code_graph *g); /* { 0 } is empty; usable with cleanup() */

/* -ENOEXEC: no unwind table, or no x86-64 code; -EFBIG: more than CODE_GRAPH_MAX_BYTES of it. */
enum { CODE_GRAPH_MAX_BYTES = 128 << 20 };
int code_graph_read(struct elf_file *f, struct code_graph *ret, struct error *err);
/* The same without calls and refs: only where functions are, which takes no time. */
int code_graph_functions(struct elf_file *f, struct code_graph *ret, struct error *err);

/* The function that @vaddr is in; g->n: none. */
size_t code_graph_find(const struct code_graph *g, uint64_t vaddr);
/* The one that begins there; g->n: none. */
size_t code_graph_at(const struct code_graph *g, uint64_t vaddr);

/* Is @vaddr data that code changes: neither constant, nor words that the dynamic linker fills? */
bool code_graph_is_variable(const struct elf_file *f, uint64_t vaddr);

/* Call @each for the instructions of function @i, in order, with those data addresses that they
 * name (0: none), until it returns non-zero; returns that, or -errno. */
struct code_insn;
int code_graph_each(struct elf_file *f, const struct code_graph *g, size_t i,
                    int (*each)(const struct code_insn *in, const uint64_t names[2], void *arg),
                    void *arg, struct error *err);
