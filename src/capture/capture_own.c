/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_own.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/path.h"
#include "runtime/runtime.h"
#include "target/image.h"
#include "target/maps.h"
#include "target/target.h"

enum { TRIES = 400, PAUSE_NS = 2000000 };

static int ask_runtimes(struct image *i, struct profile **ret, uint64_t *fingerprint,
                        struct error *err)
{
	int r = 0;

	for (size_t k = 0; r == 0 && registry_runtimes[k]; k++) {
		if (registry_runtimes[k]->heap_profile)
			r = registry_runtimes[k]->heap_profile(i, ret, fingerprint, err);
	}
	return r;
}

static int add_target(struct profile *p, const char *name, pid_t pid, bool is_core,
                      struct error *err)
{
	struct report *to = profile_report(p);
	char text[128];
	int r;

	snprintf(text, sizeof(text), "%s (%s%d)", name, is_core ? "core of " : "", (int)pid);
	r = report_text(to, "target", NULL, text, err);
	return r < 0 ? r : report_int(to, "pid", NULL, pid, "", err);
}

/* One reading: an image keeps what it has read once. */
static int read_once(const struct target *t, struct profile **ret, uint64_t *fingerprint,
                     struct error *err)
{
	cleanup(image_closep) struct image *i = NULL;
	int r = image_open_process(t, NULL, 0, &i, err);

	return r < 0 ? r : ask_runtimes(i, ret, fingerprint, err);
}

/* Counters change when a collection ends: rarely, and all within a moment. */
static int read_settled(const struct target *t, struct profile **ret, struct error *err)
{
	const struct timespec pause = { 0, PAUSE_NS };
	cleanup(profile_freep) struct profile *p = NULL;
	uint64_t last = 0, now = 0;
	int r = read_once(t, &p, &last, err);

	for (unsigned n = 0; r > 0 && n < TRIES; n++) {
		p = profile_free(p);
		r = read_once(t, &p, &now, err);
		if (r <= 0 || now == last) {
			*ret = take_ptr(p);
			return r;
		}
		last = now;
		nanosleep(&pause, NULL);
	}
	if (r <= 0)
		return r;
	r = report_text(profile_report(p), "unsettled", "note",
	                "the counters changed while they were read", err);
	*ret = take_ptr(p);
	return r < 0 ? r : 1;
}

static bool is_c_library(const char *path)
{
	const char *name = path_base(path);

	return !strncmp(name, "libc.so", 7) || !strncmp(name, "libc-", 5) ||
	       !strncmp(name, "libc.musl-", 10) || !strncmp(name, "ld-musl-", 8);
}

static int read_facts(const struct target *t, struct capture_own_facts *to, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read(t, &maps, err);

	for (size_t i = 0; r == 0 && i < maps.n_items; i++)
		to->has_c |= maps.items[i].inode && is_c_library(maps.items[i].name);
	return r;
}

int capture_own_process(pid_t pid, struct profile **ret, struct capture_own_facts *facts,
                        struct error *err)
{
	cleanup(target_closep) struct target *t = NULL;
	cleanup(profile_freep) struct profile *p = NULL;
	int r = target_open(pid, &t, err);

	*facts = (struct capture_own_facts){ 0 };
	if (r < 0)
		return r;
	r = read_settled(t, &p, err);
	if (r < 0)
		return error_context(err, "process %d", (int)pid);
	if (r == 0)
		return 0;
	r = read_facts(t, facts, err);
	if (r == 0)
		r = add_target(p, t->comm, pid, false, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 1;
}

int capture_own_core(const char *path, const char *exe, const char *sysroot, struct profile **ret,
                     struct error *err)
{
	const struct image_options options = { .exe = exe, .sysroot = sysroot };
	cleanup(image_closep) struct image *i = NULL;
	cleanup(profile_freep) struct profile *p = NULL;
	uint64_t unused;
	int r = image_open_core(path, &options, &i, err);

	if (r == 0)
		r = ask_runtimes(i, &p, &unused, err);
	if (r <= 0)
		return r;
	r = add_target(p, image_comm(i), image_pid(i), true, err);
	if (r < 0)
		return r;
	*ret = take_ptr(p);
	return 1;
}
