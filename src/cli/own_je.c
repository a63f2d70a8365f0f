/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/own_je.h"

#include <errno.h>

#include "base/cleanup.h"
#include "capture/capture_je.h"
#include "cli/own.h"

static int read_again(void *arg, struct profile **ret, struct error *err)
{
	return capture_je_profile(arg, ret, err);
}

/* With the profiler on meanwhile, and as it was afterwards. */
static int record_growth(struct capture_je *c, struct record *r, struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL;
	cleanup(profile_freep) struct profile *grown = NULL;
	struct error ignored;
	bool was = false, unused;
	int rc = capture_je_activate(c, true, &was, err);

	if (rc == 0 && !r->capture.alloc.engine)
		cli_say("by jemalloc's own profiler (it was started with opt.prof)%s",
		        was ? "" : ", which is on meanwhile");

	if (rc == 0)
		rc = capture_je_profile(c, &before, err);
	if (rc == 0)
		rc = own_growth(r, before, read_again, c, &grown, err);
	if (rc >= 0)
		rc = report_text(profile_report(grown), "engine", "engine",
		                 "jemalloc's own profiler", err);
	if (!was)
		capture_je_activate(c, false, &unused, &ignored);
	return rc < 0 ? rc : record_write(r, grown, err);
}

static int show_now(struct capture_je *c, const struct record *r, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	const int pid = (int)c->heaps.target->pid;
	struct capture_je_state s;
	int rc = capture_je_profile(c, &p, err);

	if (rc == 0)
		rc = capture_je_state(c, &s, err);
	if (rc < 0)
		return rc;
	if (!s.is_active && !profile_n_samples(p)) {
		error_set(err, ENODATA,
		          "jemalloc's profiler of process %d is off, and holds nothing", pid);
		return error_hint(err, "memwho je %d on switches it on; -d 30s does for that time",
		                  pid);
	}
	cli_say("jemalloc's own profile%s, %s",
	        r->capture.alloc.engine ? "" : " (it was started with opt.prof)",
	        s.is_active ? "since it was switched on" : "of the time that it was on");
	return record_write(r, p, err);
}

int own_je_run(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
               struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	const char *other = own_asks_for_recording(args);
	int rc;

	if (other) {
		error_set(err, EINVAL,
		          "--%s needs a recording of memwho's, --engine jemalloc makes "
		          "none",
		          other);
		return error_hint(err, "leave one of them out");
	}
	if (n != 1)
		return error_set(err, EINVAL, "--engine jemalloc asks one process, not %zu", n);
	rc = capture_je_open(pids[0], 0, &c, err);
	if (rc < 0)
		return rc;
	r->pid = pids[0];
	r->is_own = true;
	rc = r->capture.duration_s > 0 ? record_growth(c, r, err) : show_now(c, r, err);
	return rc < 0 ? rc : CLI_DONE;
}

/* Why it is not chosen, where it would be. */
static int leave_out(int pid, const struct error *why)
{
	cli_say("process %d was started with jemalloc's profiler, which is not used: %s", pid,
	        why->message);
	return OWN_NOT;
}

static int choose(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
                  struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	struct error why = { 0 };
	int rc;

	/* what is wrong with a process is the recorder's to say */
	if (n != 1 || r->capture.alloc.engine || own_asks_for_recording(args) ||
	    capture_je_has_profiler(pids[0], &why) <= 0)
		return OWN_NOT;
	if (capture_je_open(pids[0], 0, &c, &why) < 0)
		return leave_out((int)pids[0], &why);
	r->pid = pids[0];
	r->is_own = true;
	rc = r->capture.duration_s > 0 ? record_growth(c, r, err) : show_now(c, r, err);
	if (rc == -ENODATA) {
		r->is_own = false;
		return leave_out((int)pids[0], err);
	}
	return rc < 0 ? rc : CLI_DONE;
}

int own_je_auto(const struct cli_args *args, struct record *r, const pid_t *pids, size_t n,
                struct error *err)
{
	int rc = choose(args, r, pids, n, err);

	if (rc == OWN_NOT && n == 1 && capture_je_is_nameless(pids[0]))
		cli_say("jemalloc of process %d has no symbols: what it allocates can't be "
		        "recorded; memwho je %d stats has size classes",
		        (int)pids[0], (int)pids[0]);
	return rc;
}
