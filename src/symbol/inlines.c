/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/inlines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "symbol/inlines_dwarf.h"
#include "target/proc.h"

enum {
	MAX_FRAMES = 64,
	WORKER_SOCKET = 3, /* in the worker */
	WORKER_FILE = 4,
};

static const uint64_t worker_bytes = 4ull << 30; /* beyond what it shares with us and its file */

/* A reply is one packet: per frame this, the name and the file, each with a NUL. */
struct head {
	uint32_t line;
	uint8_t inlined;
} __attribute__((packed));

struct inlines {
	pid_t worker;
	int socket;
	uint64_t spent_ns;
	char reply[INLINES_MAX_REPLY + 1];
};

/*
 * In the worker.
 */

static size_t put(char *to, size_t room, const char *s)
{
	size_t len = s ? strnlen(s, INLINES_MAX_NAME) : 0;

	if (len >= room)
		len = room - 1;
	memcpy(to, s ? s : "", len);
	to[len] = '\0';
	return len + 1;
}

static size_t pack(const struct inlines_frame *frames, size_t n, char *reply, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		struct head head = { frames[i].line, frames[i].inlined };

		/* all or nothing: half a chain would be a wrong answer */
		if (size - at < sizeof(head) + 2 * (INLINES_MAX_NAME + 1))
			return 0;
		memcpy(reply + at, &head, sizeof(head));
		at += sizeof(head);
		at += put(reply + at, size - at, frames[i].name);
		at += put(reply + at, size - at, frames[i].file);
	}
	return at;
}

static int serve(void)
{
	struct inlines_frame frames[MAX_FRAMES];
	static char reply[INLINES_MAX_REPLY];
	struct inlines_dwarf *d = NULL;
	uint64_t vaddr;

	if (inlines_dwarf_open(WORKER_FILE, &d) < 0)
		return 1;
	while (recv(WORKER_SOCKET, &vaddr, sizeof(vaddr), 0) == sizeof(vaddr)) {
		size_t n = inlines_dwarf_find(d, vaddr, frames, MAX_FRAMES);
		/* an empty packet would read as the end */
		size_t len = 1 + pack(frames, n, reply + 1, sizeof(reply) - 1);

		if (send(WORKER_SOCKET, reply, len, MSG_NOSIGNAL) < 0)
			break;
	}
	return 0;
}

/* Nothing of ours stays open: probes must vanish with us, readers of our output
 * must see its end. */
static int keep_only(int socket, int file)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int a = fcntl(socket, F_DUPFD, 16), b = fcntl(file, F_DUPFD, 16);

	if (null < 0 || a < 0 || b < 0 || dup2(a, WORKER_SOCKET) < 0 || dup2(b, WORKER_FILE) < 0)
		return -errno;
	for (int fd = 0; fd < 3; fd++)
		dup2(null, fd);
	if (syscall(SYS_close_range, WORKER_FILE + 1, ~0u, 0) < 0) {
		for (long fd = sysconf(_SC_OPEN_MAX); fd > WORKER_FILE; fd--)
			close(fd);
	}
	return 0;
}

/* The first to go when memory is short. */
static bool offer_self(void)
{
	static const char most[] = "1000";
	cleanup_close int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, most, strlen(most)) > 0;
}

/* A section that unpacks to terabytes ends the worker, not the machine. */
static void limit_memory(void)
{
	cleanup_free char *text = NULL;
	struct rlimit limit;
	struct stat st;
	uint64_t pages;

	offer_self(); /* where that is refused, the limit has to do */
	if (fstat(WORKER_FILE, &st) < 0 || getrlimit(RLIMIT_AS, &limit) < 0 ||
	    proc_read(AT_FDCWD, "/proc/self/statm", 256, &text, NULL) < 0)
		return;
	pages = strtoull(text, NULL, 10);
	limit.rlim_cur = pages * sysconf(_SC_PAGESIZE) + 2 * st.st_size + worker_bytes;
	if (limit.rlim_cur < limit.rlim_max)
		setrlimit(RLIMIT_AS, &limit);
}

