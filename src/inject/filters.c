/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/filters.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/steps.h"
#include "inject/seccomp.h"
#include "target/proc.h"

#define GET_FILTER 0x420c /* PTRACE_SECCOMP_GET_FILTER */

enum {
	MAX_FILTERS = 512, /* of one thread; the kernel allows 32768 instructions in all */
	MODE_FILTER = '2',
};

static char mode_of(const struct target *t, pid_t tid)
{
	cleanup_free char *status = NULL;
	const char *line;
	char path[64];

	snprintf(path, sizeof(path), "task/%d/status", (int)tid);
	if (proc_read(t->proc_fd, path, 1 << 16, &status, NULL) < 0)
		return MODE_FILTER;
	line = proc_status_line(status, "Seccomp"); /* absent: a kernel without it */
	return line ? *line : '0';
}

bool filters_are_on(const struct target *t, pid_t tid)
{
	return mode_of(t, tid) != '0';
}

static int refuse_unread(const struct target *t, struct error *err)
{
	error_set(err, ENOTSUP,
	          "process %d runs under a seccomp filter, which memwho may not look into here",
	          (int)t->pid);
	return error_hint(err, "that needs root outside of containers (CAP_SYS_ADMIN), and no "
	                       "filter of memwho's own");
}

/* Its number is fixed (PROC_USER_INIT_INO, include/linux/proc_ns.h). */
static bool is_first_user_namespace(void)
{
	struct stat st;

	return stat("/proc/self/ns/user", &st) == 0 && st.st_ino == 0xeffffffdu;
}

int filters_can_be_read(const struct target *t, struct error *err)
{
	cleanup_free char *status = NULL;
	const char *mode, *caps;

	if (proc_read(AT_FDCWD, "/proc/self/status", 1 << 16, &status, NULL) < 0)
		return refuse_unread(t, err);
	mode = proc_status_line(status, "Seccomp");
	caps = proc_status_line(status, "CapEff");
	if ((mode && *mode != '0') || !caps ||
	    !(strtoull(caps, NULL, 16) & 1ull << CAP_SYS_ADMIN) || !is_first_user_namespace())
		return refuse_unread(t, err);
	return 0;
}

/* Filter number @i of a thread, the newest first: how many instructions; 0 there is none;
 * -errno. */
static long read_filter(pid_t tid, unsigned i, struct sock_filter *code)
{
	long n;

	steps_before("filter");
	n = ptrace(GET_FILTER, tid, (void *)(uintptr_t)i, NULL);
	if (n > 0 && n <= SECCOMP_MAX_INSNS)
		n = ptrace(GET_FILTER, tid, (void *)(uintptr_t)i, code);
	if (n < 0)
		return errno == ENOENT && i ? 0 : -errno;
	return n > 0 && n <= SECCOMP_MAX_INSNS ? n : -E2BIG;
}

static int refuse_call(const struct target *t, const struct filters_call *c, uint32_t answer,
                       struct error *err)
{
	if (!c->name)
		return error_set(err, ENOTSUP,
		                 "the seccomp filter of process %d %s at system call %d, which "
		                 "is needed",
		                 (int)t->pid, seccomp_text(answer), (int)c->number);
	return error_set(err, ENOTSUP, "the seccomp filter of process %d %s at %s, which is needed",
	                 (int)t->pid, seccomp_text(answer), c->name);
}

static uint32_t ask(const struct sock_filter *code, size_t n, const struct filters_call *c)
{
	struct seccomp_data d = { .nr = (int)c->number,
		                  .arch = AUDIT_ARCH_X86_64,
		                  .instruction_pointer = c->pc };

	for (size_t i = 0; i < 6; i++)
		d.args[i] = c->args[i];
	return seccomp_run(code, n, &d);
}

int filters_allow(const struct target *t, pid_t tid, const struct filters_call *calls, size_t n,
                  struct error *err)
{
	cleanup_free struct sock_filter *code = NULL;
	const char mode = mode_of(t, tid);

	if (mode == '0')
		return 0;
	if (mode != MODE_FILTER)
		return error_set(err, ENOTSUP, "process %d runs in seccomp's strict mode",
		                 (int)t->pid);
	code = calloc(SECCOMP_MAX_INSNS, sizeof(*code));
	if (!code)
		return error_oom(err);
	for (unsigned i = 0; i < MAX_FILTERS; i++) {
		long len = read_filter(tid, i, code);

		if (len == 0)
			return 0;
		if (len < 0)
			return len == -ESRCH
			               ? error_set(err, ESRCH, "thread %d has ended", (int)tid)
			               : refuse_unread(t, err);
		for (size_t k = 0; k < n; k++) {
			uint32_t answer = ask(code, (size_t)len, &calls[k]);

			if (!seccomp_is_allowed(answer))
				return refuse_call(t, &calls[k], answer, err);
		}
	}
	return refuse_unread(t, err);
}

/* ---- all threads ---- */

/* 1: it has been asked and allows all; 0: not to be had now; -errno. */
static int ask_thread(const struct target *t, struct held_limbo *limbo, pid_t tid,
                      const struct filters_call *calls, size_t n, struct error *err)
{
	static const struct filters_call restart = { "restart_syscall", SYS_restart_syscall };
	struct error unused;
	struct held h;
	int r = held_take(t, limbo, tid, &h, &unused);

	if (r < 0)
		return r == -ESRCH ? 1 : 0;
	r = filters_allow(t, tid, &restart, 1, err);
	if (r < 0) {
		held_release_anew(limbo, &h);
		return r;
	}
	r = filters_allow(t, tid, calls, n, err);
	held_release(limbo, &h);
	return r < 0 ? r : 1;
}

static int unasked(const struct target *t, pid_t tid, struct error *err)
{
	error_set(err, EAGAIN,
	          "thread %d of process %d, which is under a seccomp filter, cannot be stopped to "
	          "read it",
	          (int)tid, (int)t->pid);
	return error_hint(err, "nothing was changed; try again");
}

/* Those that were asked become 0 in @tids. Unless @all: only those that are in no call. */
static int ask_some(const struct target *t, struct held_limbo *limbo, pid_t *tids, size_t n_tids,
                    bool all, const struct filters_call *calls, size_t n, struct error *err)
{
	for (size_t i = 0; i < n_tids; i++) {
		int asked;

		if (!tids[i] || !filters_are_on(t, tids[i]) ||
		    (!all && held_is_blocked(t, tids[i])))
			continue;
		asked = ask_thread(t, limbo, tids[i], calls, n, err);
		if (asked < 0 || (asked == 0 && all))
			return asked < 0 ? asked : unasked(t, tids[i], err);
		if (asked == 1)
			tids[i] = 0;
	}
	return 0;
}

int filters_ask_all(const struct target *t, struct held_limbo *limbo,
                    const struct filters_call *calls, size_t n, struct error *err)
{
	cleanup_free pid_t *tids = NULL;
	size_t n_tids = 0;
	int r = target_threads(t, &tids, &n_tids, err);

	/* a filter that kills for restart_syscall is better seen where nothing is to be
	 * restarted; most have the same as all others */
	if (r == 0)
		r = ask_some(t, limbo, tids, n_tids, false, calls, n, err);
	return r < 0 ? r : ask_some(t, limbo, tids, n_tids, true, calls, n, err);
}
