/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A truth program: it allocates at many named sites under two named callers
 * and knows to the byte what it still holds. Commands come line by line on
 * stdin (see hold.c), each is answered by a line that begins with "ok".
 *
 * Its own book-keeping never uses malloc: everything that an allocation
 * recorder sees under caller_a or caller_b is in the truth.
 */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A site is one frame: neither inlined nor cloned, and nothing below it is a
 * tail call (the programs are built without sibling calls, too). */
#if defined(__clang__)
#define SITE __attribute__((noinline, used))
#else
#define SITE __attribute__((noinline, noclone, used))
#endif
#define NO_TAIL_CALL() __asm__ volatile("" ::: "memory")

/* Who called a site: the function of that name is above it on the stack. */
enum { CALLER_A, CALLER_B, CALLER_C, CALLER_PLUGIN, CALLER_CXX, CALLER_SIGNAL, N_CALLERS };

struct visit {
	int caller;
	size_t extra; /* bytes that make one caller's blocks differ from the other's */
};

/* Numbers of sites: 1..HOLD_MAX_SITES - 1, named "site_NN"; 30 to 39 are C++, 50 to 59
 * functions that only one allocator has. */
enum {
	HOLD_MAX_SITES = 64,
	SITE_THROW = 40,
	SITE_DEEPER,
	SITE_NEW_HANDLER,
	SITE_SIGNAL,
	SITE_REALLOC_OLDER,
	SITE_PLUGIN,
};

/* Note a held block: @size requested bytes at @site; @destroy NULL: free().
 * @never_free: it came from another allocator than free() belongs to. */
void hold_keep(const struct visit *v, int site, void *ptr, size_t size, void (*destroy)(void *));
void hold_keep_for_ever(const struct visit *v, int site, void *ptr, size_t size);
/* Memory for objects of our own, never from malloc. */
void *hold_scratch(size_t size);
void hold_fail(const char *what);

/* The C++ part, or nothing (hold_no_cxx.c). */
void hold_cxx_round(struct visit *v);
/* Run a command of its own; returns 0 if it has none of that name. */
int hold_cxx_command(const char *name, long n);
extern long hold_caught; /* exceptions caught, shown in the truth */

#ifdef __cplusplus
}
#endif