/* Returns the worker's exit status. */
static int work(int socket, int file, pid_t parent)
{
	static const int ignored[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE };
	static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	const struct rlimit no_core = { 0, 0 };

	/* Ctrl-C ends the recording, not the naming of what was recorded */
	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		signal(ignored[i], SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		signal(fatal[i], SIG_DFL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 1;
	setrlimit(RLIMIT_CORE, &no_core);
	prctl(PR_SET_NAME, "memwho-dwarf");
	if (keep_only(socket, file) < 0)
		return 1;
	limit_memory();
	return serve();
}

/*
 * In memwho.
 */

struct inlines *inlines_close(struct inlines *in)
{
	if (!in)
		return NULL;
	if (in->socket >= 0)
		close(in->socket);
	if (in->worker > 0) {
		kill(in->worker, SIGKILL);
		while (waitpid(in->worker, NULL, 0) < 0 && errno == EINTR)
			;
	}
	free(in);
	return NULL;
}

static void closep(struct inlines **in)
{
	inlines_close(*in);
}

int inlines_open(const struct elf_file *elf, struct inlines **ret, struct error *err)
{
	cleanup(closep) struct inlines *in = calloc(1, sizeof(*in));
	cleanup_close int theirs = -1;
	int pair[2];
	pid_t self = getpid();

	if (!in)
		return error_oom(err);
	in->socket = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_sys(err, errno, "a socket pair");
	in->socket = pair[0];
	theirs = pair[1];
	in->worker = fork();
	if (in->worker < 0)
		return error_sys(err, errno, "a process to read debug information");
	if (!in->worker)
		_exit(work(theirs, elf_file_fd(elf), self));
	*ret = take_ptr(in);
	return 0;
}

/* Wait for the reply until @deadline. */
static ssize_t receive(struct inlines *in, uint64_t deadline_ns)
{
	for (;;) {
		struct pollfd p = { .fd = in->socket, .events = POLLIN };
		uint64_t now = clock_now_ns();
		int r;

		if (now >= deadline_ns)
			return -ETIMEDOUT;
		r = poll(&p, 1, (deadline_ns - now) / 1000000 + 1);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0) {
			ssize_t n = recv(in->socket, in->reply, INLINES_MAX_REPLY, 0);

			return n > 0 ? n : -EPIPE; /* the worker is gone */
		}
	}
}

static const char *string(const char **at, const char *end)
{
	const char *s = *at, *nul = memchr(s, '\0', end - s);

	if (!nul)
		return NULL;
	*at = nul + 1;
	return s;
}

/* The worker may have been taken over by its input: its words are checked too. */
static int unpack(const char *at, const char *end, struct inlines_frame *frames, size_t max)
{
	size_t n = 0;

	while (at < end) {
		struct head head;
		const char *name, *file;

		if (n == max || (size_t)(end - at) < sizeof(head))
			return -EBADMSG;
		memcpy(&head, at, sizeof(head));
		at += sizeof(head);
		name = string(&at, end);
		file = name ? string(&at, end) : NULL;
		if (!file)
			return -EBADMSG;
		frames[n++] = (struct inlines_frame){
			.name = *name ? name : NULL,
			.file = *file ? file : NULL,
			.line = head.line,
			.inlined = head.inlined,
		};
	}
	return n;
}

int inlines_find(struct inlines *in, uint64_t vaddr, struct inlines_frame *frames, size_t max)
{
	uint64_t start = clock_now_ns(), limit = INLINES_QUERY_SECONDS * 1000000000ull;
	uint64_t left = INLINES_TOTAL_SECONDS * 1000000000ull;
	ssize_t n;

	if (in->spent_ns >= left)
		return -ETIMEDOUT;
	left -= in->spent_ns;
	if (send(in->socket, &vaddr, sizeof(vaddr), MSG_NOSIGNAL) < 0)
		return -errno;
	n = receive(in, start + (limit < left ? limit : left));
	in->spent_ns += clock_now_ns() - start;
	return n < 0 ? (int)n : unpack(in->reply + 1, in->reply + n, frames, max);
}
