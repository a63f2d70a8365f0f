/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A stack in a terminal table: "leaf ← caller ← caller ← … 12 … ← main",
 * wrapped. Recursion and runs of frames without a name are folded into one
 * piece; the middle gives way first, the leaf's neighbours and the root stay.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "profile/profile.h"

struct cell_piece {
	char *text; /* safe for a terminal */
	size_t columns;
	bool is_named;
};

struct cell {
	struct cell_piece *pieces;
	size_t n_pieces, cap_pieces;
};

/* Names longer than @max_columns lose their middle. */
int cell_make(const struct profile *p, const struct profile_sample *s, size_t max_columns,
              struct cell *ret, struct error *err);
void cell_clear(struct cell *c);

/* Print, wrapped to @columns; further lines begin with @indent spaces. No
 * newline at the end. */
void cell_print(const struct cell *c, FILE *to, size_t columns, size_t indent, bool colour);
