/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "capture/capture_je.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "capture/capture_je_profile.h"
#include "runtime/jemalloc/jemalloc.h"
#include "runtime/jemalloc/jemalloc_opt.h"
#include "target/maps.h"
#include "target/threads.h"

#define HEAP CAPTURE_JE_HEAP

enum { TIMEOUT_MS = 30000, DUMP_MAX = 1 << 30, MAX_LG_SAMPLE = 60 };

struct capture_je *capture_je_close(struct capture_je *c)
{
	if (!c)
		return NULL;
	inject_close(c->in);
	jemalloc_control_clear(&c->control);
	heaps_close(&c->heaps);
	free(c);
	return NULL;
}

void capture_je_closep(struct capture_je **c)
{
	capture_je_close(*c);
}

/* What memwho calls, and what jemalloc may in those calls: for seccomp filters. */
static int open_inject(struct capture_je *c, unsigned timeout_ms, struct error *err)
{
	static const struct inject_call calls[] = {
		{ "memfd_create", SYS_memfd_create, { 0x10000, MFD_CLOEXEC } },
		{ "close", SYS_close, { 3 } },
		{ "openat", SYS_openat, { (uint64_t)AT_FDCWD, 0x10000, O_RDONLY } },
#ifdef SYS_creat /* arm64 has neither */
		{ "open", SYS_open, { 0x10000, O_CREAT | O_TRUNC | O_WRONLY, 0644 } },
		{ "creat", SYS_creat, { 0x10000, 0644 } },
#endif
		{ "read", SYS_read, { 3, 0x10000, 4096 } },
		{ "write", SYS_write, { 3, 0x10000, 4096 } },
		{ "getpid", SYS_getpid, { 0 } },
		{ "madvise", SYS_madvise, { 0x10000, 4096, MADV_DONTNEED } },
		{ "madvise", SYS_madvise, { 0x10000, 4096, MADV_FREE } },
		{ "munmap", SYS_munmap, { 0x10000, 4096 } },
		{ "futex", SYS_futex, { 0x10000, 128, 2 } },
	};
	const struct inject_options o = { .timeout_ms = timeout_ms,
		                          .calls = calls,
		                          .n_calls = ARRAY_SIZE(calls) };

	return inject_open(c->heaps.target, c->heaps.space, &o, &c->in, err);
}

