/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Profiles with known content for the tests of src/render: test_render*.c link
 * it, and the program `picture` writes them as files for the browser tests.
 */

#include "profile/profile.h"

/* "small": a PostgreSQL-like one with labels, report and all extra types;
 * "large": 50,000 different stacks; "hostile": names that try to break out;
 * "deep": 2,000 frames; "diff": after/before/delta; "empty"; "plain": one
 * value type, no report; "sampled": estimates with their intervals. NULL: no such case, or out of
 * memory. */
struct profile *render_samples_make(const char *name);

/* The names of the hostile case, NULL-terminated (the 1 MB one is not here). */
extern const char *const render_samples_hostile[];
