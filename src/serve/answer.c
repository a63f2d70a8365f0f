/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "serve/spool.h"
#include "target/proc.h"

enum { MAX_CMDLINE = 1 << 20, MAX_LISTED = 1000 };

static const char *kind_name(enum worker_kind k)
{
	static const char *const names[WORKER_N_KINDS] = {
		[WORKER_LADDER] = "ladder", [WORKER_HEAP] = "heap",     [WORKER_MAP] = "map",
		[WORKER_REFS] = "refs",     [WORKER_SYMBOL] = "symbol",
	};

	return names[k] ? names[k] : "";
}

static void write_running(struct json *j, const struct jobs_running *r)
{
	json_object(j);
	json_key(j, "target");
	json_string(j, r->key.target);
	json_key(j, "kind");
	json_string(j, kind_name(r->key.kind));
	json_key(j, "seconds");
	json_uint(j, r->key.seconds);
	json_key(j, "ends_in_seconds");
	if (r->ends_in_s < 0)
		json_null(j);
	else
		json_double(j, r->ends_in_s);
	json_object_end(j);
}

void answer_error(FILE *to, const struct error *err, const struct jobs_running *running)
{
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "error");
	json_string(&j, err->message);
	if (err->hint[0]) {
		json_key(&j, "hint");
		json_string(&j, err->hint);
	}
	if (running) {
		json_key(&j, "running");
		write_running(&j, running);
	}
	json_object_end(&j);
	fputc('\n', to);
}

/* ---- targets ---- */

static void write_recording(const struct service *s, const struct watched_item *item,
                            struct json *j)
{
	static const char *const states[] = { "no", "starting", "yes", "failed" };
	char why[ERROR_MESSAGE_BYTES] = "";
	enum jobs_recording state = jobs_recording_of(s->jobs, item->name, item->processes,
	                                              item->n_processes, why);

	json_key(j, "recording");
	json_string(j, states[state]);
	if (state == JOBS_RECORDING_FAILED) {
		json_key(j, "recording_error");
		json_string(j, why);
	}
}

static void write_item(const struct service *s, const struct watched_item *item, struct json *j)
{
	struct jobs_running running;

	json_object(j);
	json_key(j, "name");
	json_string(j, item->name);
	json_key(j, "configured");
	json_bool(j, item->target != NULL);
	json_key(j, "pids");
	json_array(j);
	for (uint32_t i = 0; i < item->n_processes; i++)
		json_int(j, item->processes[i].pid);
	json_array_end(j);
	json_key(j, "comm");
	json_string(j, item->n_processes ? item->comm : "");
	if (!item->n_processes) {
		json_key(j, "error");
		json_string(j, item->why[0] ? item->why : "not looked at yet");
	}
	json_key(j, "resident_bytes");
	json_uint(j, item->resident_bytes);
	json_key(j, "anon_bytes");
	json_uint(j, item->anon_bytes);
	json_key(j, "restarts");
	json_uint(j, item->restarts);
	write_recording(s, item, j);
	json_key(j, "running");
	if (jobs_running_of(s->jobs, item->name, &running))
		write_running(j, &running);
	else
		json_null(j);
	json_object_end(j);
}

/* What is not there is nobody's secret: who reads the configuration's names sees why. */
static bool is_shown(const struct watched_item *item, const struct peer *p)
{
	return watched_may_see(item, p) || (!item->n_processes && item->target);
}

void answer_targets(const struct service *s, const struct peer *p, FILE *to)
{
	struct json j = json_on(to);

	json_object(&j);
	json_key(&j, "targets");
	json_array(&j);
	for (size_t i = 0; i < watched_n(s->watched); i++) {
		const struct watched_item *item = watched_at(s->watched, i);

		if (is_shown(item, p))
			write_item(s, item, &j);
	}
	json_array_end(&j);
	json_object_end(&j);
	fputc('\n', to);
}

void answer_target(const struct service *s, struct watched_item *item, FILE *to)
{
	struct json j = json_on(to);

	write_item(s, item, &j);
	fputc('\n', to);
}