int capture_je_look(pid_t pid, struct capture_je **ret, struct error *err)
{
	static const struct symbol_options options = { .no_debuginfod = true };
	cleanup(capture_je_closep) struct capture_je *c = calloc(1, sizeof(*c));
	int r = c ? target_open(pid, &c->heaps.target, err) : error_oom(err);

	if (r == 0)
		r = symbol_pool_new(&options, &c->heaps.pool, err);
	if (r == 0)
		r = symbol_space_new(c->heaps.pool, c->heaps.target, &c->heaps.space, err);
	if (r == 0)
		r = symbol_space_refresh(c->heaps.space, c->heaps.target, err);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

int capture_je_open(pid_t pid, unsigned timeout_ms, struct capture_je **ret, struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	int r = capture_je_look(pid, &c, err);

	if (r == 0)
		r = jemalloc_control_find(c->heaps.target, c->heaps.space, &c->control, err);
	if (r == 0)
		r = open_inject(c, timeout_ms ? timeout_ms : TIMEOUT_MS, err);
	if (r < 0)
		return r;
	c->control.in = c->in;
	inject_avoid(c->in, c->control.ranges, c->control.n_ranges);
	if (!c->control.symbol[0])
		r = jemalloc_control_prove(&c->control, err);
	if (r < 0)
		return r;
	*ret = take_ptr(c);
	return 0;
}

/* ---- the profiler ---- */

static int get_bool(struct capture_je *c, const char *name, bool *ret, struct error *err)
{
	uint8_t v = 0;
	int r = jemalloc_control_get(&c->control, name, &v, sizeof(v), err);

	*ret = v != 0;
	return r;
}

/* Names that a jemalloc without a profiler has not, or refuses. */
static int get_profiler(struct capture_je *c, struct capture_je_state *to, struct error *err)
{
	int r = get_bool(c, "config.prof", &to->is_built, err);

	if (r == 0 && to->is_built)
		r = get_bool(c, "opt.prof", &to->is_on, err);
	if (r < 0 || !to->is_on)
		return r;
	r = get_bool(c, "prof.active", &to->is_active, err);
	if (r == 0)
		r = get_bool(c, "opt.prof_accum", &to->accumulates, err);
	if (r == 0)
		r = jemalloc_control_get(&c->control, "prof.lg_sample", &to->lg_sample,
		                         sizeof(to->lg_sample), err);
	return r;
}

int capture_je_state(struct capture_je *c, struct capture_je_state *ret, struct error *err)
{
	char version[JEMALLOC_CONTROL_TEXT];
	struct capture_je_state s = { 0 };
	uint32_t n = 0;
	int r = jemalloc_control_text(&c->control, "version", version, err);

	if (r == 0)
		r = get_profiler(c, &s, err);
	if (r == 0)
		r = jemalloc_control_get(&c->control, "arenas.dirty_decay_ms", &s.dirty_decay_ms,
		                         sizeof(s.dirty_decay_ms), err);
	if (r == 0)
		r = jemalloc_control_get(&c->control, "arenas.muzzy_decay_ms", &s.muzzy_decay_ms,
		                         sizeof(s.muzzy_decay_ms), err);
	if (r == 0)
		r = jemalloc_control_get(&c->control, "arenas.narenas", &n, sizeof(n), err);
	if (r < 0)
		return r;
	s.n_arenas = n;
	snprintf(s.version, sizeof(s.version), "%.63s", version);
	*ret = s;
	return 0;
}

/* A recorder finds functions by their names, so it is no way out where there are none. */
static int hint_without(const struct capture_je *c, bool is_built, struct error *err)
{
	const char *start = is_built
	                            ? "MALLOC_CONF=prof:true,prof_active:false at its start makes "
	                              "it possible"
	                            : "built with --enable-prof (Rust: tikv-jemallocator's feature "
	                              "\"profiling\") it has one";
	const int pid = (int)c->heaps.target->pid;

	if (c->control.symbol[0])
		return error_hint(err, "memwho alloc %d records without it; %s", pid, start);
	return error_hint(err,
	                  "%s; memwho alloc %d records without it where the program keeps its "
	                  "symbols (.symtab); memwho je %d stats has size classes",
	                  start, pid, pid);
}

/* It must be there and be meant to be used, else a switch would do nothing. *active: is it on? */
static int need_profiler(struct capture_je *c, bool *active, struct error *err)
{
	struct capture_je_state s = { 0 };
	const pid_t pid = c->heaps.target->pid;
	int r = get_profiler(c, &s, err);

	*active = s.is_active;
	if (r < 0 || s.is_on)
		return r;
	if (s.is_built)
		error_set(err, ENOTSUP,
		          "the profiler of process %d (%s) can't be switched on: it was started "
		          "without opt.prof",
		          (int)pid, c->heaps.target->comm);
	else
		error_set(
			err, ENOTSUP,
			"jemalloc of process %d (%s) was built without its profiler (config.prof)",
			(int)pid, c->heaps.target->comm);
	return hint_without(c, s.is_built, err);
}

int capture_je_activate(struct capture_je *c, bool on, bool *was, struct error *err)
{
	const uint8_t value = on;
	bool now = !on;
	int r = need_profiler(c, was, err);

	if (r == 0)
		r = jemalloc_control_set(&c->control, "prof.active", &value, 1, err);
	if (r == 0)
		r = get_bool(c, "prof.active", &now, err);
	if (r == 0 && now != on)
		r = error_set(err, EPROTO, "jemalloc said yes, but prof.active is what it was");
	return r;
}

int capture_je_reset(struct capture_je *c, int lg_sample, struct error *err)
{
	const uint64_t lg = (uint64_t)lg_sample;
	bool active;
	int r = lg_sample <= MAX_LG_SAMPLE
	                ? need_profiler(c, &active, err)
	                : error_set(err, EINVAL, "one sample in 2^%d bytes", lg_sample);

	if (r < 0)
		return r;
	return jemalloc_control_set(&c->control, "prof.reset", &lg, lg_sample < 0 ? 0 : sizeof(lg),
	                            err);
}

/* ---- its profile ---- */

/* A file without a name in the process, which closes by itself when it execs. */
static int make_memfd(struct capture_je *c, int *ret, struct error *err)
{
	static const char name[] = "memwho";
	const uint64_t at = inject_scratch(c->in);
	const uint64_t args[6] = { at, MFD_CLOEXEC };
	int64_t fd = 0;
	int r = inject_write(c->in, at, name, sizeof(name), err);

	if (r == 0)
		r = inject_syscall(c->in, SYS_memfd_create, args, &fd, err);
	if (r == 0 && fd < 0)
		r = error_sys(err, (int)-fd, "a file in memory of process %d",
		              (int)c->heaps.target->pid);
	if (r == 0)
		*ret = (int)fd;
	return r;
}

static void close_memfd(struct capture_je *c, int fd)
{
	const uint64_t args[6] = { (uint64_t)fd };
	struct error unused;
	int64_t result;

	inject_syscall(c->in, SYS_close, args, &result, &unused);
}

static int read_memfd(struct capture_je *c, int there, char **ret, size_t *ret_n, struct error *err)
{
	cleanup_free char *text = NULL;
	cleanup_close int fd = -1;
	struct stat st;
	char path[32];
	size_t n = 0;

	snprintf(path, sizeof(path), "fd/%d", there);
	fd = openat(c->heaps.target->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_sys(err, errno, "the dump of process %d", (int)c->heaps.target->pid);
	if (st.st_size <= 0 || st.st_size > DUMP_MAX)
		return error_set(err, EBADMSG, "jemalloc's dump has %lld bytes",
		                 (long long)st.st_size);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return error_oom(err);
	while (n < (size_t)st.st_size) {
		ssize_t got = pread(fd, text + n, (size_t)st.st_size - n, (off_t)n);

		if (got <= 0)
			return error_sys(err, got < 0 ? errno : EIO, "the dump of process %d",
			                 (int)c->heaps.target->pid);
		n += (size_t)got;
	}
	text[n] = '\0';
	*ret = take_ptr(text);
	*ret_n = n;
	return 0;
}

static int dump(struct capture_je *c, char **ret, size_t *ret_n, struct error *err)
{
	char path[64];
	int fd = -1, r = make_memfd(c, &fd, err);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = jemalloc_control_set_text(&c->control, "prof.dump", path, err);
	if (r == 0)
		r = read_memfd(c, fd, ret, ret_n, err);
	close_memfd(c, fd);
	return r;
}

/* The library that is jemalloc; NULL: it is a part of the program. */
static const char *own_library(const struct capture_je *c)
{
	const struct symbol_mapping *m = symbol_space_find(c->heaps.space, c->control.mallctl);
	const char *path = m && m->module ? symbol_module_path(m->module) : NULL;

	return path && strcmp(path, c->heaps.target->exe) != 0 ? path : NULL;
}

int capture_je_profile(struct capture_je *c, struct profile **ret, struct error *err)
{
	const struct capture_je_profile_own own = { own_library(c), c->control.ranges,
		                                    c->control.n_ranges };
	cleanup_free char *text = NULL;
	size_t n = 0;
	bool active;
	int r = need_profiler(c, &active, err);

	if (r == 0)
		r = dump(c, &text, &n, err);
	if (r == 0) /* what was loaded meanwhile */
		r = symbol_space_refresh(c->heaps.space, c->heaps.target, err);
	return r < 0 ? r
	             : capture_je_profile_make(text, n, c->heaps.target, c->heaps.space, &own, ret,
	                                       err);
}

bool capture_je_is_nameless(pid_t pid)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	struct runtime_view view;
	struct error ignored;

	if (capture_je_look(pid, &c, &ignored) < 0)
		return false;
	view = (struct runtime_view){ c->heaps.target, c->heaps.space };
	return jemalloc_runtime.detect(&view, &ignored) == 0 &&
	       jemalloc_opt_is_there(c->heaps.space);
}

int capture_je_has_profiler(pid_t pid, struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	bool is_on = false;
	int r = capture_je_look(pid, &c, err);

	if (r == 0)
		r = jemalloc_opt_read(c->heaps.target, c->heaps.space, "opt.prof", &is_on, err);
	return r > 0 ? is_on : r;
}

int capture_je_own(pid_t pid, struct profile **ret, struct error *err)
{
	cleanup(capture_je_closep) struct capture_je *c = NULL;
	cleanup(profile_freep) struct profile *p = NULL;
	struct capture_je_state s = { 0 };
	int r = capture_je_has_profiler(pid, err);

	if (r <= 0)
		return r;
	r = capture_je_open(pid, 0, &c, err);
	if (r == 0)
		r = get_profiler(c, &s, err);
	if (r == 0)
		r = capture_je_profile(c, &p, err);
	if (r < 0)
		return r;
	if (!s.is_active && !profile_n_samples(p))
		return 0;
	*ret = take_ptr(p);
	return 1;
}

/* ---- free pages ---- */

void capture_je_purge_clear(struct capture_je_purge *p)
{
	heaps_clear(&p->before);
	heaps_clear(&p->after);
}

int capture_je_purge(struct capture_je *c, struct capture_je_purge *ret, struct error *err)
{
	const struct heaps_heap *heap;
	int r = heaps_read(&c->heaps, false, &ret->before, err);

	if (r < 0)
		return r;
	heap = heaps_find(&ret->before, HEAP);
	ret->predicted_bytes = heap ? heap->could_trim_bytes : -1;
	r = jemalloc_control_set(&c->control, "arena." CAPTURE_JE_ALL_ARENAS ".purge", NULL, 0,
	                         err);
	if (r == 0)
		r = heaps_read(&c->heaps, false, &ret->after, err);
	if (r < 0)
		return r;
	heaps_note_missing(&ret->before, &ret->after);
	return 0;
}

int capture_je_stats(struct capture_je *c, struct jemalloc_stats_list *ret, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	cleanup(threads_clear) struct threads threads = { 0 };
	const struct runtime_view view = { c->heaps.target, c->heaps.space };
	const struct regions_input in = { .maps = &maps, .threads = &threads };
	int r = maps_read(c->heaps.target, &maps, err);

	if (r == 0)
		r = threads_read(c->heaps.target, &maps, &threads, err);
	if (r == 0)
		r = jemalloc_stats_read(&view, &in, ret, err);
	if (r == 0 && !ret->n) {
		error_set(err, ENOTSUP, "process %d (%s): no jemalloc was found in it",
		          (int)c->heaps.target->pid, c->heaps.target->comm);
		error_hint(err, "memwho %d shows its allocators", (int)c->heaps.target->pid);
		r = err->code;
	}
	return r;
}
