/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Which thread uses which arena and which cache: libc's thread-local variables
 * thread_arena and tcache hold their addresses. Where they are, counted from the
 * thread pointer, is the same in all threads; so the place is where the most
 * threads have one.
 */

#include <sys/types.h>

#include "runtime/glibc/glibc_tcache.h"

enum { GLIBC_THREADS_NONE = -1 };

struct glibc_thread {
	const struct thread *thread;
	ssize_t arena, tcache; /* index, or GLIBC_THREADS_NONE */
};

struct glibc_threads {
	struct glibc_thread *items; /* those whose thread pointer is known */
	size_t n;
};
void glibc_threads_clear(struct glibc_threads *t); /* usable with cleanup() */

int glibc_threads_match(struct peek *p, const struct threads *threads,
                        const struct glibc_arenas *arenas, const struct glibc_tcaches *tcaches,
                        struct glibc_threads *ret, struct error *err);
