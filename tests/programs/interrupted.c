/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * System calls that a stop may interrupt, each in a thread of its own, over and
 * over: what they return, and whether they come back too early. Another process
 * feeds them, so that they go on while this one stands still.
 *
 *	interrupted
 *
 * Prints "ready", works until a line comes, then prints a line for each call:
 *	NAME rounds N wrong N early N errno E longest_ms N
 * "wrong": came back other than it must (EINTR above all; errno: the last one).
 * "early": before the time that was asked for.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	TIMED_MS = 15,
	FEED_MS = 7,
	TICK_MS = 11,
	SIGNAL_WAITED = SIGUSR1, /* blocked everywhere; sigtimedwait takes it */
	SIGNAL_READ = SIGUSR2,   /* blocked everywhere; a signalfd takes it */
};

/* Where a call works: fd[0] is its end, the feeder has fd[1]. */
struct place {
	int fd[2];
	int epoll, id;
	uint32_t *word; /* shared with the feeder */
	volatile uint64_t handled;
};

struct call {
	const char *name;
	void (*set_up)(struct place *p);
	long (*once)(struct place *p); /* as the system call: -1 and errno */
	void (*feed)(struct place *p);
	bool timed;   /* not before TIMED_MS */
	int expected; /* errno of a call that is to fail; 0 */
	struct place place;
	uint64_t rounds, wrong, early, longest_ns;
	int last_errno;
};

static volatile bool ended;
static const struct timespec timed = { 0, TIMED_MS * 1000000 };
static const struct timeval timed_val = { 0, TIMED_MS * 1000 };
static const struct timeval long_val = { 5, 0 };

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* ---- places ---- */

static void pipe_up(struct place *p)
{
	if (pipe(p->fd) < 0)
		die("pipe");
	fcntl(p->fd[1], F_SETFL, O_NONBLOCK);
}

static void feed_byte(struct place *p)
{
	if (write(p->fd[1], "x", 1) < 0 && errno != EAGAIN)
		die("feed");
}

static void epoll_up(struct place *p)
{
	struct epoll_event e = { .events = EPOLLIN };

	pipe_up(p);
	p->epoll = epoll_create1(0);
	if (epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->fd[0], &e) < 0)
		die("epoll");
}

static void socket_up(struct place *p)
{
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, p->fd) < 0)
		die("socketpair");
	fcntl(p->fd[1], F_SETFL, O_NONBLOCK);
}

static void socket_timed_up(struct place *p)
{
	socket_up(p);
	setsockopt(p->fd[0], SOL_SOCKET, SO_RCVTIMEO, &long_val, sizeof(long_val));
}

static void listen_up(struct place *p)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(a);

	p->fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(p->fd[0], (struct sockaddr *)&a, sizeof(a)) < 0 || listen(p->fd[0], 64) < 0 ||
	    getsockname(p->fd[0], (struct sockaddr *)&a, &len) < 0)
		die("listen");
	p->id = ntohs(a.sin_port);
}

static void listen_timed_up(struct place *p)
{
	listen_up(p);
	setsockopt(p->fd[0], SOL_SOCKET, SO_RCVTIMEO, &long_val, sizeof(long_val));
}

static void feed_connection(struct place *p)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
		                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		                 .sin_port = htons(p->id) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	connect(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
}

static void event_up(struct place *p)
{
	p->fd[0] = p->fd[1] = eventfd(0, EFD_SEMAPHORE);
}

static void feed_event(struct place *p)
{
	const uint64_t one = 1;

	if (write(p->fd[1], &one, sizeof(one)) < 0)
		die("eventfd");
}

static void timer_up(struct place *p)
{
	const struct itimerspec every = { timed, timed };

	p->fd[0] = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(p->fd[0], 0, &every, NULL);
}

static void signal_up(struct place *p)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL_READ);
	p->fd[0] = signalfd(-1, &set, 0);
	p->id = getpid();
}

static void feed_read_signal(struct place *p)
{
	kill(p->id, SIGNAL_READ);
}

static void pid_up(struct place *p)
{
	p->id = getpid();
}

static void feed_waited_signal(struct place *p)
{
	kill(p->id, SIGNAL_WAITED);
}

static void sem_up(struct place *p)
{
	p->id = semget(IPC_PRIVATE, 1, 0600);
	if (p->id < 0)
		die("semget");
}

