/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stddef.h>

/* Length of the valid UTF-8 sequence at @s (1 to 4), or 0 if the bytes there
 * are not one (overlong forms and surrogates included). @len > 0. */
size_t utf8_sequence(const char *s, size_t len);
