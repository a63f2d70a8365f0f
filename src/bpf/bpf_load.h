/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Opening BPF programs on kernels and libbpfs of many ages, and saying in words
 * why one was refused.
 */

#include "base/error.h"

/* Before a skeleton is opened: -ENOTSUP when the kernel lacks what all our
 * programs need. */
int bpf_load_begin(struct error *err);
/* A libbpf that cannot read this kernel's type information gets one that it can
 * read: @path for btf_custom_path, and *ret_fd, to be closed after the load.
 * Else @path is "" and *ret_fd is left alone. */
int bpf_load_btf(int *ret_fd, char path[32], struct error *err);
/* What libbpf's -errno @r means. Returns it. */
int bpf_load_explain(int r, struct error *err);
