/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

extern char **environ;

/* In the child: 0, 1 and 2 as ours, WORKER_FD, no other: descriptors of ours are close-on-exec.
 * Only what may be called after fork() of a process with threads. */
static void become_worker(int fd)
{
	static char *const argv[] = { (char *)"memwho", (char *)"serve-worker", NULL };
	sigset_t none;

	setpgid(0, 0); /* Ctrl-C is ours to pass on */
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(fd, WORKER_FD) == WORKER_FD)
		execve("/proc/self/exe", argv, environ);
	_exit(127);
}

int worker_start(struct worker *ret, struct error *err)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_sys(err, errno, "cannot start a worker");
	/* dup2() onto itself would leave it close-on-exec (glibc clears it since 2.29) */
	cleanup_close int ours = pair[0];
	cleanup_close int theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, WORKER_FD + 1);

	close(pair[1]);
	if (theirs < 0)
		return error_sys(err, errno, "cannot start a worker");
	/* not posix_spawn(), which waits for the exec: for as long as a busy machine likes */
	pid = fork();
	if (pid < 0)
		return error_sys(err, errno, "cannot start a worker");
	if (!pid)
		become_worker(theirs);
	fcntl(ours, F_SETFL, O_NONBLOCK);
	*ret = (struct worker){ .pid = pid, .fd = take_fd(ours) };
	return 0;
}

int worker_ask(const struct worker *w, const struct worker_request *q, int result,
               const int *inputs, size_t n_inputs, struct error *err)
{
	struct iovec data = { .iov_base = (void *)q, .iov_len = sizeof(*q) };
	int fds[1 + WORKER_MAX_INPUTS] = { result };
	union {
		char bytes[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control = { 0 };
	size_t n_bytes = (1 + n_inputs) * sizeof(int);
	struct msghdr m = { .msg_iov = &data,
		            .msg_iovlen = 1,
		            .msg_control = control.bytes,
		            .msg_controllen = CMSG_SPACE(n_bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	memcpy(fds + 1, inputs, n_inputs * sizeof(int));
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n_bytes);
	memcpy(CMSG_DATA(c), fds, n_bytes);
	if (sendmsg(w->fd, &m, MSG_NOSIGNAL) != (ssize_t)sizeof(*q))
		return error_sys(err, errno, "cannot tell the worker what to do");
	return 0;
}

int worker_take(const struct worker *w, struct worker_reply *ret)
{
	ssize_t n = recv(w->fd, ret, sizeof(*ret), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != (ssize_t)sizeof(*ret))
		return -EPIPE;
	ret->err.message[sizeof(ret->err.message) - 1] = '\0';
	ret->err.hint[sizeof(ret->err.hint) - 1] = '\0';
	return 1;
}
