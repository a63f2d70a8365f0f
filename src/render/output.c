/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/output.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

static void file_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGXFSZ);
	sigaddset(set, SIGPIPE);
}

static void hold_signals(struct output *o)
{
	sigset_t set;

	file_signals(&set);
	o->holds_signals = pthread_sigmask(SIG_BLOCK, &set, &o->old_mask) == 0;
}

/* Drop those that came in the meantime, unless the caller blocks them himself. */
static void release_signals(struct output *o)
{
	static const struct timespec now = { 0 };
	sigset_t set;

	if (!o->holds_signals)
		return;
	sigemptyset(&set);
	if (!sigismember(&o->old_mask, SIGXFSZ))
		sigaddset(&set, SIGXFSZ);
	if (!sigismember(&o->old_mask, SIGPIPE))
		sigaddset(&set, SIGPIPE);
	while (sigtimedwait(&set, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &o->old_mask, NULL);
	o->holds_signals = false;
}

/* As open() would make a new file; an old one keeps its mode. */
static mode_t wanted_mode(const char *path)
{
	struct stat st;
	mode_t mask;

	if (stat(path, &st) == 0)
		return st.st_mode & 0777;
	mask = umask(0);
	umask(mask);
	return 0666 & ~mask;
}

static int open_beside(struct output *o, struct error *err)
{
	cleanup_close int fd = -1;
	cleanup_free char *temp = NULL;

	if (asprintf(&temp, "%s.XXXXXX", o->path) < 0) {
		temp = NULL;
		return error_oom(err);
	}
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "cannot create a file beside it");
	o->temp = take_ptr(temp);
	if (fchmod(fd, wanted_mode(o->path)) < 0)
		return error_sys(err, errno, "cannot set its mode");
	o->to = fdopen(fd, "w");
	if (!o->to)
		return error_oom(err);
	take_fd(fd);
	return 0;
}

static int open_direct(struct output *o, const char *path, struct error *err)
{
	o->to = fopen(path, "we");
	return o->to ? 0 : error_sys(err, errno, "cannot open");
}

static int open_path(struct output *o, const char *path, struct error *err)
{
	struct stat st;

	if (!*path)
		return error_set(err, EINVAL, "the name of the output file is empty");
	if (stat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode))
			return error_sys(err, EISDIR, "cannot write");
		if (!S_ISREG(st.st_mode))
			return open_direct(o, path, err);
		/* replacing a link by a file would surprise who made the link */
		o->path = realpath(path, NULL);
	} else {
		o->path = strdup(path);
	}
	return o->path ? open_beside(o, err) : error_oom(err);
}

int output_open(const char *path, struct output *ret, struct error *err)
{
	struct output o = { .name = path };
	int r = 0;

	hold_signals(&o);
	if (!strcmp(path, "-")) {
		o.name = "standard output";
		o.is_stdout = true;
		o.to = stdout;
	} else {
		r = open_path(&o, path, err);
	}
	if (r < 0) {
		output_discard(&o);
		return error_context(err, "%s", path);
	}
	*ret = o;
	return 0;
}

/* Pipes and some file systems have no fsync; that is not a failure. */
static int sync_file(FILE *to)
{
	if (fsync(fileno(to)) == 0 || errno == EINVAL || errno == EROFS || errno == ENOSYS)
		return 0;
	return -errno;
}

static int finish(struct output *o, struct error *err)
{
	FILE *to = take_ptr(o->to);
	int failed = 0;

	if (fflush(to) != 0)
		failed = errno ? errno : EIO;
	else if (ferror(to))
		failed = EIO;
	else if (o->temp)
		failed = -sync_file(to);
	if (!o->is_stdout && fclose(to) != 0 && !failed)
		failed = errno ? errno : EIO;
	return failed ? error_sys(err, failed, "cannot write") : 0;
}

int output_commit(struct output *o, struct error *err)
{
	int r = finish(o, err);

	if (r < 0 || !o->temp)
		return r;
	if (rename(o->temp, o->path) < 0)
		return error_sys(err, errno, "cannot replace it");
	free(take_ptr(o->temp));
	return 0;
}

void output_discard(struct output *o)
{
	/* before fclose(): it may write, and fail by signal */
	if (o->to && !o->is_stdout)
		fclose(o->to);
	if (o->temp)
		unlink(o->temp);
	free(o->temp);
	free(o->path);
	release_signals(o);
	*o = (struct output){ 0 };
}
