/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * unwind_stack TID [PID]: the stack of a thread (of process PID) as unwind/ walks
 * it, for comparing it with a debugger's: one pc a line, then how it ended.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "target/maps.h"
#include "target/reader.h"
#include "target/target.h"
#include "unwind/unwind.h"

static const char *const stops[] = { "end",      "deep",      "no module",
	                             "no table", "bad stack", "trampoline" };

static struct unwind_module modules[256];
static size_t n_modules;

static void add_module(const struct target *t, const struct mapping *m)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct unwind_module module = { m->start, m->end, 0, NULL };
	struct unwind_table *table = NULL;
	struct error err;
	int fd;

	if (!(m->prot & MAPS_EXEC) || n_modules == ARRAY_SIZE(modules) ||
	    maps_open_file(t, m, &fd, &err) < 0 || elf_file_open(fd, m->name, &f, &err) < 0 ||
	    !elf_file_bias(f, m->start, m->offset, &module.bias) ||
	    unwind_table_make(f, &table, &err) < 0)
		return;
	module.table = table;
	modules[n_modules++] = module;
}

static int read_stack(void *arg, uint64_t addr, void *buf, size_t len)
{
	return reader_try(arg, addr, buf, len);
}

static int print_stack(pid_t tid, const struct target *t)
{
	uint64_t pcs[UNWIND_MAX_FRAMES];
	struct user_regs_struct regs;
	enum unwind_stop stop;
	size_t n;
	int status;

	if (ptrace(PTRACE_SEIZE, tid, 0, 0) < 0 || ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 ||
	    waitpid(tid, &status, __WALL) != tid || ptrace(PTRACE_GETREGS, tid, 0, &regs) < 0) {
		perror("ptrace");
		return 1;
	}
	n = unwind_walk(modules, n_modules, (struct unwind_regs){ regs.rip, regs.rsp, regs.rbp },
	                read_stack, (void *)t, pcs, ARRAY_SIZE(pcs), &stop);
	ptrace(PTRACE_DETACH, tid, 0, 0);
	for (size_t i = 0; i < n; i++)
		printf("%" PRIx64 "\n", pcs[i]);
	printf("%s\n", stops[stop]);
	return 0;
}

int main(int argc, char **argv)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error err = { 0 };

	if (argc < 2)
		return 2;
	if (target_open(strtol(argv[argc - 1], NULL, 10), &t, &err) < 0 ||
	    maps_read(t, &maps, &err) < 0) {
		error_print(&err, stderr);
		return 1;
	}
	for (size_t i = 0; i < maps.n_items; i++)
		add_module(t, &maps.items[i]);
	return print_stack(strtol(argv[1], NULL, 10), t);
}
