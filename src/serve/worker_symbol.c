/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/worker_symbol.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "symbol/symbol.h"
#include "target/target.h"

/* A name ends the line, and must not begin another one. */
static void write_name(uint64_t addr, const char *name, FILE *to)
{
	fprintf(to, "0x%" PRIx64 " ", addr);
	for (; *name; name++)
		fputc((unsigned char)*name < 0x20 ? '?' : *name, to);
	fputc('\n', to);
}

static void write_names(struct symbol_space *space, const char *text, FILE *to)
{
	while (*text) {
		struct symbol_frame frame = { 0 };
		struct symbol_module *module;
		uint64_t addr, vaddr;
		char *end;

		addr = strtoull(text, &end, 0);
		if (end == text || (*end && *end != '+'))
			return;
		text = *end ? end + 1 : end;
		if (addr && symbol_space_frames(space, addr, false, &frame, 1, &module, &vaddr) &&
		    frame.name)
			write_name(addr, frame.name, to);
	}
}

int worker_symbol(pid_t pid, const char *text, FILE *to, struct error *err)
{
	const struct symbol_options o = { .no_debuginfod = true, .no_inline = true };
	cleanup(target_closep) struct target *t = NULL;
	cleanup(symbol_pool_freep) struct symbol_pool *pool = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = symbol_pool_new(&o, &pool, err);
	if (r == 0)
		r = symbol_space_new(pool, t, &space, err);
	if (r < 0)
		return r;
	fputs("num_symbols: 1\n", to);
	write_names(space, text, to);
	return 0;
}
