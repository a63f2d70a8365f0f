/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that defines every function of an allocator, each with a body of
 * its own; only looked at, never run. PREFIX goes before each name. */
#ifndef PREFIX
#define PREFIX
#endif
#define TEXT_(x) #x
#define TEXT(x)  TEXT_(x)

#if defined(__x86_64__)
#define BODY "push %rbx\nmov $7, %eax\npop %rbx\nret"
#else
#define BODY "nop\nnop\nnop\nret"
#endif

#define FUNCTION(name)                                                                             \
	__asm__(".text\n.balign 16\n.globl " name "\n.type " name ",%function\n" name ":\n" BODY   \
	        "\n.size " name ", . - " name "\n");
#define NAMES(name, parameters) FUNCTION(TEXT(PREFIX) #name)
#include "allocator_names.h"
