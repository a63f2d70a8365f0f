/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/permission.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/proc.h"

bool permission_has(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	return data[cap / 32].effective & (1u << (cap % 32));
}

int permission_ptrace_scope(void)
{
	cleanup_free char *text = NULL;

	if (proc_read(AT_FDCWD, "/proc/sys/kernel/yama/ptrace_scope", 64, &text, NULL) < 0)
		return 0;
	return text[0] >= '0' && text[0] <= '9' ? text[0] - '0' : 0;
}

/* The command that gives the capability; sudo is no help to somebody who is root already. */
static void hint_capability(struct error *err)
{
	if (geteuid() == 0)
		error_hint(err, "root does not have it here; if this is a container, start it "
		                "with --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH (docker, "
		                "podman) or capabilities.add (Kubernetes)");
	else
		error_hint(err, "run the same command with sudo, or once: " PERMISSION_SETCAP);
}

static void user_name(uid_t uid, char *buf, size_t size)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(buf, size, "user %s", pw->pw_name);
	else
		snprintf(buf, size, "uid %u", uid);
}

/* All of the target's ids must be ours (real ones count for the caller). */
static bool ids_are_ours(const char *status, uid_t *owner)
{
	unsigned u[3], g[3];
	const char *uid = proc_status_line(status, "Uid"), *gid = proc_status_line(status, "Gid");

	*owner = getuid();
	if (!uid || !gid || sscanf(uid, "%u %u %u", u, u + 1, u + 2) != 3 ||
	    sscanf(gid, "%u %u %u", g, g + 1, g + 2) != 3)
		return true; /* not known: say nothing about it */
	*owner = u[0] != getuid() ? u[0] : u[1] != getuid() ? u[1] : u[2];
	for (int i = 0; i < 3; i++) {
		if (u[i] != getuid() || g[i] != getgid())
			return false;
	}
	return true;
}

/* Root owns the files below /proc/PID of a process that changed its user, or
 * called prctl(PR_SET_DUMPABLE, 0) (proc(5); the directory itself keeps its owner). */
static bool is_dumpable(int proc_fd, uid_t owner)
{
	struct stat st;

	return fstatat(proc_fd, "maps", &st, 0) < 0 || st.st_uid == owner;
}

static int explain_yama(pid_t pid, int errnum, int scope, struct error *err)
{
	error_set(err, errnum,
	          "not permitted to read the memory of process %d: kernel.yama.ptrace_scope is %d",
	          pid, scope);
	if (scope >= 3)
		return error_hint(err, "3 forbids it to everybody and stays until the next boot");
	return error_hint(err, "run the same command with sudo (CAP_SYS_PTRACE), or allow it for "
	                       "your own processes: sudo sysctl kernel.yama.ptrace_scope=0");
}

int permission_explain(pid_t pid, int proc_fd, enum permission_mode mode, int errnum,
                       struct error *err)
{
	cleanup_free char *status = NULL;
	bool capable = permission_has(CAP_SYS_PTRACE);
	int scope = mode == PERMISSION_ATTACH ? permission_ptrace_scope() : 0;
	uid_t owner;
	char name[64];

	if (scope >= 3)
		return explain_yama(pid, errnum, scope, err);
	if (capable && !permission_has(CAP_DAC_READ_SEARCH) && !permission_has(CAP_DAC_OVERRIDE)) {
		error_set(err, errnum,
		          "not permitted to look into process %d: CAP_DAC_READ_SEARCH is missing",
		          pid);
		hint_capability(err);
		return -errnum;
	}
	if (capable) {
		error_set(err, errnum,
		          "not permitted to look into process %d, although CAP_SYS_PTRACE is there",
		          pid);
		return error_hint(err, "it lives in an outer user namespace, or a security module "
		                       "(SELinux, AppArmor, seccomp of a container) forbids it");
	}
	if (proc_read(proc_fd, "status", 1 << 16, &status, NULL) < 0)
		return error_set(err, ESRCH, "process %d has ended", pid);
	if (!ids_are_ours(status, &owner)) {
		user_name(owner, name, sizeof(name));
		error_set(err, errnum,
		          "not permitted to look into process %d of %s: CAP_SYS_PTRACE is missing",
		          pid, name);
	} else if (!is_dumpable(proc_fd, owner)) {
		error_set(err, errnum,
		          "not permitted to look into process %d, which protects itself (it is "
		          "not dumpable): CAP_SYS_PTRACE is missing",
		          pid);
	} else if (scope > 0) {
		return explain_yama(pid, errnum, scope, err);
	} else {
		error_set(err, errnum,
		          "not permitted to look into process %d: CAP_SYS_PTRACE is missing", pid);
	}
	hint_capability(err);
	return -errnum;
}
