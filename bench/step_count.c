/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * step_count TID: executes the thread instruction by instruction until a line
 * comes on standard input, and says how many it were: user instructions, where
 * there is no hardware counter. What waits in a system call waits. The thread
 * then goes on at full speed.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_US = 20000 }; /* so often for the line */

static void on_alarm(int number)
{
	(void)number; /* interrupts waitpid() */
}

static void look_now_and_then(void)
{
	const struct itimerval every = { { 0, LOOK_US }, { 0, LOOK_US } };
	const struct sigaction action = { .sa_handler = on_alarm };

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
}

static bool is_over(void)
{
	return poll(&(struct pollfd){ .fd = 0, .events = POLLIN }, 1, 0) > 0;
}

/* False: it was asked to end. */
static bool wait_for_stop(pid_t tid, int *status)
{
	bool over = false;

	while (waitpid(tid, status, __WALL) < 0) {
		if (errno != EINTR)
			exit(3);
		if (over || !is_over())
			continue;
		ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
		over = true;
	}
	return !over;
}

/* A step that ended in a system call is told as a signal, which would kill what we leave. */
static void let_go(pid_t tid)
{
	int status = 0;

	ptrace(PTRACE_CONT, tid, NULL, NULL);
	usleep(LOOK_US);
	ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	while (waitpid(tid, &status, __WALL) == tid || errno == EINTR) {
		if (status >> 16 == PTRACE_EVENT_STOP)
			break;
		ptrace(PTRACE_CONT, tid, NULL,
		       (void *)(long)(WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status)));
	}
	ptrace(PTRACE_DETACH, tid, NULL, NULL);
}

int main(int argc, char **argv)
{
	const pid_t tid = argc > 1 ? (pid_t)strtol(argv[1], NULL, 10) : 0;
	uint64_t steps = 0;
	long at, before = 0;
	int status;

	if (!tid || ptrace(PTRACE_SEIZE, tid, NULL, NULL) < 0 ||
	    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0 || waitpid(tid, &status, __WALL) != tid) {
		perror("ptrace");
		return 1;
	}
	look_now_and_then();
	puts("stepping");
	fflush(stdout);
	for (bool goes_on = true; goes_on;) {
		/* signals that came are delivered: SIGTRAP is ours */
		const int number = WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);

		if (ptrace(PTRACE_SINGLESTEP, tid, NULL, (void *)(long)number) < 0)
			return 2;
		goes_on = wait_for_stop(tid, &status);
		if (!WIFSTOPPED(status))
			return 4;
		/* a string instruction is one, however often it repeats itself */
		at = ptrace(PTRACE_PEEKUSER, tid, (void *)offsetof(struct user_regs_struct, rip),
		            NULL);
		steps += at != before;
		before = at;
	}
	let_go(tid);
	printf("%llu\n", (unsigned long long)steps);
	return 0;
}
