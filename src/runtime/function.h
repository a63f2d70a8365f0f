/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Functions of a process that are to be called there: where they are. */

#include <stdint.h>

#include "symbol/symbol.h"

/* Of the first module that defines @name; 0: none does, or it is not mapped as code. */
uint64_t function_find(const struct symbol_space *space, const char *name);
