/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Processes that beget others, and each says what it holds. A word a line on the standard
 * input of the first, which it tells its workers by pipes:
 *
 *	workers N	N children by fork; "PID PID ..."
 *	grand		each worker forks one more; "PID PID ..."
 *	exec		each worker becomes this program anew; "ok"
 *	fill		every process allocates at its sites; "PID BYTES PID BYTES ..."
 *	quick N		N children that end at once, by fork; "ok"
 *	vquick N	N by vfork and exec of /bin/true; "ok"
 *	vslow		one by vfork that sleeps for half a second before its exec; "ok"
 *	end		the workers end, then the first
 *
 * Holds what it holds from one fill to the next: bytes add up.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_WORKERS = 64 };

/* Our ends of the pipes of each worker, grandchildren included: they are asked by us. */
static struct worker {
	pid_t pid;
	int to, from;
} workers[MAX_WORKERS];
static int n_workers;
static size_t held;

__attribute__((noinline)) static void site_fill(void)
{
	static void *volatile keep;
	const size_t n = 2000 + (size_t)getpid() % 1000;

	for (size_t i = 0; i < n; i++) {
		keep = malloc(100 + i % 400);
		memset(keep, 1, 16);
		held += 100 + i % 400;
	}
}

static void reply(int fd, size_t v)
{
	if (write(fd, &v, sizeof(v)) != (ssize_t)sizeof(v))
		_exit(3);
}

/* A worker: orders are single bytes. */
static void serve(int in, int out, const char *self)
{
	char order;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* the pipes' other ends live on in its siblings */

	while (read(in, &order, 1) == 1) {
		if (order == 'f') {
			site_fill();
			reply(out, held);
		} else if (order == 'x') {
			char a[16], b[16];

			snprintf(a, sizeof(a), "%d", in);
			snprintf(b, sizeof(b), "%d", out);
			execl(self, self, "worker", a, b, (char *)NULL);
			_exit(4);
		} else if (order == 'g') { /* the pipes of the new one come by number */
			int fds[2];
			pid_t child;

			if (read(in, fds, sizeof(fds)) != (ssize_t)sizeof(fds))
				_exit(5);
			child = fork();
			if (!child) {
				held = 0;
				serve(fds[0], fds[1], self);
				_exit(0);
			}
			reply(out, (size_t)child);
		}
	}
}

static int ask(const struct worker *w, char order, size_t *answer)
{
	return write(w->to, &order, 1) == 1 &&
	       read(w->from, answer, sizeof(*answer)) == (ssize_t)sizeof(*answer);
}

/* Without close-on-exec: they are handed on. Their other ends stay open here, too. */
static struct worker *new_worker(int theirs[2])
{
	int down[2], up[2];

	if (n_workers == MAX_WORKERS || pipe(down) || pipe(up))
		exit(6);
	theirs[0] = down[0];
	theirs[1] = up[1];
	workers[n_workers] = (struct worker){ 0, down[1], up[0] };
	return &workers[n_workers++];
}

/* The pipes of those that are begotten later must be open already. */
static int spare[MAX_WORKERS][2];
static struct worker *spare_of[MAX_WORKERS];

static void make_workers(int n, const char *self)
{
	for (int i = 0; i < n; i++) {
		spare_of[i] = new_worker(spare[i]);
		spare_of[i]->pid = 0;
	}
	for (int i = 0; i < n; i++) {
		int theirs[2];
		struct worker *w = new_worker(theirs);

		fflush(stdout);
		w->pid = fork();
		if (!w->pid) {
			held = 0;
			serve(theirs[0], theirs[1], self);
			_exit(0);
		}
		printf("%d ", (int)w->pid);
	}
	printf("\n");
}

static void make_grandchildren(void)
{
	int k = 0;

	for (int i = 0, n = n_workers; i < n; i++) {
		size_t pid;

		if (!workers[i].pid || k == MAX_WORKERS || !spare_of[k])
			continue;
		if (write(workers[i].to, "g", 1) != 1 ||
		    write(workers[i].to, spare[k], sizeof(spare[k])) != sizeof(spare[k]) ||
		    read(workers[i].from, &pid, sizeof(pid)) != (ssize_t)sizeof(pid))
			exit(7);
		spare_of[k++]->pid = -(pid_t)pid; /* not one that begets now */
		printf("%zu ", pid);
	}
	for (int i = 0; i < n_workers; i++)
		workers[i].pid = abs(workers[i].pid);
	printf("\n");
}

static void fill(void)
{
	site_fill();
	printf("%d %zu", (int)getpid(), held);
	for (int i = 0; i < n_workers; i++) {
		size_t bytes = 0;

		if (workers[i].pid && ask(&workers[i], 'f', &bytes))
			printf(" %d %zu", (int)workers[i].pid, bytes);
	}
	printf("\n");
}

static void quick(int n, int by_vfork, int us)
{
	for (volatile int i = 0; i < n; i++) {
		pid_t child = by_vfork ? vfork() : fork();

		if (!child) {
			if (us)
				usleep((useconds_t)us);
			if (by_vfork)
				execl("/bin/true", "true", (char *)NULL);
			_exit(0);
		}
		waitpid(child, NULL, 0);
	}
	printf("ok\n");
}

static void exec_all(void)
{
	for (int i = 0; i < n_workers; i++) {
		if (workers[i].pid && write(workers[i].to, "x", 1) != 1)
			exit(8);
	}
	printf("ok\n");
}

int main(int argc, char **argv)
{
	char line[128];

	if (argc == 4) {
		serve(atoi(argv[2]), atoi(argv[3]), argv[0]);
		return 0;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready %d\n", (int)getpid());
	while (fgets(line, sizeof(line), stdin) && strncmp(line, "end", 3) != 0) {
		if (!strncmp(line, "workers ", 8))
			make_workers(atoi(line + 8), argv[0]);
		else if (!strncmp(line, "grand", 5))
			make_grandchildren();
		else if (!strncmp(line, "exec", 4))
			exec_all();
		else if (!strncmp(line, "fill", 4))
			fill();
		else if (!strncmp(line, "quick ", 6))
			quick(atoi(line + 6), 0, 0);
		else if (!strncmp(line, "vquick ", 7))
			quick(atoi(line + 7), 1, 0);
		else if (!strncmp(line, "vslow", 5))
			quick(1, 1, 500000);
	}
	for (int i = 0; i < n_workers; i++) {
		if (workers[i].pid)
			kill(workers[i].pid, 9);
	}
	while (wait(NULL) > 0)
		continue;
	return 0;
}
