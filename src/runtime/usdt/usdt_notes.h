/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Statically defined trace points (USDT) of a program, as <sys/sdt.h> leaves them:
 * notes of type 3, owner "stapsdt", in the section .note.stapsdt, which strip keeps
 * (SystemTap wiki, UserSpaceProbeImplementation; sdt.h 3.x and later). Each has the
 * address of a nop, an address by which a prelinked file can be told, that of a counter
 * (0: none) which who listens raises, and three strings: provider, name, arguments
 * ("8@%rdi -4@$5 8@-16(%rbp)").
 */

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "target/elf_file.h"

struct usdt_note {
	const char *provider, *name, *arguments; /* in the caller's bytes */
	uint64_t pc, base, semaphore;            /* as the note has them */
};

/* The next note in @len bytes of a section; *pos: start with 0. 1 found, 0 the end, -EBADMSG
 * a note that does not fit (nothing behind it can be found). */
int usdt_notes_next(const uint8_t *notes, size_t len, size_t *pos, struct usdt_note *ret);

/* The text of a plan's operations (runtime/plan.h) that load argument @n of @arguments into the
 * accumulator; x86-64's operands only. 0, -ENOENT there are not as many, -ENOTSUP an operand
 * that cannot be read so (of a symbol, a vector register), -ENOSPC. */
int usdt_notes_argument(const char *arguments, unsigned n, char *buf, size_t size);
