/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Rows for functions that no frame information describes: musl's libc has none,
 * nor has much hand-written assembly. They are made from the code of functions
 * whose symbol has a size (see flow.h); a function that is not understood in
 * full stays without rows. Symbol tables over 24 MiB and code over 16 MiB are
 * left alone.
 */

#include <stddef.h>

#include "base/error.h"
#include "target/elf_file.h"
#include "unwind/rows.h"

/* After all frame information; *n_functions are those that got rows. */
int prologue_add_rows(struct elf_file *f, struct rows *rows, size_t *n_functions,
                      struct error *err);
