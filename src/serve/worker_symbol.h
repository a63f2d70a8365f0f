/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Go's /debug/pprof/symbol (net/http/pprof/pprof.go, Symbol): addresses of a
 * running process -> names. */

#include <stdio.h>
#include <sys/types.h>

#include "base/error.h"

/* @text is "0xa+0xb+...", hostile. Writes "num_symbols: 1" and a line "0xa name" for each
 * address that is in code with a name; another one is left out, as Go does. */
int worker_symbol(pid_t pid, const char *text, FILE *to, struct error *err);
