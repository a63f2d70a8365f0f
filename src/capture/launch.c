/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/launch.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/elf_file.h"
#include "target/maps.h"
#include "target/registers.h"
#include "target/target.h"

enum {
	RT_CONSISTENT = 0, /* link.h, struct r_debug.r_state */
	R_STATE_OFFSET = 24,
	MAX_HITS = 64, /* of _dl_debug_state before we give up waiting */
};

_Noreturn static void become(char *const *argv, int report)
{
	int why;

	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	execvp(argv[0], argv);
	why = errno;
	if (write(report, &why, sizeof(why)) < 0)
		_exit(126);
	_exit(127);
}

/* The child stops at its exec, or says why there was none. */
static int wait_for_exec(pid_t pid, int report, const char *name, struct error *err)
{
	int status, why;

	if (read(report, &why, sizeof(why)) == sizeof(why)) {
		error_sys(err, why, "cannot run %s", name);
		return error_hint(err, "what is behind -- is a program in $PATH or its path, "
		                       "and its arguments");
	}
	if (waitpid(pid, &status, 0) < 0 || !WIFSTOPPED(status))
		return error_set(err, ECHILD, "%s ended at once", name);
	/* while it is held it must not outlive us: it would be held for ever */
	ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(long)PTRACE_O_EXITKILL);
	return 0;
}

static uint64_t auxiliary(const struct target *t, uint64_t key)
{
	cleanup_free char *data = NULL;
	struct error ignored;
	size_t len;
	uint64_t pair[2];

	if (target_proc_file(t, "auxv", 4096, &data, &len, &ignored) < 0)
		return 0;
	for (size_t at = 0; at + sizeof(pair) <= len; at += sizeof(pair)) {
		memcpy(pair, data + at, sizeof(pair));
		if (pair[0] == key)
			return pair[1];
	}
	return 0;
}

struct linker {
	uint64_t hook;    /* run-time address of _dl_debug_state */
	uint64_t r_debug; /* of _r_debug; 0: not exported (musl) */
};

/* 1 found, 0 there is none (static program). */
static int find_linker(const struct target *t, struct linker *ret, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(elf_file_closep) struct elf_file *elf = NULL;
	uint64_t base = auxiliary(t, AT_BASE);
	const struct mapping *m;
	struct elf_symbol s;
	int fd, r;

	if (!base)
		return 0;
	r = maps_read(t, &maps, err);
	if (r < 0)
		return r;
	m = maps_find(&maps, base);
	if (!m)
		return 0;
	r = maps_open_file(t, m, &fd, err);
	if (r == 0)
		r = elf_file_open(fd, m->name, &elf, err);
	if (r < 0)
		return r;
	if (elf_file_symbol(elf, ELF_DYNSYM, "_dl_debug_state", &s) < 0)
		return 0;
	ret->hook = base + s.value;
	ret->r_debug = 0;
	if (elf_file_symbol(elf, ELF_DYNSYM, "_r_debug", &s) == 0)
		ret->r_debug = base + s.value;
	return 1;
}

/* What was there of the instruction goes to @old, if it is wanted. */
static int poke(pid_t pid, uint64_t address, uint32_t code, uint32_t *old, struct error *err)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, pid, (void *)address, NULL);
	if (errno)
		return error_sys(err, errno, "cannot read the started program");
	if (old)
		*old = word & BREAKPOINT_MASK;
	word = (word & ~(long)BREAKPOINT_MASK) | code;
	if (ptrace(PTRACE_POKETEXT, pid, (void *)address, (void *)word) < 0)
		return error_sys(err, errno, "cannot hold the started program");
	return 0;
}

/* Continue until our breakpoint; other signals are passed on. */
static int run_to_hook(pid_t pid, const char *name, struct error *err)
{
	int status, deliver = 0;

	for (;;) {
		if (ptrace(PTRACE_CONT, pid, NULL, (void *)(long)deliver) < 0 ||
		    waitpid(pid, &status, 0) < 0)
			return error_sys(err, errno, "cannot follow the started program");
		if (!WIFSTOPPED(status))
			return error_set(err, ECHILD, "%s ended before its first instruction",
			                 name);
		if (WSTOPSIG(status) == SIGTRAP)
			return 0;
		deliver = WSTOPSIG(status);
	}
}

