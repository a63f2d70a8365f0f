/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/launch_spin.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "target/registers.h"

#if defined(__x86_64__)

enum {
	CODE_MASK = 0xffff,
	CODE_SPIN = 0xfeeb, /* jmp to itself */
	CODE_CALL = 0x050f, /* syscall */
};

static int not_read(struct error *err)
{
	return error_sys(err, errno, "cannot hold the started program");
}

static int peek(pid_t pid, uint64_t at, uint64_t *ret, struct error *err)
{
	errno = 0;
	*ret = (uint64_t)ptrace(PTRACE_PEEKTEXT, pid, (void *)at, NULL);
	return errno ? not_read(err) : 0;
}

static int poke(pid_t pid, uint64_t at, uint64_t word, struct error *err)
{
	return ptrace(PTRACE_POKETEXT, pid, (void *)at, (void *)word) < 0 ? not_read(err) : 0;
}

/* The next stop; signals that come first are the program's own. -ESRCH: it ended. */
static int wait_for_stop(pid_t pid, struct error *err)
{
	int status;

	while (waitpid(pid, &status, 0) >= 0 || errno == EINTR) {
		if (!WIFSTOPPED(status))
			return error_set(err, ESRCH, "the started program was ended by a signal");
		if (status >> 16 == PTRACE_EVENT_STOP || WSTOPSIG(status) == SIGTRAP)
			return 0;
		ptrace(PTRACE_CONT, pid, NULL, (void *)(long)WSTOPSIG(status));
		ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
	}
	return not_read(err);
}

/* prctl(PR_SET_PDEATHSIG, @number), made by the program itself: its pc is at @at, whose
 * word is @was; both are that again afterwards, as are all its registers. */
static int die_with_us(pid_t pid, uint64_t at, uint64_t was, int number, struct error *err)
{
	struct user_regs_struct before, r;
	int rc;

	if (registers_read(pid, &before) < 0)
		return not_read(err);
	r = before;
	registers_forget_call(&r);
	r.rax = SYS_prctl;
	r.rdi = PR_SET_PDEATHSIG;
	r.rsi = (uint64_t)number;
	rc = poke(pid, at, (was & ~(uint64_t)CODE_MASK) | CODE_CALL, err);
	if (rc == 0 &&
	    (registers_write(pid, &r) < 0 || ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) < 0))
		rc = not_read(err);
	if (rc == 0)
		rc = wait_for_stop(pid, err);
	if (rc == 0 && (registers_read(pid, &r) < 0 || registers_write(pid, &before) < 0))
		rc = not_read(err);
	if (rc == 0)
		rc = poke(pid, at, was, err);
	if (rc == 0 && registers_result(&r) != 0)
		rc = error_set(err, EPROTO, "the started program cannot be tied to memwho");
	return rc;
}

int launch_spin_begin(pid_t pid, struct launch_spin *ret, struct error *err)
{
	struct launch_spin s = { 0 };
	struct user_regs_struct regs;
	int r;

	if (registers_read(pid, &regs) < 0)
		return not_read(err);
	s.at = registers_pc(&regs);
	r = peek(pid, s.at, &s.was, err);
	if (r == 0)
		r = die_with_us(pid, s.at, s.was, SIGKILL, err);
	if (r == 0)
		r = poke(pid, s.at, (s.was & ~(uint64_t)CODE_MASK) | CODE_SPIN, err);
	if (r == 0 && ptrace(PTRACE_DETACH, pid, NULL, NULL) < 0)
		r = not_read(err);
	if (r == 0)
		*ret = s;
	return r;
}

int launch_spin_end(pid_t pid, struct launch_spin *s, struct error *err)
{
	int r = 0;

	if (ptrace(PTRACE_SEIZE, pid, NULL, (void *)(long)PTRACE_O_EXITKILL) < 0 ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		return not_read(err);
	r = wait_for_stop(pid, err);
	if (r == 0)
		r = die_with_us(pid, s->at, s->was, 0, err);
	if (r == 0 && ptrace(PTRACE_DETACH, pid, NULL, NULL) < 0)
		r = not_read(err);
	if (r == 0)
		s->at = 0;
	return r;
}

#else

int launch_spin_begin(pid_t pid, struct launch_spin *ret, struct error *err)
{
	(void)pid, (void)ret;
	return error_set(err, ENOTSUP, "the agent is for x86-64 only, so far");
}

int launch_spin_end(pid_t pid, struct launch_spin *s, struct error *err)
{
	(void)pid, (void)s;
	return error_set(err, ENOTSUP, "the agent is for x86-64 only, so far");
}

#endif
