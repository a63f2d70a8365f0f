/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Where a module keeps its frame information: PT_GNU_EH_FRAME, .eh_frame,
 * .debug_frame. The sections are read whole, so frames_load() is cheap next to
 * frames_add_rows(), which runs the programs in them. */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"
#include "unwind/rows.h"

struct frames {
	uint8_t *eh, *debug; /* NULL: none; owned */
	size_t eh_len, debug_len;
	uint64_t eh_vaddr;
};

void frames_clear(struct frames *f);
/* A section that is damaged or not there is left out; the only error is
 * -ENOMEM. */
int frames_load(const struct elf_file *f, struct frames *ret, struct error *err);
int frames_add_rows(const struct frames *f, struct rows *rows, size_t *n_fdes, struct error *err);
/* Of all that rows are made from. */
uint64_t frames_hash(const struct frames *f);
