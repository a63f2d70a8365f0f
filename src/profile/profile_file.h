/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Read a saved profile of any format that we write, told apart by content:
 * pprof (gzip or plain), folded, stap, heap_v2, a ladder's JSON. At most 256 MiB. */

#include "profile/profile.h"

int profile_file_read(const char *path, struct profile **ret, struct error *err);
int profile_file_parse(const void *data, size_t len, struct profile **ret, struct error *err);
