/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * The command table and the option table. Each command is one file with one
 * `struct cli_command`; main.c has the only list. An option is one line in the
 * command's table: help, man page, completion and their tests read the table.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli_option {
	char letter;      /* 0: long only */
	const char *name; /* without "--"; NULL with a help text: a heading of the help */
	const char *arg;  /* NULL: a flag; else what help shows: "FILE" */
	const char *help; /* one line, at most 52 columns */
};

/* What the user typed, in order. */
struct cli_args {
	const struct cli_command *command;
	const struct cli_option **options; /* n_options given options */
	const char **values;               /* their arguments; NULL for flags */
	size_t n_options;
	char **words; /* what is not an option */
	size_t n_words;
	char **rest; /* behind "--"; NULL-terminated; NULL if there was no "--" */
};

struct cli_command {
	const char *name;
	const char *summary; /* one line */
	const char *usage;   /* "[OPTION...] TARGET" */
	const char *details; /* paragraphs and examples of --help; may be "" */
	const struct cli_option *const *option_tables; /* NULL-terminated list of tables,
	                                                  each ended by { 0 } */
	bool hidden;
	int (*run)(const struct cli_args *args,
	           struct error *err); /* enum above, or -errno: -EINVAL is usage */
};

/* The only list (main.c). */
extern const struct cli_command *const main_commands[];
extern const size_t main_n_commands;
const struct cli_command *cli_find(const char *name); /* NULL: no such command */

/* Tables that commands share (options.c). Every command ends its list with
 * options_common. */
extern const struct cli_option options_output[];    /* -o, --format, --json */
extern const struct cli_option options_view[];      /* --reverse, --focus, --columns ... */
extern const struct cli_option options_recording[]; /* -d, --until, --engine ... */
extern const struct cli_option options_budget[];
extern const struct cli_option options_held[];   /* --allocator, --older-than ... */
extern const struct cli_option options_common[]; /* -q, -v, -h */

/* The value of the last --@name, "" for a given flag, or NULL. */
const char *cli_value(const struct cli_args *args, const char *name);
bool cli_flag(const struct cli_args *args, const char *name);
/* Parse the value of --@name: *ret keeps its value if the option was not given. */
int cli_duration(const struct cli_args *args, const char *name, double *ret_seconds,
                 struct error *err); /* "13s", "500ms", "2m", "13" */
int cli_size(const struct cli_args *args, const char *name, unsigned long long *ret_bytes,
             struct error *err); /* "512K", "2G", "100" */
int cli_factor(const struct cli_args *args, const char *name, double *ret,
               struct error *err); /* "1.5", "100x" */
int cli_number(const struct cli_args *args, const char *name, unsigned long long *ret,
               struct error *err); /* "0", "40": decimal digits only */
/* The only word of the command line (a TARGET, a FILE): -EINVAL without one,
 * or with more. @what names it in the error. */
int cli_word(const struct cli_args *args, const char *what, const char **ret, struct error *err);

/* Remarks on stderr; honour --quiet and --verbose. cli_begin() also makes
 * log_note() end there; main() calls it before a command runs. */
void cli_begin(const struct cli_args *args);
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
