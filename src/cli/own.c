/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/own.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "capture/capture_own.h"
#include "capture/pace.h"
#include "profile/transform.h"

/* What only a recording can answer. */
static const char *const recordings[] = { "allocator", "older-than", "min-size",    "max-size",
	                                  "peak",      "no-stacks",  "follow",      "every",
	                                  "until",     "ready-file", "max-slowdown" };

const char *own_asks_for_recording(const struct cli_args *args)
{
	for (size_t i = 0; i < ARRAY_SIZE(recordings); i++) {
		if (cli_flag(args, recordings[i]))
			return recordings[i];
	}
	return NULL;
}

/* ---- reading ---- */

/* All of them, summed: 1; 0: one keeps no profile. */
static int read_all(const pid_t *pids, size_t n, struct profile **ret,
                    struct capture_own_facts *facts, struct error *err)
{
	cleanup(profile_freep) struct profile *sum = NULL;

	for (size_t i = 0; i < n; i++) {
		cleanup(profile_freep) struct profile *p = NULL;
		struct capture_own_facts one;
		int r = capture_own_process(pids[i], &p, &one, err);

		if (r <= 0)
			return r;
		facts->has_c |= one.has_c;
		if (n == 1) {
			sum = take_ptr(p);
			break;
		}
		if (!sum)
			r = profile_new(&sum, profile_heap_types, PROFILE_HEAP_TYPES,
			                PROFILE_INUSE_SPACE, err);
		if (r >= 0)
			r = transform_merge(sum, p, err);
		if (r >= 0 && i == 0)
			r = report_copy(profile_report(sum), profile_report_const(p), err);
		if (r < 0)
			return r;
	}
	*ret = take_ptr(sum);
	return 1;
}

/* ---- -d: what grew meanwhile ---- */

static int wait_a_little(void *arg, int ms, struct error *err)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	(void)arg;
	(void)err;
	nanosleep(&t, NULL);
	return 0;
}

static void tell(void *arg, double seconds)
{
	struct record_line *line = arg;

	if (!line->tells)
		return;
	fprintf(stderr, "\r\033[Kwaiting for %.0f s; Ctrl-C ends with the result", seconds);
	line->told = true;
}

int own_growth(struct record *r, const struct profile *before, own_read_fn *read, void *arg,
               struct profile **ret, struct error *err)
{
	struct pace pace = { .duration_s = r->capture.duration_s,
		             .poll = wait_a_little,
		             .progress = tell,
		             .arg = &r->line };
	cleanup(profile_freep) struct profile *after = NULL;
	const char *type = NULL;
	int rc;

	pace_begin(&pace);
	rc = pace_run(&pace, err);
	record_progress_end(&r->line);
	if (rc >= 0)
		rc = read(arg, &after, err);
	if (rc < 0)
		return rc;
	/* --type names what is compared */
	if (r->show.type_name && profile_find_type(before, r->show.type_name) >= 0) {
		type = r->show.type_name;
		r->show.type_name = NULL;
	}
	r->show.options.is_diff = true;
	rc = transform_diff(before, after, type, ret, err);
	if (rc == 0)
		rc = report_double(profile_report(*ret), "duration_seconds", NULL,
		                   r->capture.duration_s, "s", err);
	return rc;
}

struct go_targets {
	const pid_t *pids;
	size_t n;
};

static int read_go_again(void *arg, struct profile **ret, struct error *err)
{
	const struct go_targets *t = arg;
	struct capture_own_facts unused = { 0 };
	int rc = read_all(t->pids, t->n, ret, &unused, err);

	return rc ? rc
	          : error_set(err, ESRCH, "process %d runs another program now", (int)t->pids[0]);
}

/* ---- the commands ---- */

static void remark(const struct record *r, const struct capture_own_facts *f)
{
	cli_say("Go's own heap profile, %s; read from outside, nothing was attached",
	        r->capture.duration_s > 0 ? "what it grew by"
	                                  : "sampled since the program's start");
	if (f->has_c)
		cli_say("a C library is loaded, too: `--allocator libc` records what is taken "
		        "from its malloc");
}

int own_run(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
            struct error *err)
{
	const bool is_asked = record_is_go(r);
	const char *other = own_asks_for_recording(args);
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup(profile_freep) struct profile *grown = NULL;
	struct capture_own_facts facts = { 0 };
	int rc;

	if (is_asked && other) {
		error_set(err, EINVAL, "--%s needs a recording, --engine go makes none", other);
		return error_hint(err, "leave one of them out");
	}
	if (other || (!is_asked && r->capture.alloc.engine))
		return OWN_NOT;
	rc = read_all(pids, n, &p, &facts, err);
	/* what is wrong with a process is the recorder's to say, unless it is a Go program */
	if (rc < 0 && !is_asked && (n > 1 || (rc != -ENODATA && rc != -EAGAIN && rc != -ENOTSUP)))
		rc = 0;
	if (rc == 0 && is_asked)
		rc = error_set(err, ENOTSUP, "--engine go: process %d is not a Go program",
		               (int)pids[0]);
	if (rc <= 0)
		return rc < 0 ? rc : OWN_NOT;
	r->pid = n == 1 ? pids[0] : 0;
	r->is_own = true;
	remark(r, &facts);
	if (r->capture.duration_s > 0) {
		struct go_targets again = { pids, n };

		rc = own_growth(r, p, read_go_again, &again, &grown, err);
		return rc < 0 ? rc : record_write(r, grown, err);
	}
	return record_write(r, p, err);
}

bool own_is_core(const struct cli_args *args)
{
	struct stat st;
	const char *word = args->n_words == 1 ? args->words[0] : "";

	return word[strspn(word, "0123456789")] && stat(word, &st) == 0 && S_ISREG(st.st_mode);
}

int own_run_core(const struct cli_args *args, struct record *r, struct error *err)
{
	const char *other = own_asks_for_recording(args);
	cleanup(profile_freep) struct profile *p = NULL;
	int rc;

	if (!other && r->capture.duration_s > 0)
		other = "duration";
	if (other)
		return error_set(err, EINVAL, "--%s needs a process, %s is a file", other,
		                 args->words[0]);
	rc = capture_own_core(args->words[0], cli_value(args, "exe"), cli_value(args, "sysroot"),
	                      &p, err);
	if (rc == 0) {
		error_set(err, ENOTSUP,
		          "%s: of a core only the profile that a Go program keeps "
		          "itself can be read",
		          args->words[0]);
		return error_hint(err, "memwho refs shows who refers to its objects");
	}
	r->is_own = true;
	return rc < 0 ? rc : record_write(r, p, err);
}
