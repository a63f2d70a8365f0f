/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Address -> names. A `struct symbol_module` is one ELF file of a target,
 * opened while the target still had it; names are looked up late and once per
 * address. The rule that matters: a name is the symbol whose size covers the
 * address, never the nearest one below. A wrong name is worse than an address.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"
#include "target/maps.h"
#include "target/target.h"

enum { SYMBOL_MAX_ARCHIVES = 8 };
struct symbol_options {
	bool no_debuginfod; /* never ask a server, whatever the environment says */
	bool no_inline;     /* do not look for inlined frames and lines */
	/* static libraries and object files whose functions are looked for, by their code, in
	 * modules without symbols; strings that live as long as the pool */
	const char *archives[SYMBOL_MAX_ARCHIVES];
};

struct symbol_module;

/* One function at an address; several when functions are inlined, innermost
 * first. Strings live as long as the module. */
struct symbol_frame {
	const char *name; /* demangled; NULL: nothing covers the address */
	const char *file; /* NULL: not known */
	unsigned line;    /* 0: not known */
	bool inlined;
	uint64_t start, size; /* of the function in the module; size 0: not known, inlined */
};

/* Names of @vaddr in the module's file. Callers pass return address - 1 for
 * frames above the leaf. Fills up to @max frames, returns how many (at least 1:
 * with name NULL when nothing is known). */
size_t symbol_module_frames(struct symbol_module *m, uint64_t vaddr, struct symbol_frame *frames,
                            size_t max);
const char *symbol_module_path(const struct symbol_module *m); /* as the target has it */
/* NULL: could not be opened. Functions of one without symbols have been looked for by their
 * code (object_code.h): they are its ELF_FOUND symbols. */
struct elf_file *symbol_module_elf(struct symbol_module *m);
/* Is an exported function of that name in the module's code that was found, but not proven to be
 * at one place? */
bool symbol_module_is_undecided(struct symbol_module *m, const char *name);
/* By what: "" and 0 where nothing was found, or looked for. */
const char *symbol_module_found(struct symbol_module *m, size_t *n_functions);

/*
 * The modules of one process over time. Mappings that vanish (dlclose) stay
 * known, also when another one takes their place: an address means something
 * together with a snapshot only. A snapshot is the number of a refresh that
 * found something changed.
 */
struct symbol_space;

/* @options is copied. Modules (by device, inode, build-id) are shared between
 * spaces made with the same @pool. */
struct symbol_pool;
int symbol_pool_new(const struct symbol_options *options, struct symbol_pool **ret,
                    struct error *err);
struct symbol_pool *symbol_pool_free(struct symbol_pool *p); /* frees all modules */
void symbol_pool_freep(struct symbol_pool **p);

int symbol_space_new(struct symbol_pool *pool, const struct target *t, struct symbol_space **ret,
                     struct error *err);
struct symbol_space *symbol_space_free(struct symbol_space *s);
void symbol_space_freep(struct symbol_space **s);

/* Read the target's maps again; returns the number of executable mappings that
 * are new (>= 0), or -errno. */
int symbol_space_refresh(struct symbol_space *s, const struct target *t, struct error *err);

struct symbol_mapping {
	uint64_t start, end, bias;
	struct symbol_module *module; /* NULL: executable but not an ELF file (JIT) */
	bool gone;                    /* not in the last refresh */
	uint32_t first, last;         /* snapshots in which it was seen */
};
/* The first of the pool's archives; NULL: none was given. */
const char *symbol_space_archive(const struct symbol_space *s);
uint32_t symbol_space_snapshot(const struct symbol_space *s); /* the last one */
size_t symbol_space_n(const struct symbol_space *s);
const struct symbol_mapping *symbol_space_at(const struct symbol_space *s, size_t i); /* by start */
const struct symbol_mapping *symbol_space_find(const struct symbol_space *s, uint64_t addr);
/* What was at @addr in @snapshot, or NULL (also: too long ago to be known). The
 * pointer is valid until the next refresh. */
const struct symbol_mapping *symbol_space_find_in(const struct symbol_space *s, uint64_t addr,
                                                  uint32_t snapshot);
/* Has nothing else ever been at @addr? */
bool symbol_space_is_sure(const struct symbol_space *s, uint64_t addr);

/* Names of a run-time address; uses the perf map of a JIT
 * (/tmp/perf-PID.map in the target's root) where no module covers it.
 * *module and *vaddr may come back NULL and the address itself. *vaddr is what
 * was looked up: for a return address, one less, inside the call. */
size_t symbol_space_frames(struct symbol_space *s, uint64_t addr, bool is_return_address,
                           struct symbol_frame *frames, size_t max, struct symbol_module **module,
                           uint64_t *vaddr);
/* The same for @pc (inside the call already) in a mapping that was found before;
 * NULL: in no code that is known. */
size_t symbol_space_frames_of(struct symbol_space *s, const struct symbol_mapping *m, uint64_t pc,
                              struct symbol_frame *frames, size_t max,
                              struct symbol_module **module, uint64_t *vaddr);
