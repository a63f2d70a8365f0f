/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

const struct cli_option options_output[] = {
	{ 0, NULL, NULL, "Output" },
	{ 'o', "output", "FILE", "write to FILE; its ending chooses the format" },
	{ 0, "format", "NAME", "write this format to standard output (or to -o)" },
	{ 0, "json", NULL, "same as --format json" },
	{ 0 },
};

const struct cli_option options_view[] = {
	{ 0, NULL, NULL, "View" },
	{ 0, "type", "NAME", "value: inuse_space, alloc_objects, churn (freed) ..." },
	{ 0, "reverse", NULL, "merge stacks from the leaf: who reaches a function" },
	{ 0, "inverted", NULL, "root row at the top (an icicle)" },
	{ 0, "focus", "REGEXP", "only stacks with a frame that matches" },
	{ 0, "ignore", "REGEXP", "drop stacks with a frame that matches" },
	{ 0, "by", "KEY", "group by thread, module, type, size or a label" },
	{ 0, "no-inline", NULL, "leave inlined functions out" },
	{ 0, "title", "TEXT", "title of the picture" },
	{ 0, "min-width", "PIXELS", "narrowest frame that is drawn" },
	{ 0, "rows", "N", "stacks in the table (20); 0: all" },
	{ 0, "columns", "N", "width of the table (the terminal's)" },
	{ 0 },
};

const struct cli_option options_recording[] = {
	{ 0, NULL, NULL, "Recording" },
	{ 'd', "duration", "TIME", "stop after TIME: 13s, 500ms, 2m (else Ctrl-C)" },
	{ 0, "until", "CONDITION", "stop when it is true: rss>2G, held>100M" },
	{ 0, "every", "TIME", "print what is held and what grew every TIME" },
	{ 0, "ready-file", "PATH", "create PATH when recording has begun" },
	{ 0, "follow", NULL, "record children too" },
	{ 0, "engine", "NAME", "auto, bpf, agent, usdt; go, jemalloc: its own one" },
	{ 0, "max-slowdown", "FACTOR", "refuse, or stop, above this: 1.5, 100x (1.5)" },
	{ 0 },
};

const struct cli_option options_budget[] = {
	{ 0, NULL, NULL, "What it may cost" },
	{ 0, "budget", "PERCENT", "of the target's CPU: 2%, 0.5%, none (2%)" },
	{ 0 },
};

const struct cli_option options_held[] = {
	{ 0, NULL, NULL, "What is recorded" },
	{ 0, "allocator", "LIST", "postgres, libc, jemalloc, ... (found by itself)" },
	{ 0, "archive", "FILE", "library in a stripped program, to find it there" },
	{ 0, "older-than", "TIME", "only what has been held longer than TIME" },
	{ 0, "min-size", "BYTES", "only allocations of at least BYTES" },
	{ 0, "max-size", "BYTES", "only allocations of at most BYTES" },
	{ 0, "peak", NULL, "what was held at the maximum instead of now" },
	{ 0, "no-stacks", NULL, "bytes only, without who allocated them; cheaper" },
	{ 0, "no-debuginfod", NULL, "never ask a debuginfod server for symbols" },
	{ 0 },
};

const struct cli_option options_common[] = {
	{ 0, NULL, NULL, "General" },
	{ 'q', "quiet", NULL, "no remarks on standard error" },
	{ 'v', "verbose", NULL, "more remarks on standard error" },
	{ 'h', "help", NULL, "show this help" },
	{ 0 },
};
