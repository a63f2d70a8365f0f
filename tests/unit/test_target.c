/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "child.h"
#include "target/permission.h"
#include "target/proc.h"
#include "target/rooted.h"
#include "target/target.h"
#include "target/target_cgroup.h"

static char self_exe[4096]; /* this test, to be run as a child by another name */

static void rename_self(void)
{
	prctl(PR_SET_NAME, "a) R\n(b");
}

static void who_it_is(void **state)
{
	pid_t pid = child_start(rename_self), *threads;
	struct target *t;
	struct error err = { 0 };
	size_t n;

	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_int_equal(t->pid, pid);
	assert_int_equal(t->parent, getpid());
	assert_int_equal(t->uid, geteuid());
	assert_string_equal(t->comm, "a) R\n(b");
	assert_string_equal(t->exe, self_exe);
	assert_false(t->exe_deleted);
	assert_true(t->same_mount_ns);
	assert_true(t->machine == EM_X86_64 || t->machine == EM_AARCH64);
	assert_true(t->start_ticks > 0);
	assert_true(target_status_bytes(t, "VmRSS") >= 4096);
	assert_int_equal(target_status_bytes(t, "VmR"), -1);
	assert_int_equal(target_threads(t, &threads, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_int_equal(threads[0], pid);
	free(threads);
	assert_int_equal(target_alive(t), 0);
	child_end(pid);
	assert_int_equal(target_alive(t), -ESRCH);
	assert_int_equal(target_threads(t, &threads, &n, &err), -ESRCH);
	assert_non_null(strstr(err.message, "has ended"));
	target_close(t);
}

static void *open_own_process(void *pid)
{
	struct error err = { 0 };
	struct target *t;

	assert_int_equal(target_open(gettid(), &t, &err), 0);
	*(pid_t *)pid = t->pid;
	target_close(t);
	return NULL;
}

static void a_thread_stands_for_its_process(void **state)
{
	pthread_t thread;
	pid_t pid = 0;

	pthread_create(&thread, NULL, open_own_process, &pid);
	pthread_join(thread, NULL);
	assert_int_equal(pid, getpid());
}

static void expect_refusal(pid_t pid, int code, const char *words)
{
	struct target *t = (void *)1;
	struct error err = { 0 };

	assert_int_equal(target_open(pid, &t, &err), code);
	if (!strstr(err.message, words))
		fail_msg("'%s' is not in '%s'", words, err.message);
	assert_ptr_equal(t, (void *)1);
}

static void what_is_no_process_is_refused(void **state)
{
	struct error err;
	struct target *t;

	expect_refusal(0, -EINVAL, "0 is not a process id");
	expect_refusal(-7, -EINVAL, "-7");
	expect_refusal(2147483647, -ESRCH, "no process 2147483647");
	assert_int_equal(target_open(2147483647, &t, &err), -ESRCH);
	assert_true(err.hint[0]);
}

static void zombies_are_refused(void **state)
{
	pid_t pid = child_start(NULL);

	kill(pid, SIGKILL);
	waitid(P_PID, pid, NULL, WEXITED | WNOWAIT);
	expect_refusal(pid, -ENOTSUP, "is a zombie");
	waitpid(pid, NULL, 0);
	expect_refusal(pid, -ESRCH, "no process");
}

static void *wait_forever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* The main thread ends while another goes on. */
static void leader_exits(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, wait_forever, NULL);
	syscall(SYS_exit, 0);
}

static void a_dead_main_thread_is_told_from_a_zombie(void **state)
{
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		leader_exits();
	}
	for (int i = 0; i < 1000; i++) {
		cleanup_close int fd = proc_open(pid);
		struct proc_stat s;

		if (proc_stat_read(fd, &s) == 0 && proc_stat_is_dead(&s))
			break;
		usleep(1000);
	}
	expect_refusal(pid, -ENOTSUP, "main thread");
	child_end(pid);
}

