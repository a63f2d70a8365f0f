/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Gzipped pprof protobuf (github.com/google/pprof proto/profile.proto), the
 * format in which a profile is saved. The report travels as comments
 * "memwho: key=value", tables as "memwho-table: JSON" (pprof_report.h).
 * Addresses are made up: each module has a range of its own, and an offset in
 * it. Code without a symbol gets a function "module+0xoffset", which is no name
 * again when read.
 */

#include <stdio.h>

#include "profile/profile.h"

int pprof_write(const struct profile *p, FILE *to, struct error *err);
/* @data is hostile: bounded sizes (256 MiB unpacked), counts and depth. Plain
 * and gzipped are accepted. -EBADMSG says what is wrong and where. */
int pprof_read(const void *data, size_t len, struct profile **ret, struct error *err);
