/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The kernel's type information (BTF) without the kinds that libbpf 0.5 (Ubuntu
 * 22.04) cannot read: it refuses the whole for one of them. The programs only
 * ask for members of structs, which stay as they are. Layout:
 * Documentation/bpf/btf.rst of Linux 6.13.
 */

#include <stddef.h>

#include "base/error.h"

/* @data (all of /sys/kernel/btf/vmlinux) with DECL_TAG as VAR, TYPE_TAG as CONST
 * and ENUM64 as ENUM; type numbers stay. malloc'ed. -EINVAL: not BTF. */
int plain_btf_convert(const void *data, size_t len, void **ret, size_t *ret_len, struct error *err);

/* The same of the running kernel, as a file in memory. */
int plain_btf_open(int *ret_fd, struct error *err);
