/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Ownership bound to a scope. A local that owns something carries the
 * attribute of its destructor, so one function can be proven free of leaks
 * without opening another; what leaves the scope leaves through take_ptr() or
 * take_fd(). A file descriptor that is not open is -1.
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define cleanup(function) __attribute__((cleanup(function)))

#define cleanup_free   cleanup(cleanup_free_)
#define cleanup_close  cleanup(cleanup_close_)
#define cleanup_fclose cleanup(cleanup_fclose_)

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose_(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define take_ptr(p)                                                                                \
	({                                                                                         \
		__auto_type taken_ = (p);                                                          \
		(p) = NULL;                                                                        \
		taken_;                                                                            \
	})

#define take_fd(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
