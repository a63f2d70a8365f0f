/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* A process to look at: a fork of the test that stays in @live. */

#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* @live (may be NULL) makes what is to be looked at; when it has returned the child waits to
 * be killed, and dies with the test. @namespaces: CLONE_NEW..., new ones of its own. */
static inline pid_t child_start_in(unsigned long namespaces, void (*live)(void))
{
	int ready[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe(ready), 0);
	pid = namespaces ? (pid_t)syscall(SYS_clone, SIGCHLD | namespaces, NULL, NULL, NULL, NULL)
	                 : fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (live)
			live();
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of user cleared it */
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return pid;
}

static inline pid_t child_start(void (*live)(void))
{
	return child_start_in(0, live);
}

static inline void child_end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}
