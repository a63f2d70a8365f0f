/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Numbers and lines of a ladder's text. All numbers of one ladder are in one
 * unit, named once, so that a column can be read down; what would be rounded to
 * nothing in it is written in its own ("8K"), because 0.0 means nothing at all.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct ladder_words {
	FILE *to;
	size_t columns;
	bool colour;
	bool in_gib; /* else MiB */
};

/* The unit for a ladder of @virtual_bytes. */
struct ladder_words ladder_words_on(FILE *to, size_t columns, bool colour, int64_t virtual_bytes);
const char *ladder_words_unit(const struct ladder_words *w);
/* In @buf (UNITS_BYTES); returned. @sign: '+' before what grew. */
const char *ladder_words_bytes(const struct ladder_words *w, int64_t v, bool sign, char *buf,
                               size_t size);
const char *ladder_words_paint(const struct ladder_words *w, const char *code); /* "" or @code */

/* @text, made safe, broken at blanks; @at columns of the line are used, further
 * lines begin with @indent. Ends the line. */
void ladder_words_wrap(const struct ladder_words *w, const char *text, size_t at, size_t indent);

/* "thread stacks", "glibc arena" ...; a kind that is not ours as it is. */
const char *ladder_words_kind(const char *kind, bool many);
