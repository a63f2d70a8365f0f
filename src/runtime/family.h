/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What all allocators of the malloc kind share: the names of their functions,
 * the plans for them, and who is the owner of the name "malloc" in a file.
 * strdup(), getline() and the like are not listed anywhere: they call malloc by
 * its name. Neither is glibc's and musl's reallocarray(), which is a check and
 * a jump to realloc.
 */

#include <stdbool.h>

#include "runtime/runtime.h"

/* Plans. A number is the argument that holds the size. */
#define FAMILY_SIZE0  "RET PTR ARG0 SIZE END"
#define FAMILY_SIZE1  "RET PTR ARG1 SIZE END"
#define FAMILY_CALLOC "RET PTR ARG0 MUL1 SIZE END"
/* not 0: failed, and *ARG0 is whatever it was */
#define FAMILY_POSIX_MEMALIGN "RET SKZ3 IMM0 PTR END ARG0 LD8:0 PTR ARG2 SIZE END"
#define FAMILY_REALLOC        "ARG0 OLD END RET PTR ARG1 SIZE END"
/* a product that overflows fails and may look like 0 bytes: then say so by a
 * size that is not 0 */
#define FAMILY_REALLOCARRAY "ARG0 OLD END RET PTR SKZ4 ARG1 MUL2 SIZE END ARG1 SKZ1 ARG2 SIZE END"
/* frees the old block when it fails: size 0 */
#define FAMILY_REALLOCF   "ARG0 OLD END RET PTR SKZ1 ARG1 SIZE END"
#define FAMILY_FREE       "ARG0 PTR END"
#define FAMILY_FREE_SIZED "ARG0 PTR END ARG1 SIZE END"
#define FAMILY_FREE_SIZE2 "ARG0 PTR END ARG2 SIZE END"

/* Lists end with a name of NULL. */
extern const struct runtime_function family_malloc[]; /* malloc, calloc, ..., free */
extern const struct runtime_function family_cxx[];    /* operator new and delete */

/* Add probes for all functions of @list that the module has, under the name
 * @prefix + name. A function with PLAN_THROWS that does nothing but call one
 * that is probed is left out: the other one sees its calls, and needs no way
 * through an exception. */
int family_add(struct runtime_probes *to, const struct runtime_ops *owner, struct symbol_module *m,
               const char *prefix, const struct runtime_function *list, struct error *err);

/* Last step for the probes of @owner in @m. Drops those of mere wrappers: a
 * function that jumps to another probed one, which finds the same meaning in the
 * same registers, would only be counted twice. Then makes ranges of the code
 * that the probed functions jump to (cold parts, slow paths): its calls are the
 * allocator's own. */
int family_finish(struct runtime_probes *to, const struct runtime_ops *owner,
                  struct symbol_module *m, struct error *err);

bool family_has(struct elf_file *f, const char *symbol);

enum family {
	FAMILY_NONE, /* no malloc here */
	FAMILY_JEMALLOC,
	FAMILY_TCMALLOC,
	FAMILY_MIMALLOC,
	FAMILY_GLIBC,
	FAMILY_MUSL,
	FAMILY_OTHER,
};
/* Whose is the plain name "malloc" in this file? */
enum family family_of_malloc(struct elf_file *f);

/* For allocators that are found by that name alone. Does any module have such a
 * malloc? 1 or 0. */
int family_detect(const struct runtime_view *v, enum family which);
/* Probes for the functions of @lists (NULL-terminated) in each such module. */
int family_probes(const struct runtime_view *v, enum family which, const struct runtime_ops *owner,
                  const struct runtime_function *const *lists, struct runtime_probes *to,
                  struct error *err);