static void kernel_threads_are_refused(void **state)
{
	cleanup_close int fd = proc_open(2);
	struct proc_stat s;

	/* in a pid namespace of its own there are none to be seen */
	if (fd < 0 || proc_stat_read(fd, &s) < 0 || !proc_stat_is_kernel(&s))
		skip();
	expect_refusal(2, -ENOTSUP, "is a kernel thread");
}

/*
 * A 32-bit program without a 32-bit compiler: an ELF file of one page whose
 * code is mov $29,%eax (pause); int $0x80; jmp.
 */
static void write_program_32(const char *path)
{
	static const uint8_t code[] = { 0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7 };
	struct {
		Elf32_Ehdr e;
		Elf32_Phdr p;
		uint8_t code[sizeof(code)];
	} file = {
		.e = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS32, ELFDATA2LSB,
		                    EV_CURRENT },
		       .e_type = ET_EXEC,
		       .e_machine = EM_386,
		       .e_version = EV_CURRENT,
		       .e_entry = 0x10000 + sizeof(Elf32_Ehdr) + sizeof(Elf32_Phdr),
		       .e_phoff = sizeof(Elf32_Ehdr),
		       .e_ehsize = sizeof(Elf32_Ehdr),
		       .e_phentsize = sizeof(Elf32_Phdr),
		       .e_phnum = 1 },
		.p = { .p_type = PT_LOAD,
		       .p_vaddr = 0x10000,
		       .p_filesz = sizeof(file),
		       .p_memsz = sizeof(file),
		       .p_flags = PF_R | PF_X,
		       .p_align = 4096 },
	};
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	memcpy(file.code, code, sizeof(code));
	assert_int_equal(write(fd, &file, sizeof(file)), sizeof(file));
}

static pid_t exec_program(const char *path)
{
	int failed[2];
	pid_t pid;
	char c;

	assert_int_equal(pipe2(failed, O_CLOEXEC), 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execl(path, path, "wait", NULL);
		if (write(failed[1], "x", 1) != 1)
			_exit(2);
		_exit(1);
	}
	close(failed[1]);
	if (read(failed[0], &c, 1) == 1) {
		waitpid(pid, NULL, 0);
		pid = -1;
	}
	close(failed[0]);
	return pid;
}

static void programs_of_32_bits_are_refused(void **state)
{
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), "/tmp/memwho-test-32-%d", getpid());
	write_program_32(path);
	pid = exec_program(path);
	if (pid > 0) { /* the kernel may not have CONFIG_IA32_EMULATION */
		expect_refusal(pid, -ENOTSUP, "is a 32-bit program");
		chmod(path, 0111); /* for users other than root: known by its auxv */
		expect_refusal(pid, -ENOTSUP, "is a 32-bit program");
		child_end(pid);
	}
	unlink(path);
	if (pid < 0)
		skip();
}

static void copy_self(const char *path)
{
	cleanup_close int from = open(self_exe, O_RDONLY | O_CLOEXEC);
	cleanup_close int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
	struct stat st;

	fstat(from, &st);
	for (off_t left = st.st_size; left > 0;) {
		ssize_t n = syscall(SYS_copy_file_range, from, NULL, to, NULL, left, 0);

		if (n <= 0) {
			char buf[65536];

			n = read(from, buf, sizeof(buf));
			assert_true(n > 0);
			assert_int_equal(write(to, buf, n), n);
		}
		left -= n;
	}
}

static void a_deleted_executable_keeps_its_name(void **state)
{
	struct error err = { 0 };
	struct target *t;
	char path[64];
	pid_t pid;

	snprintf(path, sizeof(path), "/tmp/memwho test %d (deleted)", getpid());
	copy_self(path);
	pid = exec_program(path);
	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_string_equal(t->exe, path); /* the file's own name ends so */
	assert_false(t->exe_deleted);
	target_close(t);
	unlink(path);
	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_string_equal(t->exe, path);
	assert_true(t->exe_deleted);
	target_close(t);
	child_end(pid);
}

