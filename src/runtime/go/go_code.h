/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The functions of a Go program and what its tables say of them by pc
 * (.gopclntab, which strip leaves in place): names, values by pc, pcdata, funcdata,
 * inlined calls. Facts: runtime/symtab.go, runtime/symtabinl.go,
 * runtime/runtime2.go (_func) and internal/abi/symtab.go of Go 1.17 to 1.26.
 * Every table is read in small pieces and to a limit: none is believed to end.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/go/go_module.h"

struct go_code_function {
	uint64_t entry, end; /* of its code */
	uint64_t record;     /* address of its runtime._func */
};

/* The function whose code is at @pc. */
bool go_code_function(const struct go_module *m, uint64_t pc, struct go_code_function *ret);
/* The function of this name ("runtime.profilealloc"), at most 63 bytes long. Linear. */
bool go_code_find(const struct go_module *m, const char *name, struct go_code_function *ret);

/* Offset of its name in funcnametab. */
uint32_t go_code_name_of(const struct go_module *m, const struct go_code_function *f);
/* The name at @offset of funcnametab, shortened. */
void go_code_name(const struct go_module *m, uint32_t offset, char *buf, size_t size);
/* Name of the function at @pc, or "". */
void go_code_name_at(const struct go_module *m, uint64_t pc, char *buf, size_t size);
/* "main.f[go.shape.int]" -> "main.f[...]", as the runtime's own tracebacks have it (symtab.go,
 * funcNameForPrint). */
void go_code_shorten(char *name, size_t size);
/* The NUL-terminated text at @at, cut to @size. */
void go_code_text(const struct go_module *m, uint64_t at, char *buf, size_t size);

/* The value that the table at @offset of pctab has for @pc, in @f; -1 none. */
int32_t go_code_value(const struct go_module *m, const struct go_code_function *f, uint32_t offset,
                      uint64_t pc);
/* The value of pcdata @n at @pc; -1 none. */
int32_t go_code_pcdata(const struct go_module *m, const struct go_code_function *f, unsigned n,
                       uint64_t pc);
/* Address of funcdata @n; 0 none. */
uint64_t go_code_funcdata(const struct go_module *m, const struct go_code_function *f, unsigned n);

/* A call that was inlined. */
struct go_code_call {
	uint32_t name;   /* of what was inlined: offset in funcnametab */
	uint64_t caller; /* pc in @f that stands for the place that calls it */
};
/* The innermost inlined call at @pc; false: there is none. */
bool go_code_inlined(const struct go_module *m, const struct go_code_function *f, uint64_t pc,
                     struct go_code_call *ret);
