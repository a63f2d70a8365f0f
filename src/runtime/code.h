/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * x86-64 machine code as far as probes need it: what an instruction changes,
 * where it may go, and whether the kernel emulates it under a uprobe. The only
 * user of Zydis (3 or 4).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

enum code_register { /* bits */
	             CODE_ARG0 = 1,
	             CODE_ARG1 = 2,
	             CODE_ARG2 = 4,
	             CODE_ARG3 = 8,
	             CODE_ARGS = 15,
	             CODE_SP = 16,
	             CODE_BP = 32,
};

enum code_flow {
	CODE_NEXT,   /* goes on behind itself */
	CODE_BRANCH, /* may go to target as well */
	CODE_CALL,
	CODE_JUMP,
	CODE_STOP, /* return, trap, halt */
};

struct code_insn {
	uint8_t length;
	bool emulated; /* on every kernel since 5.17 */
	bool direct;   /* target is known */
	bool endbr;    /* endbr64: a landing pad that changes nothing */
	/* Executed once more at a function's entry it does the same again: it writes
	 * only flags, or a register that no caller wants back and that it does not read. */
	bool repeatable;
	bool repeatable_kept; /* so, but the register is one that callers want back */
	uint8_t disp_at; /* offset of a displacement of 32 bits that is relative to rip; 0: none */
	unsigned writes; /* enum code_register */
	/* Registers by their number (bit 0: rax, 4: rsp, 8: r8), whole or in part; as an operand
	 * or in an address. */
	uint16_t gpr_reads, gpr_writes;
	/* "mov to, from" between two of the four argument registers, 64 bits: their
	 * numbers; else both -1 */
	int8_t copy_to, copy_from;
	enum code_flow flow;
	uint64_t target;
	/* Addresses that it names without going there: an operand in memory that
	 * is absolute or relative to rip, an immediate of 32 bits that is no
	 * branch (it may be a number). 0: none. */
	uint64_t names[2];
	bool is_lea; /* it reads nothing at names[0]: the address is the result */
};

/* Decode the instruction at @vaddr; false when the bytes are none. */
bool code_decode(const uint8_t *bytes, size_t len, uint64_t vaddr, struct code_insn *ret);

enum { CODE_MAX_BYTES = 256 * 1024 };

/* The bytes of a function. @size 0 (not known): what a walk from @vaddr along
 * its branches reaches, up to the next symbol. -ENOEXEC: not x86-64, outside executable segments,
 * longer than CODE_MAX_BYTES, or not one instruction can be decoded. */
struct code_function {
	uint8_t *bytes;
	size_t len;
	uint64_t vaddr;
	bool whole; /* every byte is part of a decoded instruction */
};
int code_function_read(struct elf_file *f, uint64_t vaddr, uint64_t size, struct code_function *ret,
                       struct error *err);
void code_function_clear(struct code_function *c); /* usable with cleanup() */

/* Can code be at @vaddr (a segment's executable part of the file)? */
bool code_is_executable(const struct elf_file *f, uint64_t vaddr);

/* Follow "jmp other" (behind an endbr64) as long as a function is nothing else;
 * returns where the work is done. A jump to another module is not followed. */
uint64_t code_real_start(struct elf_file *f, uint64_t vaddr);