/* Run @check as an unprivileged user in a child; cmocka's assertions end the
 * child with a code that is not 0. */
static void as_nobody(void (*check)(pid_t pid), pid_t pid)
{
	int status;
	pid_t child = fork();

	if (!child) {
		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(3);
		check(pid);
		_exit(0);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

static void refused_for_want_of_ptrace(pid_t pid)
{
	struct error err = { 0 };
	struct target *t;
	int r = target_open(pid, &t, &err);

	if (r != -EACCES && r != -EPERM)
		_exit(10);
	if (!strstr(err.message, "user root") || !strstr(err.message, "CAP_SYS_PTRACE"))
		_exit(11);
	if (!strstr(err.hint, "sudo"))
		_exit(12);
}

static void refusals_say_what_is_missing(void **state)
{
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = child_start(NULL);
	as_nobody(refused_for_want_of_ptrace, pid);
	child_end(pid);
}

static void become_nobody_undumpable(void)
{
	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		_exit(3);
	prctl(PR_SET_DUMPABLE, 0);
}

static void refused_as_undumpable(pid_t pid)
{
	struct error err = { 0 };
	struct target *t;
	int r = target_open(pid, &t, &err);

	if (r != -EACCES && r != -EPERM)
		_exit(10);
	if (!strstr(err.message, "not dumpable"))
		_exit(11);
}

static void protected_processes_are_named_so(void **state)
{
	pid_t pid;

	if (geteuid() != 0)
		skip();
	pid = child_start(become_nobody_undumpable);
	as_nobody(refused_as_undumpable, pid);
	child_end(pid);
}

/*
 * Namespaces: a child in its own mount and pid namespace with its own root.
 */

static char jail[64];

static void put(const char *dir, const char *name, const char *text)
{
	cleanup_close int fd = -1;
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void enter_jail(void)
{
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", jail, "tmpfs", 0, NULL))
		_exit(4);
	put(jail, "inside", "in the jail");
	if (chroot(jail) || chdir("/"))
		_exit(6);
	if (symlink("/inside", "/absolute") || symlink("../../../inside", "/upwards") ||
	    symlink("/loop", "/loop") || mkfifo("/fifo", 0644) || mkdir("/dir", 0755))
		_exit(7);
}

static void reads_as(const struct target *t, const char *path, const char *text)
{
	struct error err = { 0 };
	char buf[32] = "";
	int fd;

	if (target_open_path(t, path, &fd, &err) < 0)
		fail_msg("%s: %s", path, err.message);
	assert_true(read(fd, buf, sizeof(buf) - 1) > 0);
	assert_string_equal(buf, text);
	close(fd);
}

static void paths_stay_inside(const struct target *t)
{
	struct error err = { 0 };
	int fd = -1;

	reads_as(t, "/inside", "in the jail");
	reads_as(t, "/absolute", "in the jail");
	reads_as(t, "/upwards", "in the jail");
	reads_as(t, "/dir/../../../absolute", "in the jail");
	assert_int_equal(target_open_path(t, "/loop", &fd, &err), -ELOOP);
	assert_int_equal(target_open_path(t, "/fifo", &fd, &err), -EMEDIUMTYPE);
	assert_int_equal(target_open_path(t, "/dir", &fd, &err), -EMEDIUMTYPE);
	assert_int_equal(target_open_path(t, "/", &fd, &err), -EMEDIUMTYPE);
	assert_int_equal(target_open_path(t, "/etc/passwd", &fd, &err), -ENOENT);
	assert_int_equal(target_open_path(t, "/inside/more", &fd, &err), -ENOTDIR);
	assert_non_null(strstr(err.message, "as the process sees it"));
	assert_int_equal(fd, -1);
}

static void other_namespaces_are_read_through(void **state)
{
	struct error err = { 0 };
	struct target *t;
	pid_t pid;

	if (geteuid() != 0)
		skip();
	snprintf(jail, sizeof(jail), "/tmp/memwho-jail-%d", getpid());
	mkdir(jail, 0755);
	pid = child_start_in(CLONE_NEWNS | CLONE_NEWPID, enter_jail);
	assert_true(pid > 0);
	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_false(t->same_mount_ns);
	assert_int_equal(t->pid, pid);
	assert_int_equal(t->ns_pid, 1);
	paths_stay_inside(t);
	setenv("MEMWHO_WITHOUT", "openat2", 1);
	paths_stay_inside(t);
	unsetenv("MEMWHO_WITHOUT");
	target_close(t);
	child_end(pid);
	rmdir(jail);
}

/*
 * What a user typed.
 */

static int resolve(const char *spec, pid_t *pid, struct error *err)
{
	cleanup_free pid_t *pids = NULL;
	size_t n = 0;
	int r = target_resolve(spec, &pids, &n, err);

	if (r == 0) {
		assert_int_equal(n, 1);
		*pid = pids[0];
	}
	return r;
}

static void expect_unresolved(const char *spec, int code, const char *words)
{
	struct error err = { 0 };
	pid_t pid;

	assert_int_equal(resolve(spec, &pid, &err), code);
	if (!strstr(err.message, words))
		fail_msg("'%s' is not in '%s'", words, err.message);
}

static void numbers(void **state)
{
	struct error err = { 0 };
	char own[16];
	pid_t pid;

	assert_int_equal(resolve("4711", &pid, &err), 0);
	assert_int_equal(pid, 4711);
	expect_unresolved("0", -EINVAL, "not a process id");
	expect_unresolved("-1", -EINVAL, "not a process id");
	expect_unresolved("99999999999999999999", -EINVAL, "not a process id");
	expect_unresolved("", -EINVAL, "no target");
	expect_unresolved("pidfile:", -EINVAL, "nothing follows");
	snprintf(own, sizeof(own), "%d", getpid());
	expect_unresolved(own, -EINVAL, "itself");
}

static void pidfiles(void **state)
{
	char dir[64], spec[128], text[64];
	pid_t pid, found;
	struct error err = { 0 };

	snprintf(dir, sizeof(dir), "/tmp/memwho-pid-%d", getpid());
	mkdir(dir, 0755);
	snprintf(spec, sizeof(spec), "pidfile:%s/p", dir);
	expect_unresolved(spec, -ENOENT, "No such file");
	pid = child_start(NULL);
	snprintf(text, sizeof(text), "%d\n/var/lib/data\n1234\n", pid);
	put(dir, "p", text);
	assert_int_equal(resolve(spec, &found, &err), 0);
	assert_int_equal(found, pid);
	child_end(pid);
	expect_unresolved(spec, -ESRCH, "does not run");
	put(dir, "p", "");
	expect_unresolved(spec, -EINVAL, "first line");
	put(dir, "p", "12x\n");
	expect_unresolved(spec, -EINVAL, "first line");
	put(dir, "p", "\n4711\n");
	expect_unresolved(spec, -EINVAL, "first line");
	unlink(spec + strlen("pidfile:"));
	mkfifo(spec + strlen("pidfile:"), 0600);
	expect_unresolved(spec, -EINVAL, "first line");
	unlink(spec + strlen("pidfile:"));
	rmdir(dir);
}

static void names(void **state)
{
	char path[64], wanted[32], listed[16];
	struct error err = { 0 };
	pid_t one, two, found;

	/* longer than the 15 bytes that comm keeps */
	snprintf(wanted, sizeof(wanted), "memwho-resolve-me-%d", getpid());
	snprintf(path, sizeof(path), "/tmp/%s", wanted);
	expect_unresolved(wanted, -ESRCH, "no process is called");
	copy_self(path);
	one = exec_program(path);
	assert_int_equal(resolve(wanted, &found, &err), 0);
	assert_int_equal(found, one);
	two = exec_program(path);
	expect_unresolved(wanted, -EEXIST, "2 processes");
	assert_int_equal(resolve(wanted, &found, &err), -EEXIST);
	snprintf(listed, sizeof(listed), "%d (/tmp", one);
	assert_non_null(strstr(err.message, listed));
	snprintf(listed, sizeof(listed), "%d (/tmp", two);
	assert_non_null(strstr(err.message, listed));
	unlink(path); /* exe is " (deleted)" now */
	kill(two, SIGKILL);
	waitid(P_PID, two, NULL, WEXITED | WNOWAIT); /* a zombie is no candidate */
	assert_int_equal(resolve(wanted, &found, &err), 0);
	assert_int_equal(found, one);
	child_end(one);
	child_end(two);
	/* this very process has the name, but is memwho */
	prctl(PR_SET_NAME, "memwho-me");
	expect_unresolved("memwho-me", -ESRCH, "no process is called");
}

static void container_ids(void **state)
{
#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	static const char *const good[] = {
		ID,
		"docker-" ID ".scope",
		"libpod-" ID ".scope",
		"libpod-" ID,
		"cri-containerd-" ID ".scope",
		"crio-" ID ".scope",
		"kubepods-burstable-pod12_34.slice:cri-containerd:" ID,
	};
	static const char *const bad[] = {
		"",
		"docker",
		"init.scope",
		"user.slice",
		"crio-conmon-" ID ".scope",
		"libpod-conmon-" ID ".scope",
		"x" ID,
		".scope",
		"docker-0123456789ab.scope",
		"kubepods-burstable-pod01234567_89ab_cdef_0123_456789abcdef.slice",
	};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		const char *id = NULL;

		assert_int_equal(target_cgroup_container_id(good[i], strlen(good[i]), &id), 64);
		assert_memory_equal(id, ID, 64);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const char *id;

		assert_int_equal(target_cgroup_container_id(bad[i], strlen(bad[i]), &id), 0);
	}
	expect_unresolved("container:12345", -EINVAL, "at least 6 digits");
	expect_unresolved("container:web-server", -EINVAL, "not a container id");
	expect_unresolved("container:0123456789ab", -ESRCH, "no process runs in a container");
}

/* A hierarchy in which we may make cgroups, by its mount point. */
static bool make_cgroup(const char *name, char *path, size_t size)
{
	static const char *const mounts[] = {
		"/sys/fs/cgroup/unified",
		"/sys/fs/cgroup",
		"/sys/fs/cgroup/systemd",
		"/sys/fs/cgroup/freezer",
	};

	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		char procs[512];

		snprintf(procs, sizeof(procs), "%s/cgroup.procs", mounts[i]);
		snprintf(path, size, "%s/%s", mounts[i], name);
		if (access(procs, W_OK) == 0 && mkdir(path, 0755) == 0)
			return true;
	}
	return false;
}

