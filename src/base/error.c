/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

static int record(struct error *err, int errnum)
{
	err->code = -errnum;
	err->hint[0] = '\0';
	return err->code;
}

int error_set(struct error *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	return record(err, errnum);
}

int error_sys(struct error *err, int errnum, const char *fmt, ...)
{
	char text[128];
	va_list ap;
	size_t used;

	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	/* _GNU_SOURCE's strerror_r: thread-safe, returns the text */
	snprintf(err->message + used, sizeof(err->message) - used, ": %s",
	         strerror_r(errnum, text, sizeof(text)));
	return record(err, errnum);
}

int error_context(struct error *err, const char *fmt, ...)
{
	char inner[sizeof(err->message)];
	va_list ap;
	size_t used;

	memcpy(inner, err->message, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(err->message, sizeof(err->message), fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	snprintf(err->message + used, sizeof(err->message) - used, ": %s", inner);
	return err->code;
}

int error_hint(struct error *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
	return err->code;
}

int error_oom(struct error *err)
{
	return error_set(err, ENOMEM, "out of memory");
}

static void print_line(FILE *to, const char *prefix, const char *text)
{
	fputs(prefix, to);
	for (; *text; text++)
		fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, to);
	fputc('\n', to);
}

void error_print(const struct error *err, FILE *to)
{
	print_line(to, "memwho: ", err->message);
	if (err->hint[0])
		print_line(to, "hint: ", err->hint);
}
