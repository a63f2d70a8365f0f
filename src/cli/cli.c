/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

static bool quiet, verbose;

const struct cli_command *cli_find(const char *name)
{
	for (size_t i = 0; i < main_n_commands; i++) {
		if (!strcmp(main_commands[i]->name, name))
			return main_commands[i];
	}
	return NULL;
}

const char *cli_value(const struct cli_args *args, const char *name)
{
	for (size_t i = args->n_options; i > 0; i--) {
		if (!strcmp(args->options[i - 1]->name, name))
			return args->values[i - 1];
	}
	return NULL;
}

bool cli_flag(const struct cli_args *args, const char *name)
{
	return cli_value(args, name) != NULL;
}

struct unit {
	const char *name;
	double factor;
};

/* Digits and a point, then a unit of the table (ended by NULL). False if there
 * is anything else: strtod() alone would take "0x1p3", "1e3", "inf" and " 1". */
static bool parse_unit(const char *text, const struct unit *units, double *ret)
{
	size_t len = strspn(text, "0123456789.");
	char *end;
	double v = strtod(text, &end);

	if (!isdigit((unsigned char)text[0]) || end != text + len)
		return false;
	for (; units->name; units++) {
		if (!strcasecmp(end, units->name)) {
			*ret = v * units->factor;
			return isfinite(*ret);
		}
	}
	return false;
}

static const struct unit times[] = { { "", 1 },      { "s", 1 },     { "ms", 1e-3 },
	                             { "us", 1e-6 }, { "m", 60 },    { "min", 60 },
	                             { "h", 3600 },  { "d", 86400 }, { NULL, 0 } };
static const struct unit sizes[] = { { "", 1 },        { "b", 1 },        { "k", 1024.0 },
	                             { "kb", 1024.0 }, { "kib", 1024.0 }, { "m", 0x1p20 },
	                             { "mb", 0x1p20 }, { "mib", 0x1p20 }, { "g", 0x1p30 },
	                             { "gb", 0x1p30 }, { "gib", 0x1p30 }, { "t", 0x1p40 },
	                             { "tb", 0x1p40 }, { "tib", 0x1p40 }, { NULL, 0 } };
static const struct unit factors[] = { { "", 1 }, { "x", 1 }, { NULL, 0 } };

int cli_duration(const struct cli_args *args, const char *name, double *ret_seconds,
                 struct error *err)
{
	const char *text = cli_value(args, name);
	double v;

	if (!text)
		return 0;
	/* a year: longer is a slip of the finger, and must fit nanoseconds */
	if (!parse_unit(text, times, &v) || v <= 0 || v > 366 * 86400.0) {
		error_set(err, EINVAL, "--%s %s: not a time above 0", name, text);
		return error_hint(err, "times look like 13s, 500ms, 2m, 1h");
	}
	*ret_seconds = v;
	return 0;
}

int cli_size(const struct cli_args *args, const char *name, unsigned long long *ret_bytes,
             struct error *err)
{
	const char *text = cli_value(args, name);
	double v;

	if (!text)
		return 0;
	if (!parse_unit(text, sizes, &v) || v >= 0x1p63) {
		error_set(err, EINVAL, "--%s %s: not a size", name, text);
		return error_hint(err, "sizes look like 100, 512K, 20M, 2G");
	}
	*ret_bytes = (unsigned long long)v;
	return 0;
}

int cli_factor(const struct cli_args *args, const char *name, double *ret, struct error *err)
{
	const char *text = cli_value(args, name);
	double v;

	if (!text)
		return 0;
	if (!parse_unit(text, factors, &v) || v < 1) {
		error_set(err, EINVAL, "--%s %s: not a factor of at least 1", name, text);
		return error_hint(err, "factors look like 1.5 or 100x");
	}
	*ret = v;
	return 0;
}

int cli_number(const struct cli_args *args, const char *name, unsigned long long *ret,
               struct error *err)
{
	const char *text = cli_value(args, name);
	unsigned long long v;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end || errno)
		return error_set(err, EINVAL, "--%s %s: not a whole number", name, text);
	*ret = v;
	return 0;
}

int cli_word(const struct cli_args *args, const char *what, const char **ret, struct error *err)
{
	const struct cli_command *c = args->command;

	if (args->n_words == 1) {
		*ret = args->words[0];
		return 0;
	}
	if (args->n_words)
		error_set(err, EINVAL, "%s takes one %s, not %zu: %s, %s ...", c->name, what,
		          args->n_words, args->words[0], args->words[1]);
	else
		error_set(err, EINVAL, "%s needs a %s", c->name, what);
	return error_hint(err, "usage: memwho %s %s", c->name, c->usage);
}

/* In one write: stderr has no buffer, and a service's workers write there, too. */
static void remark(const char *text)
{
	cleanup_free char *line = NULL;
	int n = asprintf(&line, "memwho: %s\n", text);

	if (n < 0) {
		line = NULL;
		return;
	}
	for (char *c = line; c < line + n - 1; c++)
		*c = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
	fwrite(line, 1, (size_t)n, stderr);
}

static void sink(enum log_level level, const char *text)
{
	if (level == LOG_DEBUG ? verbose : !quiet)
		remark(text);
}

void cli_begin(const struct cli_args *args)
{
	quiet = cli_flag(args, "quiet");
	verbose = cli_flag(args, "verbose");
	log_set_sink(sink);
}

void cli_say(const char *fmt, ...)
{
	cleanup_free char *text = NULL;
	va_list ap;
	int r;

	if (quiet)
		return;
	va_start(ap, fmt);
	r = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (r < 0)
		text = NULL; /* undefined after a failure */
	else
		remark(text);
}
