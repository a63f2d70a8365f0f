/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/feature.h"
#include "base/pagemap.h"

/* Newer than the headers that we build with; include/uapi/linux/bpf.h of 6.13. */
enum {
	HELPER_LOOP = 181,
	ATTACH_UPROBE_MULTI = 48,
	ATTACH_UPROBE_SESSION = 57,
};

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

/* Load a kprobe program; the fd, or -errno with the verifier's words in @log. */
static int load(const struct bpf_insn *insns, unsigned n, unsigned attach_type, char *log,
                unsigned log_size)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_KPROBE;
	attr.expected_attach_type = attach_type;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = n;
	attr.license = (uintptr_t) "GPL";
	attr.log_buf = (uintptr_t)log;
	attr.log_size = log_size;
	attr.log_level = log ? 1 : 0;
	fd = bpf(BPF_PROG_LOAD, &attr);
	return fd < 0 ? -errno : fd;
}

static const struct bpf_insn return_zero[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static enum kernel_answer ask_bpf(void)
{
	int fd = load(return_zero, ARRAY_SIZE(return_zero), 0, NULL, 0);

	if (fd >= 0) {
		close(fd);
		return KERNEL_YES;
	}
	return fd == -EPERM ? KERNEL_UNKNOWN : KERNEL_NO;
}

/* A call of the helper with wrong arguments: a kernel that knows the helper
 * complains about the arguments, another one about the helper. */
static enum kernel_answer ask_helper(int helper)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_JMP | BPF_CALL, .imm = helper },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	char log[4096] = "";
	int fd = load(insns, ARRAY_SIZE(insns), 0, log, sizeof(log));

	if (fd >= 0)
		close(fd);
	if (fd == -EPERM)
		return KERNEL_UNKNOWN;
	return strstr(log, "invalid func ") || strstr(log, "unknown func ") ||
	                       strstr(log, "cannot use helper")
	               ? KERNEL_NO
	               : KERNEL_YES;
}

/* The members of union bpf_attr for links, as far as uprobe_multi uses them. */
struct link_attr {
	uint32_t prog_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, ref_ctr_offsets, cookies;
	uint32_t count, multi_flags, pid, pad;
};

/* A link on a directory: a kernel that knows the type says EBADF (not a
 * regular file), another one EINVAL. Nothing is attached either way. */
static enum kernel_answer ask_multi(unsigned attach_type)
{
	cleanup_close int fd = load(return_zero, ARRAY_SIZE(return_zero), attach_type, NULL, 0);
	uint64_t offset = 0;
	struct link_attr multi = {
		.prog_fd = (uint32_t)fd,
		.attach_type = attach_type,
		.path = (uintptr_t) "/",
		.offsets = (uintptr_t)&offset,
		.count = 1,
	};
	long link;

	if (fd == -EPERM)
		return KERNEL_UNKNOWN;
	if (fd < 0)
		return KERNEL_NO;
	link = syscall(SYS_bpf, BPF_LINK_CREATE, &multi, sizeof(multi));
	if (link >= 0)
		close((int)link);
	return link < 0 && errno == EBADF ? KERNEL_YES : KERNEL_NO;
}

/* Does the ioctl exist? The empty argument is refused, but not with ENOTTY. */
static enum kernel_answer ask_ioctl(const char *path, unsigned long request)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char argument[128] = { 0 };

	if (fd < 0)
		return KERNEL_UNKNOWN;
	return ioctl(fd, request, argument) < 0 && errno == ENOTTY ? KERNEL_NO : KERNEL_YES;
}

static enum kernel_answer ask_path(const char *path)
{
	return access(path, F_OK) ? KERNEL_NO : KERNEL_YES;
}

