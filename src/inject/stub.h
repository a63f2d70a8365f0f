/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The machine code that a thread of the target runs for us. It begins with a
 * thread that was moved here by nothing but its pc, and ends with that thread
 * exactly where and as it was, whether memwho still lives or not: every register
 * that goes back is an immediate in the stub itself.
 *
 * Outside of a function call only mov, syscall and jrcxz are used: they leave
 * the flags alone, and nothing is pushed on the thread's stack (red zones,
 * goroutines' stacks and alternate signal stacks do not matter).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/user.h>

#include "inject/journal.h"

enum { STUB_MAX_MADE = 8 };

struct stub_call {
	uint64_t function; /* or the system call's number */
	uint64_t args[6];
};

struct stub {
	uint8_t bytes[JOURNAL_SLOT_BYTES];
	size_t n;
	bool overflow; /* more than fits was asked for: do not use it */
	/* its system calls, a copy's too, for who asks whether they may be made */
	struct stub_made {
		struct stub_call call;
		size_t end; /* in ->bytes, behind the instruction */
	} made[STUB_MAX_MADE];
	size_t n_made;
};

/* For the first transactions, which have no area yet: some system calls in a
 * row, no state word. At most @room bytes may be used; ->overflow says more. */
void stub_raw(struct stub *s, const struct stub_call *calls, size_t n, size_t room,
              const struct user_regs_struct *back);

/* One system call; its result goes to the journal of the area at @area. */
void stub_syscall(struct stub *s, uint64_t area, const struct stub_call *call,
                  const struct user_regs_struct *back);

/* @n system calls in a row, signals but faults held back meanwhile (journal.new_mask): the next one
 * only if the one before came to what @expected has. What the last one that was made came to goes
 * to the journal. */
void stub_syscalls(struct stub *s, uint64_t area, const struct stub_call *calls,
                   const int64_t *expected, size_t n, const struct user_regs_struct *back);

/* One function call, on our own stack, with vector state, errno (@errno_location:
 * address of __errno_location or the like; 0: the target has none) and the
 * signal mask kept. */
void stub_function(struct stub *s, uint64_t area, const struct stub_call *call,
                   uint64_t errno_location, const struct user_regs_struct *back);

/* The same function again and again, with arguments that are in the target, one call after the
 * other: what each returned is there, too, and the last one's in the journal. */
struct stub_row {
	uint64_t args[5], result;
};
struct stub_table {
	uint64_t function, at; /* struct stub_row[n] */
	size_t n;              /* at least one */
};
void stub_functions(struct stub *s, uint64_t area, const struct stub_table *table,
                    uint64_t errno_location, const struct user_regs_struct *back);

/* Clone a copy that naps until its ttl in the journal has run out. @twice: by a
 * helper that ends at once, so that the copy is nobody's zombie here. */
void stub_clone(struct stub *s, uint64_t area, bool twice, const struct user_regs_struct *back);