static void join_cgroup(const char *path, pid_t pid)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", pid);
	put(path, "cgroup.procs", text);
}

static void resolves_to_both(const char *spec, pid_t one, pid_t two)
{
	cleanup_free pid_t *pids = NULL;
	struct error err = { 0 };
	size_t n;

	if (target_resolve(spec, &pids, &n, &err) < 0)
		fail_msg("%s: %s", spec, err.message);
	assert_int_equal(n, 2);
	assert_int_equal(pids[0], one < two ? one : two);
	assert_int_equal(pids[1], one < two ? two : one);
}

static void cgroups_and_containers(void **state)
{
	char outer[256], inner[400], name[128], spec[512];
	pid_t one, two;

	/* random enough to be no other container's */
	snprintf(name, sizeof(name), "docker-%032x%032x.scope", getpid(), 0xfeed);
	if (geteuid() != 0 || !make_cgroup(name, outer, sizeof(outer)))
		skip();
	snprintf(inner, sizeof(inner), "%s/inner", outer);
	assert_int_equal(mkdir(inner, 0755), 0);
	snprintf(spec, sizeof(spec), "cgroup:%s", outer);
	expect_unresolved(spec, -ESRCH, "has no process");
	one = child_start(NULL);
	two = child_start(NULL);
	join_cgroup(outer, one);
	join_cgroup(inner, two);
	resolves_to_both(spec, one, two);
	snprintf(spec, sizeof(spec), "cgroup:%s", name);
	resolves_to_both(spec, one, two);
	snprintf(spec, sizeof(spec), "cgroup:/%s", name);
	resolves_to_both(spec, one, two);
	snprintf(spec, sizeof(spec), "container:%.40s", name + strlen("docker-"));
	resolves_to_both(spec, one, two);
	expect_unresolved("cgroup:no/such/group", -ENOENT, "there is no cgroup");
	child_end(one);
	child_end(two);
	while (rmdir(inner) && errno == EBUSY)
		usleep(1000);
	while (rmdir(outer) && errno == EBUSY)
		usleep(1000);
}

