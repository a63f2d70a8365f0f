/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/held.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "target/proc.h"
#include "target/reader.h"

enum {
	STACK_WORDS = 8192, /* 64 KiB above sp are searched for what points into a stub */
	RED_ZONE = 128,
	PATH_BYTES = 64,
	PAGE = 4096,
	SEIZE_TRIES = 3,
	/* include/linux/errno.h: what a call that was interrupted wants */
	RESTARTSYS = 512,
	RESTARTNOINTR = 513,
	RESTARTNOHAND = 514,
	RESTART_BLOCK = 516,
};

/* Linux 5.13, include/uapi/linux/ptrace.h; our build headers may be older. */
#define GET_RSEQ_CONFIGURATION 0x420f
struct rseq_configuration_ {
	uint64_t pointer;
	uint32_t size, signature, flags, pad;
};
/* include/uapi/linux/rseq.h */
struct rseq_section_ {
	uint32_t version, flags;
	uint64_t start, length, abort;
};
enum { RSEQ_SECTION_AT = 8 };

static long request(int what, pid_t tid, uint64_t addr, void *data, const char *name)
{
	steps_before(name);
	return ptrace(what, tid, (void *)(uintptr_t)addr, data);
}

static int get_registers(pid_t tid, struct user_regs_struct *ret)
{
	steps_before("getregs");
	return registers_read(tid, ret);
}

static int set_registers(pid_t tid, const struct user_regs_struct *r, const char *name)
{
	steps_before(name);
	return registers_write(tid, r);
}

/* ---- what /proc says ---- */

char held_state(const struct target *t, pid_t tid)
{
	cleanup_free char *text = NULL;
	struct proc_stat stat;
	char path[PATH_BYTES];
	size_t len;

	snprintf(path, sizeof(path), "task/%d/stat", (int)tid);
	if (proc_read(t->proc_fd, path, 4096, &text, &len) < 0 ||
	    proc_stat_parse(text, len, &stat) < 0)
		return 'X';
	return stat.state;
}

bool held_is_blocked(const struct target *t, pid_t tid)
{
	cleanup_free char *text = NULL;
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "task/%d/syscall", (int)tid);
	/* "running", "-1 ..." (blocked, but in no call), or the number of a call */
	return proc_read(t->proc_fd, path, 4096, &text, NULL) == 0 && text[0] >= '0' &&
	       text[0] <= '9';
}

/* ---- repair ---- */

/* What the kernel would do by itself, were the pc left alone. */
static void restart_by_hand(struct user_regs_struct *r)
{
	const int64_t value = registers_result(r), call = registers_call(r);

	if (call < 0)
		return;
	if (value == -RESTARTSYS || value == -RESTARTNOINTR || value == -RESTARTNOHAND)
		registers_call_again(r, call);
	else if (value == -RESTART_BLOCK)
		registers_call_again(r, SYS_restart_syscall);
	registers_forget_call(r);
}

/* A section that was interrupted must be left by its abort handler: the kernel
 * would see to it, did we not move the pc out of it. */
static void abort_rseq(const struct target *t, pid_t tid, struct user_regs_struct *r)
{
	struct rseq_configuration_ c;
	struct rseq_section_ s;
	uint64_t at;

	if (ptrace(GET_RSEQ_CONFIGURATION, tid, sizeof(c), &c) <= 0 || !c.pointer ||
	    reader_try(t, c.pointer + RSEQ_SECTION_AT, &at, sizeof(at)) < 0 || !at ||
	    reader_try(t, at, &s, sizeof(s)) < 0)
		return;
	if (registers_pc(r) - s.start < s.length)
		registers_set_pc(r, s.abort);
}

/* ---- stopping ---- */

static void nap_us(long us)
{
	const struct timespec t = { 0, us * 1000 };

	nanosleep(&t, NULL);
}

static bool is_in_limbo(const struct held_limbo *l, pid_t tid)
{
	for (size_t i = 0; i < l->n; i++) {
		if (l->tids[i] == tid)
			return true;
	}
	return false;
}

static void enter_limbo(struct held_limbo *l, pid_t tid)
{
	if (!is_in_limbo(l, tid) && l->n < HELD_MAX_LIMBO)
		l->tids[l->n++] = tid;
}

/* One that was killed while it stood still is dead, but ours until we have waited for it; till then
 * its process does not end. */
static void detach(struct held_limbo *l, pid_t tid, const char *step)
{
	if (request(PTRACE_DETACH, tid, 0, NULL, step) < 0 && errno == ESRCH)
		enter_limbo(l, tid);
}

/* 1: it stands still; 0: not yet; -ESRCH: gone. A signal that came first is
 * delivered, and the interrupt asked for again: one that came while the kernel
 * took a timer's signal was cleared by the stop for it (ptrace_stop()). */
