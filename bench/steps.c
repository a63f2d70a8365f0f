/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * steps TID FROM MIN_BYTES TO N: counts the instructions that a thread executes from
 * the return of system call number FROM (with at least MIN_BYTES) to the next call of
 * number TO, N times, by single steps. For machines without performance counters: slow,
 * but exact, and nothing else on the machine disturbs it. Prints "ready", then a count
 * a line.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static pid_t tid;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Let it go on by @how; signals that are its own are handed over. */
static void resume(int how)
{
	static int signal_of_its_own;
	int status;

	if (ptrace(how, tid, 0, signal_of_its_own) < 0 || waitpid(tid, &status, __WALL) < 0)
		fail("resume");
	if (!WIFSTOPPED(status))
		exit(2);
	signal_of_its_own = WSTOPSIG(status);
	if (signal_of_its_own == SIGTRAP || signal_of_its_own == (SIGTRAP | 0x80))
		signal_of_its_own = 0;
}

static void wait_for(long number, long long least)
{
	struct user_regs_struct r;

	for (;;) {
		struct __ptrace_syscall_info info;

		resume(PTRACE_SYSCALL);
		if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) < 0)
			fail("syscall info");
		if (info.op != PTRACE_SYSCALL_INFO_EXIT)
			continue;
		if (ptrace(PTRACE_GETREGS, tid, 0, &r) < 0)
			fail("registers");
		if ((long)r.orig_rax == number && (long long)r.rax >= least)
			return;
	}
}

static int is_at_syscall(unsigned long long pc)
{
	long word;

	errno = 0;
	word = ptrace(PTRACE_PEEKTEXT, tid, pc, 0);
	return !errno && (word & 0xffff) == 0x050f;
}

static long count_until(long number)
{
	struct user_regs_struct r;

	for (long n = 0;; n++) {
		if (ptrace(PTRACE_GETREGS, tid, 0, &r) < 0)
			fail("registers");
		if ((long)r.rax == number && is_at_syscall(r.rip))
			return n;
		resume(PTRACE_SINGLESTEP);
	}
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 6)
		return 2;
	tid = strtol(argv[1], NULL, 10);
	if (ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0 || waitpid(tid, &status, __WALL) < 0)
		fail("attach");
	puts("ready");
	fflush(stdout);
	for (long i = 0; i < strtol(argv[5], NULL, 10); i++) {
		wait_for(strtol(argv[2], NULL, 10), strtol(argv[3], NULL, 10));
		printf("%ld\n", count_until(strtol(argv[4], NULL, 10)));
		fflush(stdout);
	}
	ptrace(PTRACE_DETACH, tid, 0, 0);
	return 0;
}