static int step_back(pid_t pid, uint64_t hook, struct error *err)
{
	struct user_regs_struct regs;

	if (registers_read(pid, &regs) < 0)
		return error_sys(err, errno, "cannot read the started program's registers");
	if (registers_pc(&regs) != hook + BREAKPOINT_PC_BEHIND)
		return error_set(err, EPROTO, "the started program stopped at an unexpected place");
	registers_set_pc(&regs, hook);
	if (registers_write(pid, &regs) < 0)
		return error_sys(err, errno, "cannot set the started program's registers");
	return 0;
}

static bool is_consistent(pid_t pid, const struct linker *l)
{
	long word;

	if (!l->r_debug)
		return true;
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, (void *)(l->r_debug + R_STATE_OFFSET), NULL);
	return errno || (int)word == RT_CONSISTENT;
}

static int single_step(pid_t pid, struct error *err)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0 || waitpid(pid, &status, 0) < 0 ||
	    !WIFSTOPPED(status))
		return error_set(err, ECHILD,
		                 "the started program ended before its first instruction");
	return 0;
}

/* The linker calls its hook when it begins to map libraries and again when all
 * are there: hold the program at the latter. */
static int hold_behind_linker(pid_t pid, const struct linker *l, const char *name,
                              struct error *err)
{
	for (int i = 0; i < MAX_HITS; i++) {
		uint32_t old;
		int r = poke(pid, l->hook, BREAKPOINT_CODE, &old, err);

		if (r == 0)
			r = run_to_hook(pid, name, err);
		if (r == 0)
			r = poke(pid, l->hook, old, NULL, err);
		if (r == 0)
			r = step_back(pid, l->hook, err);
		if (r < 0 || is_consistent(pid, l))
			return r;
		r = single_step(pid, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int hold(pid_t pid, const char *name, struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	struct linker linker = { 0 };
	int r = target_open(pid, &t, err);

	if (r == 0)
		r = find_linker(t, &linker, err);
	return r <= 0 ? r : hold_behind_linker(pid, &linker, name, err);
}

int launch_start_at_exec(char *const *argv, struct launch *ret, struct error *err)
{
	struct launch l = { 0 };
	int report[2], r;

	if (pipe2(report, O_CLOEXEC) < 0)
		return error_sys(err, errno, "pipe");
	l.pid = fork();
	if (l.pid == 0)
		become(argv, report[1]);
	r = l.pid < 0 ? error_sys(err, errno, "fork") : 0;
	close(report[1]);
	if (r == 0)
		r = wait_for_exec(l.pid, report[0], argv[0], err);
	close(report[0]);
	if (r < 0) {
		launch_abort(&l);
		return r;
	}
	*ret = l;
	return 0;
}

int launch_start(char *const *argv, struct launch *ret, struct error *err)
{
	struct launch l;
	int r = launch_start_at_exec(argv, &l, err);

	if (r < 0)
		return r;
	r = hold(l.pid, argv[0], err);
	if (r < 0) {
		launch_abort(&l);
		return r;
	}
	*ret = l;
	return 0;
}

int launch_loosen(struct launch *l, struct error *err)
{
	return launch_spin_begin(l->pid, &l->spin, err);
}

int launch_go(struct launch *l, struct error *err)
{
	if (l->spin.at)
		return launch_spin_end(l->pid, &l->spin, err);
	if (ptrace(PTRACE_DETACH, l->pid, NULL, NULL) < 0)
		return error_sys(err, errno, "cannot let the started program go");
	return 0;
}

void launch_abort(struct launch *l)
{
	int status;

	if (l->pid <= 0)
		return;
	if (waitpid(l->pid, &status, WNOHANG) == 0) {
		kill(l->pid, SIGKILL);
		waitpid(l->pid, &status, 0);
	}
	l->pid = -1;
}

int launch_status(struct launch *l)
{
	int status;

	if (waitpid(l->pid, &status, WNOHANG) != l->pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