static int look_for_stop(pid_t tid)
{
	int status;
	pid_t r = waitpid(tid, &status, __WALL | WNOHANG);

	if (r == 0 || (r < 0 && errno == EINTR))
		return 0;
	if (r < 0 || WIFEXITED(status) || WIFSIGNALED(status))
		return -ESRCH;
	if (!WIFSTOPPED(status))
		return 0;
	if (status >> 16 == PTRACE_EVENT_STOP)
		return 1;
	request(PTRACE_CONT, tid, 0, (void *)(uintptr_t)WSTOPSIG(status), "deliver signal");
	request(PTRACE_INTERRUPT, tid, 0, NULL, "interrupt again");
	return 0;
}

static int wait_for_stop(struct held_limbo *l, pid_t tid, uint64_t end)
{
	long us = 10;

	for (;;) {
		int r;

		steps_before("wait");
		r = look_for_stop(tid);
		if (r)
			return r < 0 ? r : 0;
		if (clock_now_ns() >= end)
			break;
		nap_us(us);
		us = us < 500 ? us * 2 : us;
	}
	enter_limbo(l, tid);
	l->n_ever++;
	return -ETIMEDOUT;
}

/* -EPERM is also what one in the middle of an exec gets. */
static int seize(pid_t tid)
{
	for (unsigned i = 0; i < SEIZE_TRIES; i++) {
		if (request(PTRACE_SEIZE, tid, 0, NULL, "seize") == 0)
			return 0;
		if (errno != EPERM)
			return -errno;
		nap_us(500);
	}
	return -EPERM;
}

static int ask_to_stop(const struct held_limbo *l, pid_t tid)
{
	int r = is_in_limbo(l, tid) ? -EBUSY : seize(tid);

	if (r < 0)
		return r;
	return request(PTRACE_INTERRUPT, tid, 0, NULL, "interrupt") < 0 ? -errno : 0;
}

static uint64_t latest(void)
{
	return clock_now_ns() + HELD_STOP_MS * 1000000ull;
}

static int stop(struct held_limbo *l, pid_t tid)
{
	int r = ask_to_stop(l, tid);

	return r < 0 ? r : wait_for_stop(l, tid, latest());
}

static int not_stopped(const struct target *t, pid_t tid, int r, struct error *err)
{
	/* what the kernel says of one that is exiting (ptrace_attach(), kernel/ptrace.c) */
	if (r == -EPERM && (held_state(t, tid) == 'Z' || held_state(t, tid) == 'X'))
		r = -ESRCH;
	if (r == -EPERM)
		return error_set(err, EPERM,
		                 "thread %d cannot be stopped: traced by another "
		                 "process, or not permitted",
		                 (int)tid);
	return error_sys(err, -r, "thread %d cannot be stopped", (int)tid);
}

int held_ask(const struct target *t, struct held_limbo *limbo, pid_t tid, struct held *ret,
             struct error *err)
{
	int r;

	*ret = (struct held){ .tid = tid, .asked_ns = clock_now_ns() };
	r = ask_to_stop(limbo, tid);
	return r < 0 ? not_stopped(t, tid, r, err) : 0;
}

int held_await(const struct target *t, struct held_limbo *limbo, struct held *h, uint64_t until_ns,
               struct error *err)
{
	const pid_t tid = h->tid;
	int r = wait_for_stop(limbo, tid, until_ns);

	if (r < 0)
		return not_stopped(t, tid, r, err);
	/* at once: should we be killed now, nobody would do it */
	steps_before("repair");
	if (!freeze_regs_stopped(tid, &h->repair) || get_registers(tid, &h->regs) < 0) {
		r = -errno;
		detach(limbo, tid, "detach");
		return error_sys(err, -r, "registers of thread %d", (int)tid);
	}
	h->back = h->regs;
	restart_by_hand(&h->back);
	abort_rseq(t, tid, &h->back);
	return 0;
}

int held_take(const struct target *t, struct held_limbo *limbo, pid_t tid, struct held *ret,
              struct error *err)
{
	struct held h;
	int r = held_ask(t, limbo, tid, &h, err);

	if (r == 0)
		r = held_await(t, limbo, &h, latest(), err);
	if (r == 0)
		*ret = h;
	return r;
}

void held_release(struct held_limbo *limbo, struct held *h)
{
	steps_before("leave");
	freeze_regs_leave(h->tid, &h->repair);
	detach(limbo, h->tid, "detach");
}

void held_release_anew(struct held_limbo *limbo, struct held *h)
{
	struct user_regs_struct r = h->regs;

	if (registers_call(&r) >= 0 && registers_result(&r) == -RESTART_BLOCK) {
		registers_call_again(&r, registers_call(&r));
		registers_forget_call(&r);
		set_registers(h->tid, &r, "call anew");
	}
	held_release(limbo, h);
}

