/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * libbpf under its present names, also where it is the 0.5 of Ubuntu 22.04
 * (whose newer kernels run memwho). Includes libbpf's headers; include this
 * instead of them.
 */

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#if __has_include(<bpf/libbpf_version.h>)
#include <bpf/libbpf_version.h>
#endif

#ifndef LIBBPF_MAJOR_VERSION
#include <errno.h>

#define LIBBPF_IS_OLD 1
#define LIBBPF_OPTS   DECLARE_LIBBPF_OPTS

static inline int bpf_map_create(enum bpf_map_type type, const char *name, unsigned key_bytes,
                                 unsigned value_bytes, unsigned entries, const void *no_options)
{
	int fd = bpf_create_map_name(type, name, (int)key_bytes, (int)value_bytes, (int)entries, 0);

	return fd < 0 ? -errno : fd;
}

/* NULL and errno instead of pointers that are errors, as in 1.0. */
static inline void libbpf_old_begin(void)
{
	libbpf_set_strict_mode(LIBBPF_STRICT_CLEAN_PTRS | LIBBPF_STRICT_DIRECT_ERRS);
}

/* It only knows section names with a slash. */
static inline void libbpf_old_types(struct bpf_object *object)
{
	struct bpf_program *p;

	bpf_object__for_each_program(p, object)
	{
		if (bpf_program__get_type(p) == BPF_PROG_TYPE_UNSPEC)
			bpf_program__set_kprobe(p);
	}
}
#else
#define LIBBPF_IS_OLD (LIBBPF_MAJOR_VERSION < 1)

static inline void libbpf_old_begin(void)
{
}

static inline void libbpf_old_types(struct bpf_object *object)
{
}
#endif