static void feed_sem(struct place *p)
{
	struct sembuf up = { 0, 1, IPC_NOWAIT };

	semop(p->id, &up, 1);
}

static void msg_up(struct place *p)
{
	p->id = msgget(IPC_PRIVATE, 0600);
	if (p->id < 0)
		die("msgget");
}

static void feed_msg(struct place *p)
{
	const struct {
		long type;
		char text[8];
	} m = { 1, "x" };

	msgsnd(p->id, &m, sizeof(m.text), IPC_NOWAIT);
}

static void word_up(struct place *p)
{
	p->word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void feed_futex(struct place *p)
{
	__atomic_fetch_add(p->word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, p->word, FUTEX_WAKE, 64, NULL, NULL, 0);
}

static void aio_up(struct place *p)
{
	static aio_context_t context;

	p->word = (uint32_t *)&context;
	syscall(SYS_io_setup, 8, &context);
}

static void on_tick(int signal, siginfo_t *info, void *context)
{
	struct place *p = info->si_value.sival_ptr;

	p->handled++;
}

/* A timer whose handler runs in this thread. Called by the thread itself. */
static void ticks_up(struct place *p)
{
	struct sigevent e = { .sigev_notify = SIGEV_THREAD_ID,
		              .sigev_signo = SIGRTMIN,
		              .sigev_value.sival_ptr = p };
	const struct itimerspec every = { { 0, TICK_MS * 1000000 }, { 0, TICK_MS * 1000000 } };
	timer_t timer;

	e._sigev_un._tid = gettid();
	if (timer_create(CLOCK_MONOTONIC, &e, &timer) < 0 ||
	    timer_settime(timer, 0, &every, NULL) < 0)
		die("timer");
}

/* ---- calls ---- */

static long epoll_forever(struct place *p)
{
	struct epoll_event e;
	char byte;
	long r = epoll_wait(p->epoll, &e, 1, -1);

	return r == 1 ? read(p->fd[0], &byte, 1) : r;
}

static long epoll_long(struct place *p)
{
	struct epoll_event e;
	char byte;
	long r = epoll_wait(p->epoll, &e, 1, 60000);

	return r == 1 ? read(p->fd[0], &byte, 1) : r;
}

static long epoll_p(struct place *p)
{
	struct epoll_event e;
	sigset_t none;
	char byte;
	long r;

	sigfillset(&none);
	r = epoll_pwait(p->epoll, &e, 1, -1, &none);
	return r == 1 ? read(p->fd[0], &byte, 1) : r;
}

static long poll_forever(struct place *p)
{
	struct pollfd f = { p->fd[0], POLLIN, 0 };
	char byte;
	long r = poll(&f, 1, -1);

	return r == 1 ? read(p->fd[0], &byte, 1) : r;
}

static long poll_timed(struct place *p)
{
	return poll(NULL, 0, TIMED_MS);
}

static long ppoll_timed(struct place *p)
{
	return ppoll(NULL, 0, &timed, NULL);
}

static long select_timed(struct place *p)
{
	struct timeval t = timed_val;

	return select(0, NULL, NULL, NULL, &t);
}

static long pselect_forever(struct place *p)
{
	fd_set set;
	char byte;
	long r;

	FD_ZERO(&set);
	FD_SET(p->fd[0], &set);
	r = pselect(p->fd[0] + 1, &set, NULL, NULL, NULL, NULL);
	return r == 1 ? read(p->fd[0], &byte, 1) : r;
}

static long nanosleep_timed(struct place *p)
{
	return nanosleep(&timed, NULL);
}

static long clock_nanosleep_absolute(struct place *p)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += timed.tv_nsec;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
	return errno ? -1 : 0;
}

/* Woken, or EAGAIN because the word changed before: both are right. */
static long futex_forever(struct place *p)
{
	long r = syscall(SYS_futex, p->word, FUTEX_WAIT, *(volatile uint32_t *)p->word, NULL, NULL,
	                 0);

	return r < 0 && errno == EAGAIN ? 0 : r;
}

static long futex_timed(struct place *p)
{
	return syscall(SYS_futex, p->word, FUTEX_WAIT, 0, &timed, NULL, 0);
}

static long read_byte(struct place *p)
{
	char byte;

	return read(p->fd[0], &byte, 1);
}