int held_commit(struct held_limbo *limbo, const struct held *h, uint64_t pc, struct error *err)
{
	struct user_regs_struct r = h->regs;
	int e;

	registers_set_pc(&r, pc);
	registers_forget_call(&r); /* no restart by the kernel: the stub does it */
	if (set_registers(h->tid, &r, "commit") < 0) {
		e = errno;
		detach(limbo, h->tid, "detach");
		/* only SIGKILL and another thread's exec end one that stands still */
		if (e == ESRCH)
			return error_set(err, ESRCH,
			                 "the process of thread %d has ended, or runs "
			                 "another program",
			                 (int)h->tid);
		return error_sys(err, e, "thread %d cannot be moved", (int)h->tid);
	}
	detach(limbo, h->tid, "let go");
	return 0;
}

int held_withdraw(struct held_limbo *limbo, const struct held *h, uint64_t pc)
{
	struct user_regs_struct r;
	int e = stop(limbo, h->tid);

	if (e < 0)
		return e;
	if (get_registers(h->tid, &r) < 0)
		e = -errno;
	/* with the kernel's note of the call, so that it restarts it itself */
	if (e == 0 && registers_pc(&r) == pc)
		e = set_registers(h->tid, &h->regs, "withdraw") < 0 ? -errno : 1;
	detach(limbo, h->tid, "detach");
	return e;
}

/* Not by target/reader.h, which leaves out pages that are not present: one that is swapped out may
 * hold what is looked for. Ends where memory does. Page by page only what one call does not get at.
 */
static size_t read_stack(const struct target *t, uint64_t sp, uint64_t *words)
{
	const size_t most = STACK_WORDS * sizeof(*words);
	const struct iovec to = { words, most }, from = { (void *)(uintptr_t)sp, most };
	const ssize_t at_once = process_vm_readv(t->pid, &to, 1, &from, 1, 0);
	cleanup_close int fd = -1;
	size_t n = 0;

	if (at_once > 0)
		return (size_t)at_once / sizeof(*words);
	fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return SIZE_MAX;
	while (n < most) {
		size_t piece = PAGE - (sp + n) % PAGE;
		ssize_t r;

		piece = piece < most - n ? piece : most - n;
		r = pread(fd, (char *)words + n, piece, (off_t)(sp + n));
		if (r <= 0)
			break;
		n += (size_t)r;
	}
	return n / sizeof(*words);
}

static bool words_point_into(const struct target *t, uint64_t sp, uint64_t start, uint64_t end)
{
	cleanup_free uint64_t *words = malloc(STACK_WORDS * sizeof(*words));
	size_t n = words ? read_stack(t, sp & ~7ull, words) : SIZE_MAX;

	if (n == SIZE_MAX)
		return true;
	for (size_t i = 0; i < n; i++) {
		if (words[i] >= start && words[i] < end)
			return true;
	}
	return false;
}

/* Of a thread that waits in a system call the kernel tells pc and stack pointer without stopping
 * it: one that waits for a vfork child does not stop. False: it is not in one. */
static bool blocked_at(const struct target *t, pid_t tid, uint64_t *pc, uint64_t *sp)
{
	cleanup_free char *text = NULL;
	char path[PATH_BYTES];

	snprintf(path, sizeof(path), "task/%d/syscall", (int)tid);
	/* the number, six arguments, sp and pc (proc_pid_syscall(), fs/proc/base.c) */
	return proc_read(t->proc_fd, path, 4096, &text, NULL) == 0 &&
	       sscanf(text, "%*d %*x %*x %*x %*x %*x %*x %" SCNx64 " %" SCNx64, sp, pc) == 2;
}

bool held_regs_are_out_of(const struct target *t, const struct user_regs_struct *regs,
                          uint64_t start, uint64_t end)
{
	const uint64_t pc = registers_pc(regs);

	return !(pc >= start && pc < end) &&
	       !words_point_into(t, registers_sp(regs) - RED_ZONE, start, end);
}

int held_is_out_of(const struct target *t, struct held_limbo *limbo, pid_t tid, uint64_t start,
                   uint64_t end)
{
	char state = held_state(t, tid);
	struct error unused;
	struct held h;
	uint64_t pc, sp;
	int r;

	if (state == 'X' || state == 'Z')
		return 1;
	if (state == 'D' && blocked_at(t, tid, &pc, &sp))
		return !(pc >= start && pc < end) &&
		       !words_point_into(t, sp - RED_ZONE, start, end);
	r = held_take(t, limbo, tid, &h, &unused);
	if (r < 0)
		return r == -ESRCH ? 1 : r;
	r = held_regs_are_out_of(t, &h.regs, start, end);
	held_release(limbo, &h);
	return r;
}

bool held_settle(struct held_limbo *l)
{
	for (size_t i = 0; i < l->n;) {
		struct held h = { .tid = l->tids[i] };
		int r = look_for_stop(h.tid);

		if (r == 0) {
			i++;
			continue;
		}
		l->tids[i] = l->tids[--l->n];
		if (r > 0) {
			freeze_regs_stopped(h.tid, &h.repair);
			held_release(l, &h);
		}
	}
	return l->n == 0;
}
