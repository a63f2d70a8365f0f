/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "symbol/fetch.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <elfutils/debuginfod.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/feature.h"
#include "base/log.h"
#include "symbol/debug_file.h"

static const uint64_t budget_ns = FETCH_SECONDS * 1000000000ull;

struct fetch fetch_start(bool off)
{
	const char *urls = getenv("DEBUGINFOD_URLS");

	return (struct fetch){ .off = off || !urls || !*urls || !feature_allowed("debuginfod") };
}

void fetch_stop(struct fetch *f)
{
	/* the library stays loaded: curl, below it, has threads and exit handlers */
	*f = (struct fetch){ .off = true };
}

static bool load(struct fetch *f)
{
	if (f->library)
		return true;
	f->library = dlopen("libdebuginfod.so.1", RTLD_NOW | RTLD_LOCAL);
	if (f->library)
		return true;
	f->off = true;
	log_note(LOG_WARN, "DEBUGINFOD_URLS is set, but libdebuginfod can't be loaded: %s",
	         dlerror());
	return false;
}

/* debuginfod_set_user_data() is younger than the oldest library we meet. */
static _Thread_local uint64_t deadline_ns;

/* libdebuginfod calls this about once a second while it waits. */
static int too_long(debuginfod_client *client, long done, long total)
{
	return clock_now_ns() > deadline_ns;
}

static int ask(struct fetch *f, const uint8_t *id, size_t len)
{
	typeof(&debuginfod_begin) begin = dlsym(f->library, "debuginfod_begin");
	typeof(&debuginfod_end) end = dlsym(f->library, "debuginfod_end");
	typeof(&debuginfod_set_progressfn) set_progress = dlsym(f->library,
	                                                        "debuginfod_set_progressfn");
	typeof(&debuginfod_find_debuginfo) find = dlsym(f->library, "debuginfod_find_debuginfo");
	debuginfod_client *client = begin && end && set_progress && find ? begin() : NULL;
	int fd;

	if (!client)
		return -ENOSYS;
	set_progress(client, too_long);
	fd = find(client, id, len, NULL);
	end(client);
	return fd;
}

int fetch_debug(struct fetch *f, struct elf_file *stripped, const char *path, struct elf_file **ret)
{
	cleanup(elf_file_closep) struct elf_file *debug = NULL;
	uint8_t id[ELF_FILE_BUILD_ID_BYTES];
	size_t len = elf_file_build_id(stripped, id);
	uint64_t start = clock_now_ns();
	struct error err;
	int fd;

	if (f->off || !len || !load(f))
		return -ENOENT;
	deadline_ns = start + budget_ns - f->spent_ns;
	fd = ask(f, id, len);
	f->spent_ns += clock_now_ns() - start;
	if (f->spent_ns >= budget_ns && !f->off) {
		f->off = true;
		log_note(LOG_WARN, "debuginfod took more than %d s; it is not asked any more",
		         FETCH_SECONDS);
	}
	if (fd < 0)
		return -ENOENT;
	if (elf_file_open(fd, path, &debug, &err) < 0 || !debug_file_fits(stripped, debug)) {
		log_note(LOG_WARN, "what debuginfod sent for %s does not fit it", path);
		return -ENOENT;
	}
	*ret = take_ptr(debug);
	return 0;
}
