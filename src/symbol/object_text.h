/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A build as text: what memwho brings along of well-known libraries (known/), made by
 * tools/object-code.py. Lines, "#" a remark:
 *
 *	title WORDS
 *	section SIZE HASH HASH ANCHOR|- ANCHOR-HASH [jump]	numbers in hexadecimal
 *	mask GAP[+LENGTH]...		bytes since the last one's end; of 4 if not said
 *	ref AT d|g NAME|.SECTION ADDEND
 *	symbol SECTION OFFSET SIZE TYPE BIND NAME
 *
 * Masks and references are the section's above them. The text is as hostile as any.
 */

#include <stdio.h>

#include "symbol/object_build.h"

/* References to what the build does not define are left out, and more than a few of one section
 * to the same. */
int object_text_write(const struct object_build *b, FILE *to, struct error *err);
/* Add what @len bytes of text say to an empty build. -EBADMSG with the line. */
int object_text_read(struct object_build *b, const char *text, size_t len, struct error *err);
