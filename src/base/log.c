/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static log_sink current_sink;

void log_set_sink(log_sink sink)
{
	current_sink = sink;
}

void log_note(enum log_level level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!current_sink)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	current_sink(level, text);
}