static long read_word(struct place *p)
{
	uint64_t word;

	return read(p->fd[0], &word, sizeof(word));
}

static long read_signal(struct place *p)
{
	struct signalfd_siginfo info;

	return read(p->fd[0], &info, sizeof(info));
}

static long recv_byte(struct place *p)
{
	char byte;

	return recv(p->fd[0], &byte, 1, 0);
}

static long recvmsg_byte(struct place *p)
{
	char byte;
	struct iovec v = { &byte, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return recvmsg(p->fd[0], &m, 0);
}

static long accept_one(struct place *p)
{
	int fd = accept4(p->fd[0], NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd;
}

static long sem_down(struct place *p)
{
	struct sembuf down = { 0, -1, 0 };

	return semop(p->id, &down, 1);
}

static long sem_down_long(struct place *p)
{
	struct sembuf down = { 0, -1, 0 };
	const struct timespec minute = { 60, 0 };

	return semtimedop(p->id, &down, 1, &minute);
}

static long msg_receive(struct place *p)
{
	struct {
		long type;
		char text[8];
	} m;

	return msgrcv(p->id, &m, sizeof(m.text), 0, 0);
}

static long wait_signal(struct place *p)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL_WAITED);
	return sigwaitinfo(&set, NULL);
}

static long getevents_timed(struct place *p)
{
	struct io_event event;
	struct timespec t = timed;

	return syscall(SYS_io_getevents, *(aio_context_t *)p->word, 1, 1, &event, &t);
}

/* Must fail with EINTR exactly when the handler ran: neither lost nor added. */
static long exactly_interrupted(struct place *p, long r, uint64_t handled)
{
	if (r < 0 && errno == EINTR && p->handled > handled)
		return 0;
	return -1;
}

static long tick_mask(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	return pthread_sigmask(how, &set, NULL);
}

static void ticks_blocked_up(struct place *p)
{
	tick_mask(SIG_BLOCK);
	ticks_up(p);
}

static void mask_but_ticks(sigset_t *set)
{
	sigfillset(set);
	sigdelset(set, SIGRTMIN);
}

static long ticks_in_epoll(struct place *p)
{
	const uint64_t handled = p->handled;
	struct epoll_event e;
	sigset_t set;

	if (!p->epoll)
		p->epoll = epoll_create1(0);
	mask_but_ticks(&set);
	return exactly_interrupted(p, epoll_pwait(p->epoll, &e, 1, -1, &set), handled);
}

static long ticks_in_sigsuspend(struct place *p)
{
	const uint64_t handled = p->handled;
	sigset_t set;

	mask_but_ticks(&set);
	return exactly_interrupted(p, sigsuspend(&set), handled);
}

static long ticks_in_ppoll(struct place *p)
{
	const uint64_t handled = p->handled;
	sigset_t set;

	mask_but_ticks(&set);
	return exactly_interrupted(p, ppoll(NULL, 0, NULL, &set), handled);
}

/* Registers that live across a stop in user mode. */
static long compute(struct place *p)
{
	uint64_t x = 88172645463325252u, y;
	double d = 1.5, e;

	for (int turn = 0; turn < 2; turn++) {
		x = 88172645463325252u;
		d = 1.5;
		for (int i = 0; i < 200000; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			d = d * 0.999 + (double)(x & 1023);
		}
		if (turn == 0) {
			y = x;
			e = d;
		}
	}
	usleep(2000);
	errno = 0;
	return x == y && d == e ? 0 : -1;
}

