/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Remarks on the way: what a person wants to know while a command runs, and
 * which is not an error. Code below cli/ and serve/ never prints; it calls
 * log_note() and the front end decides. Without a sink, remarks are dropped.
 */

enum log_level {
	LOG_WARN,  /* the result is still right, but something needs saying */
	LOG_INFO,  /* progress; shown unless --quiet */
	LOG_DEBUG, /* shown with --verbose */
};

typedef void (*log_sink)(enum log_level level, const char *text);

void log_set_sink(log_sink sink);
void log_note(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
