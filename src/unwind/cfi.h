/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* .eh_frame and .debug_frame: finds the CIEs and FDEs and runs their programs
 * into rows. Entries that make no sense are left out and counted; the section
 * is walked once, so the cost is linear in its size. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "unwind/rows.h"

struct cfi_section {
	const uint8_t *data;
	size_t len;
	uint64_t vaddr; /* of data[0]; for pc-relative addresses */
	bool is_eh;     /* .eh_frame, not .debug_frame */
};

/* Adds to *n_fdes and rows->n_dropped. */
int cfi_add_rows(const struct cfi_section *s, struct rows *rows, size_t *n_fdes, struct error *err);

/* Read an address of DW_EH_PE_ @encoding that stands at @vaddr; false if it is
 * of a kind that needs the running process (indirect, textrel, ...). */
struct cursor;
bool cfi_encoded(struct cursor *c, uint8_t encoding, uint64_t vaddr, uint64_t *ret);