static enum kernel_answer ask(enum kernel_feature f)
{
	switch (f) {
	case KERNEL_BTF: return ask_path("/sys/kernel/btf/vmlinux");
	case KERNEL_BPF: return ask_bpf();
	case KERNEL_UPROBES: return ask_path("/sys/bus/event_source/devices/uprobe/type");
	case KERNEL_BPF_LOOP: return ask_helper(HELPER_LOOP);
	case KERNEL_UPROBE_MULTI: return ask_multi(ATTACH_UPROBE_MULTI);
	case KERNEL_UPROBE_SESSION: return ask_multi(ATTACH_UPROBE_SESSION);
	case KERNEL_PAGEMAP_SCAN: return ask_ioctl("/proc/self/pagemap", PM_SCAN);
	case KERNEL_PROCMAP_QUERY: return ask_ioctl("/proc/self/maps", PM_QUERY);
	case KERNEL_N_FEATURES: break;
	}
	return KERNEL_UNKNOWN;
}

static const char *const names[] = {
	[KERNEL_BTF] = "btf",
	[KERNEL_BPF] = "bpf",
	[KERNEL_UPROBES] = "uprobes",
	[KERNEL_BPF_LOOP] = "bpf_loop",
	[KERNEL_UPROBE_MULTI] = "uprobe_multi",
	[KERNEL_UPROBE_SESSION] = "uprobe_session",
	[KERNEL_PAGEMAP_SCAN] = "pagemap_scan",
	[KERNEL_PROCMAP_QUERY] = "procmap_query",
};

const char *kernel_feature_name(enum kernel_feature f)
{
	return (unsigned)f < ARRAY_SIZE(names) ? names[f] : "";
}

enum kernel_answer kernel_has(enum kernel_feature f)
{
	return feature_allowed(kernel_feature_name(f)) ? ask(f) : KERNEL_NO;
}

/* First line of a small file, or "". */
static void first_line(const char *path, char *buf, size_t size)
{
	cleanup_fclose FILE *f = fopen(path, "re");

	buf[0] = '\0';
	if (f && fgets(buf, (int)size, f))
		buf[strcspn(buf, "\n")] = '\0';
}

static int number_in(const char *path, int otherwise)
{
	char text[32];
	char *end;
	long v;

	first_line(path, text, sizeof(text));
	v = strtol(text, &end, 10);
	return end == text ? otherwise : (int)v;
}

static uint64_t effective_capabilities(void)
{
	cleanup_fclose FILE *f = fopen("/proc/self/status", "re");
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "CapEff:", 7))
			return strtoull(line + 7, NULL, 16);
	}
	return 0;
}

/* "none [integrity] confidentiality" -> "integrity" */
static void lockdown_mode(char *buf, size_t size)
{
	char text[128];
	const char *from;

	first_line("/sys/kernel/security/lockdown", text, sizeof(text));
	from = strchr(text, '[');
	buf[0] = '\0';
	if (from)
		snprintf(buf, size, "%.*s", (int)strcspn(from + 1, "]"), from + 1);
}

void kernel_facts(struct kernel_facts *ret)
{
	struct utsname uts = { 0 };

	memset(ret, 0, sizeof(*ret));
	uname(&uts);
	snprintf(ret->release, sizeof(ret->release), "%s", uts.release);
	snprintf(ret->machine, sizeof(ret->machine), "%s", uts.machine);
	for (enum kernel_feature f = 0; f < KERNEL_N_FEATURES; f++)
		ret->features[f] = kernel_has(f);
	ret->capabilities = effective_capabilities();
	ret->perf_event_paranoid = number_in("/proc/sys/kernel/perf_event_paranoid", INT_MIN);
	ret->ptrace_scope = number_in("/proc/sys/kernel/yama/ptrace_scope", -1);
	lockdown_mode(ret->lockdown, sizeof(ret->lockdown));
}

bool kernel_capable(const struct kernel_facts *facts, enum kernel_capability cap)
{
	uint64_t wanted = UINT64_C(1) << cap;

	if (cap == KERNEL_CAP_BPF || cap == KERNEL_CAP_PERFMON)
		wanted |= UINT64_C(1) << KERNEL_CAP_SYS_ADMIN;
	return facts->capabilities & wanted;
}
