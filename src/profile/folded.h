/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * "root;caller;leaf 123" lines (root first) and the text that
 * stackcollapse-stap.pl reads (leaf first, one frame a line, then the value).
 * A ';' inside a name becomes ':', a control byte ' ', bad UTF-8 U+FFFD. Code
 * without a symbol is "module+0xoffset", and is known again when read. Neither
 * text says what it counts: what is read is taken for held bytes.
 */

#include <stdio.h>

#include "profile/profile.h"

/* @type: which value; -1 the default. Zero values are left out; equal stacks
 * are one line; lines are sorted. -EINVAL without such a type. */
int folded_write(const struct profile *p, int type, FILE *to, struct error *err);
int folded_read(const char *data, size_t len, struct profile **ret, struct error *err);

/* 0xADDR : func+0xOFF/0xSIZE [module] lines as SystemTap's print_ustack has them.
 * ADDR is the module's offset; where the function begins and how long it is are
 * not known and written 0x0. A '+' of the module's name is written %2B. Negative
 * values (of a diff) are -EINVAL. */
int folded_write_stap(const struct profile *p, int type, FILE *to, struct error *err);
int folded_read_stap(const char *data, size_t len, struct profile **ret, struct error *err);
