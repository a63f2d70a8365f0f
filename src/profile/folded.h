/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * "root;caller;leaf 123" lines (root first) and the text that
 * stackcollapse-stap.pl reads (leaf first, one frame a line, then the value).
 * A ';' or newline inside a name becomes ':' or ' '.
 */

#include <stdio.h>

#include "profile/profile.h"

/* @type: which value; -1 the default. Zero values are left out. */
int folded_write(const struct profile *p, int type, FILE *to, struct error *err);
int folded_read(const char *data, size_t len, struct profile **ret, struct error *err);

/* 0xADDR : func+0xOFF/0xSIZE [module] lines as SystemTap's print_stack has them. */
int folded_write_stap(const struct profile *p, int type, FILE *to, struct error *err);
int folded_read_stap(const char *data, size_t len, struct profile **ret, struct error *err);
