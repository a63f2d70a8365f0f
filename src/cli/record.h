/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What alloc and run share: options -> a recording -> a written result.
 * Everything that the user can have got wrong is found before the target is
 * touched.
 */

#include <sys/types.h>

#include "capture/capture.h"
#include "cli/cli.h"
#include "cli/show.h"

/* A line on the terminal that says how it goes. */
struct record_line {
	bool tells; /* there is somebody to tell */
	bool told;  /* a line stands there */
};
void record_progress(struct record_line *l, const char *doing, double seconds,
                     unsigned long long bytes, const char *what);
void record_progress_end(struct record_line *l);

struct record {
	struct capture_options capture;
	struct show show;
	bool table_too; /* -o FILE alone: the table goes to standard output */
	struct record_line line;
	pid_t pid;   /* for the next useful command; 0: several */
	bool is_own; /* nothing was recorded: cli/own.h */
};

/* --engine go: what a Go program has recorded itself. */
#define RECORD_ENGINE_GO "go"
bool record_is_go(const struct record *r);
/* --engine jemalloc: cli/own_je.h. */
#define RECORD_ENGINE_JEMALLOC "jemalloc"
bool record_is_jemalloc(const struct record *r);

int record_parse(const struct cli_args *args, struct record *ret, struct error *err);
/* SIGINT and SIGTERM end the recording from now on. */
void record_catch_signals(void);
/* Write what was recorded, and under a table what to type next. */
int record_write(const struct record *r, const struct profile *p, struct error *err);
/* Record @pids and write the result. CLI_DONE, or -errno. */
int record_run(struct record *r, const pid_t *pids, size_t n, struct error *err);

/* For other commands that record. */
int record_parse_time(const struct cli_args *args, const char *name, double *ret,
                      struct error *err);
/* --budget, and what it is where nothing is said: for `memwho alloc` and `run`. */
int record_parse_budget(const struct cli_args *args, struct alloc_options *o, struct error *err);
int record_parse_slowdown(const struct cli_args *args, double *ret, struct error *err);
int record_check_places(const char *path, const char *ready_file, struct error *err);