static struct call calls[] = {
	{ "epoll_wait", epoll_up, epoll_forever, feed_byte },
	{ "epoll_wait-long", epoll_up, epoll_long, feed_byte },
	{ "epoll_pwait", epoll_up, epoll_p, feed_byte },
	{ "poll", pipe_up, poll_forever, feed_byte },
	{ "poll-timed", NULL, poll_timed, NULL, true },
	{ "ppoll-timed", NULL, ppoll_timed, NULL, true },
	{ "select-timed", NULL, select_timed, NULL, true },
	{ "pselect", pipe_up, pselect_forever, feed_byte },
	{ "nanosleep", NULL, nanosleep_timed, NULL, true },
	{ "clock_nanosleep", NULL, clock_nanosleep_absolute, NULL, true },
	{ "futex", word_up, futex_forever, feed_futex },
	{ "futex-timed", word_up, futex_timed, NULL, true, ETIMEDOUT },
	{ "read-pipe", pipe_up, read_byte, feed_byte },
	{ "read-eventfd", event_up, read_word, feed_event },
	{ "read-timerfd", timer_up, read_word, NULL },
	{ "read-signalfd", signal_up, read_signal, feed_read_signal },
	{ "read-socket-timeout", socket_timed_up, read_byte, feed_byte },
	{ "recv", socket_up, recv_byte, feed_byte },
	{ "recv-timeout", socket_timed_up, recv_byte, feed_byte },
	{ "recvmsg-timeout", socket_timed_up, recvmsg_byte, feed_byte },
	{ "accept", listen_up, accept_one, feed_connection },
	{ "accept-timeout", listen_timed_up, accept_one, feed_connection },
	{ "semop", sem_up, sem_down, feed_sem },
	{ "semtimedop", sem_up, sem_down_long, feed_sem },
	{ "msgrcv", msg_up, msg_receive, feed_msg },
	{ "sigwaitinfo", pid_up, wait_signal, feed_waited_signal },
	{ "io_getevents-timed", aio_up, getevents_timed, NULL, true },
	{ "handler-in-epoll_pwait", NULL, ticks_in_epoll, NULL },
	{ "handler-in-sigsuspend", NULL, ticks_in_sigsuspend, NULL },
	{ "handler-in-ppoll", NULL, ticks_in_ppoll, NULL },
	{ "compute", NULL, compute, NULL },
};

enum { N_CALLS = sizeof(calls) / sizeof(calls[0]) };

static void *repeat(void *arg)
{
	struct call *c = arg;

	if (!strncmp(c->name, "handler-", 8))
		ticks_blocked_up(&c->place);
	while (!ended) {
		const uint64_t begun = now_ns();
		long r = c->once(&c->place);
		const int e = r < 0 ? errno : 0;
		const uint64_t took = now_ns() - begun;

		c->rounds++;
		if (e != c->expected || (r < 0) != (c->expected != 0)) {
			c->wrong++;
			c->last_errno = e;
		}
		c->early += c->timed && took < (uint64_t)timed.tv_nsec;
		c->longest_ns = took > c->longest_ns ? took : c->longest_ns;
	}
	return NULL;
}

static void feed(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		for (int i = 0; i < N_CALLS; i++)
			if (calls[i].feed)
				calls[i].feed(&calls[i].place);
		usleep(FEED_MS * 1000);
	}
}

static void block_signals(void)
{
	const struct sigaction ticks = { .sa_sigaction = on_tick, .sa_flags = SA_SIGINFO };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGNAL_WAITED);
	sigaddset(&set, SIGNAL_READ);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGRTMIN, &ticks, NULL);
}

static void clean_up(pid_t feeder)
{
	kill(feeder, SIGKILL);
	waitpid(feeder, NULL, 0);
	for (int i = 0; i < N_CALLS; i++) {
		if (calls[i].set_up == sem_up)
			semctl(calls[i].place.id, 0, IPC_RMID);
		if (calls[i].set_up == msg_up)
			msgctl(calls[i].place.id, IPC_RMID, NULL);
	}
}

int main(void)
{
	pthread_t threads[N_CALLS];
	char line[16];
	pid_t feeder;

	block_signals();
	for (int i = 0; i < N_CALLS; i++)
		if (calls[i].set_up)
			calls[i].set_up(&calls[i].place);
	feeder = fork();
	if (feeder == 0)
		feed();
	for (int i = 0; i < N_CALLS; i++)
		pthread_create(&threads[i], NULL, repeat, &calls[i]);
	puts("ready");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	ended = true; /* all are fed, or end by themselves */
	for (int i = 0; i < N_CALLS; i++) {
		const struct call *c = &calls[i];

		pthread_join(threads[i], NULL);
		printf("%s rounds %llu wrong %llu early %llu errno %d longest_ms %llu\n", c->name,
		       (unsigned long long)c->rounds, (unsigned long long)c->wrong,
		       (unsigned long long)c->early, c->last_errno,
		       (unsigned long long)c->longest_ns / 1000000);
	}
	clean_up(feeder);
	return 0;
}
