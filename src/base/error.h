/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * A failure, told twice: the return value is for the program, struct error is
 * for the person.
 *
 * A function that can fail returns 0 or -errno and takes `struct error *err`
 * as its last parameter. When it fails it has filled *err and left its out
 * parameters alone; when it succeeds it has not touched *err. The struct owns
 * no memory: it lives on the caller's stack, can be copied or dropped, and can
 * be filled right after malloc() has failed. A positive return value is an
 * answer, and only where the function's own comment names it.
 *
 *	if (pid <= 0)
 *		return error_set(err, EINVAL, "%d is not a process id", pid);
 *	r = maps_read(&maps, pid, err);
 *	if (r < 0)
 *		return error_context(err, "process %d", pid);
 */

#include <stdio.h>

enum {
	ERROR_MESSAGE_BYTES = 512,
	ERROR_HINT_BYTES = 512,
};

struct error {
	int code;                          /* -errno; 0 while nothing has failed */
	char message[ERROR_MESSAGE_BYTES]; /* one sentence, no newline, no full stop */
	char hint[ERROR_HINT_BYTES];       /* what the user can do; may be empty */
};

#define error_format(fmt, args) __attribute__((format(printf, fmt, args)))

/* Record a failure; @errnum is a positive errno. Returns -errnum. */
int error_set(struct error *err, int errnum, const char *fmt, ...) error_format(3, 4);

/* As error_set(), with ": " and the errno's text appended. */
int error_sys(struct error *err, int errnum, const char *fmt, ...) error_format(3, 4);

/* Put "fmt: " before the recorded message. Returns the recorded code. */
int error_context(struct error *err, const char *fmt, ...) error_format(2, 3);

/* Replace the hint. Returns the recorded code. */
int error_hint(struct error *err, const char *fmt, ...) error_format(2, 3);

/* -ENOMEM, recorded; every failed allocation ends here. */
int error_oom(struct error *err);

/* "memwho: message" and, if there is one, "hint: ..." on @to. Control bytes
 * are replaced: messages carry names that a foreign process chose. */
void error_print(const struct error *err, FILE *to);