void answer_sd(const struct service *s, const struct peer *p, const char *host, FILE *to)
{
	struct json j = json_on(to);

	json_array(&j);
	for (size_t i = 0; i < watched_n(s->watched); i++) {
		const struct watched_item *item = watched_at(s->watched, i);
		char path[128];

		if (!item->n_processes || !watched_may_see(item, p))
			continue;
		snprintf(path, sizeof(path), "/targets/%s/debug/pprof/", item->name);
		json_object(&j);
		json_key(&j, "targets");
		json_array(&j);
		json_string(&j, host ? host : "localhost");
		json_array_end(&j);
		json_key(&j, "labels");
		json_object(&j);
		json_key(&j, "memwho_target");
		json_string(&j, item->name);
		json_key(&j, "comm");
		json_string(&j, item->comm);
		json_key(&j, "__profile_path_prefix__");
		json_string(&j, path);
		json_object_end(&j);
		json_object_end(&j);
	}
	json_array_end(&j);
	fputc('\n', to);
}

/* ---- the spool ---- */

bool answer_may_list(const struct service *s, const struct peer *p, const char *target)
{
	if (p->sees_all)
		return true;
	for (size_t i = 0; i < watched_n(s->watched); i++) {
		const struct watched_item *item = watched_at(s->watched, i);

		if (item->target && !strcmp(item->name, target))
			return watched_may_see(item, p);
	}
	return false;
}

static void write_capture(struct json *j, const struct spool_capture *c)
{
	json_object(j);
	json_key(j, "id");
	json_string(j, c->id);
	json_key(j, "target");
	json_string(j, c->target);
	json_key(j, "trigger");
	json_string(j, c->trigger);
	json_key(j, "reason");
	json_string(j, c->reason);
	json_key(j, "baseline");
	json_string(j, c->baseline);
	json_key(j, "unix_seconds");
	json_double(j, (double)c->unix_ns / 1e9);
	json_key(j, "file_bytes");
	json_uint(j, c->file_bytes);
	json_key(j, "held_bytes");
	json_uint(j, c->held_bytes);
	json_key(j, "pid");
	json_int(j, c->pid);
	json_object_end(j);
}

int answer_captures(const struct service *s, const struct peer *p, const char *target, FILE *to,
                    struct error *err)
{
	cleanup_free struct spool_capture *all = NULL;
	struct json j = json_on(to);
	size_t n = 0;
	int r = s->spool ? spool_list(s->spool, target, MAX_LISTED, &all, &n, err)
	                 : error_set(err, ENOENT, "there is no spool");

	if (r < 0)
		return r;
	json_object(&j);
	json_key(&j, "captures");
	json_array(&j);
	for (size_t i = 0; i < n; i++) {
		if (answer_may_list(s, p, all[i].target))
			write_capture(&j, &all[i]);
	}
	json_array_end(&j);
	json_object_end(&j);
	fputc('\n', to);
	return 0;
}

/* ---- small ones ---- */

int answer_cmdline(const struct watched_item *item, FILE *to, struct error *err)
{
	cleanup_close int dir = proc_open(item->processes[0].pid);
	cleanup_free char *text = NULL;
	struct proc_stat stat;
	size_t len = 0;
	int r = dir < 0 ? dir : proc_read(dir, "cmdline", MAX_CMDLINE, &text, &len);

	if (r < 0)
		return error_sys(err, -r, "cannot read the command line of process %d",
		                 item->processes[0].pid);
	/* read after the directory was opened: another process has another start */
	if (proc_stat_read(dir, &stat) < 0 || stat.start_ticks != item->processes[0].start_ticks)
		return error_set(err, ESRCH, "process %d has ended", item->processes[0].pid);
	fwrite(text, 1, len && !text[len - 1] ? len - 1 : len, to);
	return 0;
}

void answer_index(const struct watched_item *item, FILE *to)
{
	fprintf(to,
	        "memwho: profiles of target %s, by the conventions of Go's net/http/pprof\n\n"
	        "heap     what is held now, and who allocated it; ?seconds=N: what changes\n"
	        "allocs   the same profile\n"
	        "symbol   names of addresses\n"
	        "cmdline  the command line\n\n"
	        "go tool pprof http://HOST/targets/%s/debug/pprof/heap\n",
	        item->name, item->name);
}