static void have_a_child(void)
{
	child_start(NULL);
}

static void descendants(void **state)
{
	cleanup_free pid_t *pids = NULL, *below = NULL;
	struct error err = { 0 };
	pid_t one = child_start(have_a_child), two = child_start(NULL);
	size_t n;

	assert_int_equal(target_descendants(getpid(), &pids, &n, &err), 0);
	assert_int_equal(n, 3);
	free(take_ptr(pids));
	assert_int_equal(target_descendants(two, &pids, &n, &err), 0);
	assert_int_equal(n, 0);
	assert_int_equal(target_descendants(one, &below, &n, &err), 0);
	assert_int_equal(n, 1);
	kill(below[0], SIGKILL);
	child_end(one);
	child_end(two);
}

static void command_lines(void **state)
{
	struct error err = { 0 };
	struct target *t;
	char buf[64], tiny[4];
	pid_t pid = exec_program(self_exe);
	char expected[5000];

	assert_int_equal(target_open(pid, &t, &err), 0);
	target_cmdline(t, buf, sizeof(buf));
	snprintf(expected, sizeof(expected), "%s wait", self_exe);
	assert_memory_equal(buf, expected, strlen(buf));
	assert_true(strlen(buf) == strlen(expected) || strlen(buf) == sizeof(buf) - 1);
	target_cmdline(t, tiny, sizeof(tiny));
	assert_int_equal(strlen(tiny), 3);
	target_close(t);
	child_end(pid);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_it_is),
		cmocka_unit_test(a_thread_stands_for_its_process),
		cmocka_unit_test(what_is_no_process_is_refused),
		cmocka_unit_test(zombies_are_refused),
		cmocka_unit_test(a_dead_main_thread_is_told_from_a_zombie),
		cmocka_unit_test(kernel_threads_are_refused),
		cmocka_unit_test(programs_of_32_bits_are_refused),
		cmocka_unit_test(a_deleted_executable_keeps_its_name),
		cmocka_unit_test(refusals_say_what_is_missing),
		cmocka_unit_test(protected_processes_are_named_so),
		cmocka_unit_test(other_namespaces_are_read_through),
		cmocka_unit_test(numbers),
		cmocka_unit_test(pidfiles),
		cmocka_unit_test(names),
		cmocka_unit_test(container_ids),
		cmocka_unit_test(cgroups_and_containers),
		cmocka_unit_test(descendants),
		cmocka_unit_test(command_lines),
	};
	ssize_t n = readlink("/proc/self/exe", self_exe, sizeof(self_exe) - 1);

	if (n < 0)
		return 1;
	if (argc > 1 && !strcmp(argv[1], "wait")) {
		for (;;)
			pause();
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
