/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_place.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "alloc/agent_exact.h"
#include "alloc/agent_pages.h"
#include "alloc/agent_still.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "target/maps.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

enum {
	PAGE = 4096,
	RENEWED_MS = 300, /* a memwho that lives writes every 100 ms (engine_agent.c) */
	NAP_MS = 10,
	WIPE_ON_FORK = 18, /* MADV_WIPEONFORK, Linux 4.14 */
	MAP_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
};

#define REACH     (1900ull << 20) /* of a jump, with room for the agent's own size */
#define LEAST_GAP (64ull << 20)
#define LOWEST    0x100000ull
#define HIGHEST   0x7fff00000000ull

/* ---- finding ---- */

static bool is_anonymous(const struct mapping *m, uint64_t start, uint64_t end, unsigned prot)
{
	return m && m->start == start && m->end == end && m->prot == prot && !m->inode &&
	       !m->name[0];
}

/* As it is between mmap and mprotect, and behind it. */
static bool is_half(const struct maps *maps, uint64_t base)
{
	return is_anonymous(maps_find(maps, base), base, base + AGENT_BYTES, MAPS_READ | MAPS_EXEC);
}

static bool is_whole(const struct maps *maps, uint64_t base)
{
	const uint64_t data = base + AGENT_CODE_BYTES;

	return is_anonymous(maps_find(maps, base), base, data, MAPS_READ | MAPS_EXEC) &&
	       is_anonymous(maps_find(maps, data), data, base + AGENT_BYTES,
	                    MAPS_READ | MAPS_WRITE);
}

ssize_t agent_place_read(const struct target *t, uint64_t addr, void *buf, size_t n)
{
	cleanup_close int fd = openat(t->proc_fd, "mem", O_RDONLY | O_CLOEXEC);
	ssize_t r = fd < 0 ? -1 : pread(fd, buf, n, (off_t)addr);

	return r < 0 ? -errno : r;
}

static bool is_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

/* Claimed, or all zeros: its memwho was killed before it wrote anything. */
static bool has_our_code(const struct target *t, uint64_t base)
{
	cleanup_free uint8_t *code = malloc(AGENT_CODE_BYTES);
	uint64_t claim = AGENT_MAGIC;

	if (!code || agent_place_read(t, base, code, AGENT_CODE_BYTES) != AGENT_CODE_BYTES)
		return false;
	return !memcmp(code + AGENT_CLAIM_AT, &claim, sizeof(claim)) ||
	       is_zero(code, AGENT_CODE_BYTES);
}

uint64_t agent_place_find(const struct target *t, uint64_t after, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };

	err->code = 0;
	if (maps_read(t, &maps, err) < 0)
		return 0;
	for (size_t i = 0; i < maps.n_items; i++) {
		const uint64_t base = maps.items[i].start;

		if (base > after && (is_half(&maps, base) || is_whole(&maps, base)) &&
		    has_our_code(t, base))
			return base;
	}
	return 0;
}

/* 0 and no magic: it has none yet. */
static int read_table(const struct target *t, uint64_t base, struct agent_table *ret,
                      struct error *err)
{
	if (agent_place_read(t, base + AGENT_TABLE_AT, ret, sizeof(*ret)) == sizeof(*ret))
		return 0;
	return error_set(err, ESRCH, "the agent in process %d is gone", (int)t->pid);
}

int agent_place_in_use(const struct target *t, struct error *err)
{
	cleanup_free struct agent_table *table = malloc(sizeof(*table));
	uint64_t base = 0;

	if (!table)
		return error_oom(err);
	while ((base = agent_place_find(t, base, err))) {
		int r = read_table(t, base, table, err);

		if (r < 0)
			return r;
		if (table->magic && table->place != AGENT_PLACE_IDLE)
			return 1;
	}
	return err->code;
}

/* ---- making ---- */

/* The middle of the widest gap in reach: the kernel fills gaps from their ends. */
static uint64_t choose(const struct maps *m, struct agent_span near)
{
	const uint64_t low = near.end > REACH + LOWEST ? near.end - REACH : LOWEST;
	const uint64_t high = near.start < HIGHEST - REACH ? near.start + REACH : HIGHEST;
	uint64_t bytes, start = maps_gap(m, low, high, &bytes);

	return bytes < LEAST_GAP ? 0 : (start + bytes / 2) / PAGE * PAGE;
}

static int call(struct inject *in, const char *what, long number, const uint64_t args[6],
                int64_t expected, struct error *err)
{
	int64_t value = -1;
	int r = inject_syscall(in, number, args, &value, err);

	if (r < 0)
		return r;
	if (value == expected)
		return 0;
	if (value < 0 && value > -4096)
		return error_sys(err, (int)-value, "the target's %s for the agent", what);
	return error_set(err, ENOTSUP, "the target's %s for the agent was not done as asked", what);
}

/* A thread that may not read the time stamp counter would be killed by it. */
static int check_time_stamp(struct inject *in, struct error *err)
{
	const uint64_t at = inject_scratch(in), args[6] = { PR_GET_TSC, at };
	int mode = 0;
	int r = call(in, "prctl", SYS_prctl, args, 0, err);

	if (r == 0)
		r = inject_read(in, at, &mode, sizeof(mode), err);
	if (r == 0 && mode != PR_TSC_ENABLE)
		r = error_set(err, ENOTSUP,
		              "the target may not read the time stamp counter, "
		              "which the agent needs");
	return r;
}

static int advise(struct inject *in, uint64_t base, int advice, struct error *err)
{
	const uint64_t args[6] = { base + AGENT_CODE_BYTES, AGENT_DATA_BYTES, advice };

	return call(in, "madvise", SYS_madvise, args, 0, err);
}

static int set_up(struct inject *in, uint64_t base, struct error *err)
{
	const uint64_t protect[6] = { base + AGENT_CODE_BYTES, AGENT_DATA_BYTES,
		                      PROT_READ | PROT_WRITE };
	struct error unused;
	int r = call(in, "mprotect", SYS_mprotect, protect, 0, err);

	/* single pages are touched, all over it; kernels without huge pages say EINVAL */
	if (r == 0)
		advise(in, base, MADV_NOHUGEPAGE, &unused);
	return r < 0 ? r : advise(in, base, WIPE_ON_FORK, err);
}

int agent_place_make(struct inject *in, const struct target *t, struct agent_span near,
                     uint64_t *ret, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	uint64_t args[6] = { 0, AGENT_BYTES, PROT_READ | PROT_EXEC, MAP_FLAGS, -1, 0 };
	int64_t at = 0;
	int r = check_time_stamp(in, err);

	if (r == 0)
		r = maps_read(t, &maps, err);
	if (r < 0)
		return r;
	args[0] = choose(&maps, near);
	if (!args[0])
		return error_set(err, ENOMEM, "no room for the agent near the allocator's code");
	r = inject_syscall(in, SYS_mmap, args, &at, err);
	if (r < 0)
		return r;
	if (at < 0 && at > -4096)
		return error_sys(err, (int)-at, "the target's mmap for the agent");
	/* a kernel that does not know NOREPLACE may have chosen another place */
	if ((uint64_t)at != args[0]) {
		const uint64_t all[6] = { at, AGENT_BYTES };

		call(in, "munmap", SYS_munmap, all, 0, err);
		return error_set(err, EAGAIN, "the place for the agent was taken");
	}
	*ret = at;
	return set_up(in, at, err);
}

static bool is_in_reach(uint64_t base, uint64_t near)
{
	const int64_t far = (int64_t)(base - near);

	return far > -(int64_t)REACH && far < (int64_t)REACH;
}

int agent_place_take(struct inject *in, const struct target *t, uint64_t base,
                     struct agent_span near, struct error *err)
{
	const bool reaches = is_in_reach(base, near.start) && is_in_reach(base, near.end);
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = reaches ? check_time_stamp(in, err) : 0;

	if (r < 0 || !reaches)
		return r;
	r = maps_read(t, &maps, err);
	/* what comes behind mprotect may not have been done: all of it again */
	if (r == 0 && (is_half(&maps, base) || is_whole(&maps, base)))
		r = set_up(in, base, err);
	return r < 0 ? r : 1;
}

/* ---- filling ---- */

/* Is @image what is there? But for the journal, and for which of its stub's entries a function
 * leads to. */
static int is_there(struct inject *in, uint64_t base, const uint8_t *image, struct error *err)
{
	const struct agent_table *wanted = (const void *)(image + AGENT_TABLE_AT);
	cleanup_free uint8_t *code = malloc(AGENT_CODE_BYTES);
	struct agent_table *table;
	int r;

	if (!code)
		return error_oom(err);
	r = inject_read(in, base, code, AGENT_CODE_BYTES, err);
	if (r < 0)
		return r;
	table = (struct agent_table *)(void *)(code + AGENT_TABLE_AT);
	table->place = AGENT_PLACE_IDLE;
	table->exact_at = table->exact_bytes = table->pages_at = 0;
	memset(table->pages, 0, sizeof(table->pages));
	for (unsigned i = 0; i < AGENT_MAX_FUNCTIONS; i++)
		memcpy(table->functions[i].is, wanted->functions[i].is, AGENT_PATCH_BYTES);
	return !memcmp(code, image, AGENT_CODE_BYTES);
}

/* 1, -errno. Where the functions lead to, once it is there: nothing is patched yet. */
static int set_entries(struct inject *in, uint64_t base, const uint8_t *image, size_t n_functions,
                       struct error *err)
{
	const size_t at = AGENT_TABLE_AT + offsetof(struct agent_table, functions);
	int r = inject_write(in, base + at, image + at, n_functions * sizeof(struct agent_function),
	                     err);

	return r < 0 ? r : 1;
}

int agent_place_fill(struct inject *in, uint64_t base, const uint8_t *image, size_t n_functions,
                     struct error *err)
{
	const struct piece {
		size_t at, n;
	} pieces[] = {
		{ AGENT_CLAIM_AT, sizeof(uint64_t) },
		{ 0, AGENT_TABLE_AT },
		{ AGENT_STUBS_AT, n_functions * AGENT_STUB_BYTES },
		/* all but the magic, then the magic: its memwho may be killed in between */
		{ AGENT_TABLE_AT + sizeof(uint64_t),
		  offsetof(struct agent_table, functions) +
		          n_functions * sizeof(struct agent_function) - sizeof(uint64_t) },
		{ AGENT_TABLE_AT, sizeof(uint64_t) },
	};
	uint64_t magic;
	int r = inject_read(in, base + AGENT_TABLE_AT, &magic, sizeof(magic), err);

	if (r < 0)
		return r;
	if (magic) {
		r = is_there(in, base, image, err);
		return r == 1 ? set_entries(in, base, image, n_functions, err) : r;
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(pieces); i++)
		r = inject_write(in, base + pieces[i].at, image + pieces[i].at, pieces[i].n, err);
	return r < 0 ? r : 1;
}

/* All in one call; that asks for more rights than the descriptor that @in has. */
static bool read_at_once(const struct target *t, const struct agent_table *table,
                         uint8_t (*ret)[AGENT_PATCH_BYTES])
{
	const unsigned n = table->n_functions;
	struct iovec from[AGENT_MAX_FUNCTIONS] = { 0 }, to = { ret, n * sizeof(*ret) };

	for (unsigned i = 0; i < n; i++)
		from[i] = (struct iovec){ (void *)(uintptr_t)table->functions[i].patch_at,
			                  AGENT_PATCH_BYTES };
	return process_vm_readv(t->pid, &to, 1, from, n, 0) == (ssize_t)to.iov_len;
}

int agent_place_check(struct inject *in, const struct target *t, const struct agent_table *table,
                      unsigned *which, struct error *err)
{
	uint8_t now[AGENT_MAX_FUNCTIONS][AGENT_PATCH_BYTES];
	const bool have = read_at_once(t, table, now);

	for (unsigned i = 0; i < table->n_functions; i++) {
		int r = have ? 0
		             : inject_read(in, table->functions[i].patch_at, now[i],
		                           AGENT_PATCH_BYTES, err);

		if (r < 0)
			return r;
		*which = i;
		if (!memcmp(now[i], table->functions[i].is, AGENT_PATCH_BYTES))
			continue;
		/* by its number, another process or program may have been read */
		if (target_has_ended(t) || target_has_execed(t))
			return error_set(err, ESRCH, "process %d has gone", (int)t->pid);
		return 0;
	}
	return 1;
}

/* ---- the way out ---- */

/* The table was written by a memwho, but it lies in the target's memory: only code of
 * files is ever written to. */
static bool is_sane(const struct target *t, const struct agent_table *table)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	if (table->n_functions > AGENT_MAX_FUNCTIONS || maps_read_raw(t, &maps, &unused) < 0)
		return false;
	for (unsigned i = 0; i < table->n_functions; i++) {
		const struct agent_function *f = &table->functions[i];
		const struct mapping *m = maps_find(&maps, f->patch_at);

		if (!m || !(m->prot & MAPS_EXEC) ||
		    !(m->inode || agent_pages_has(&maps, table, f->patch_at)) ||
		    f->patch_at + AGENT_PATCH_BYTES > m->end || f->is[0] != 0xe9)
			return false;
	}
	return true;
}

/* What has to be done before it can be used again. */
static int settle(struct inject *in, const struct target *t, uint64_t base,
                  const struct agent_table *table, struct error *err)
{
	struct error why;
	int r = 0, pages = 0;

	if (!is_sane(t, table))
		return error_set(err, EBADMSG,
		                 "the agent in process %d is damaged; it is left "
		                 "as it is",
		                 (int)t->pid);
	if (table->place == AGENT_PLACE_PATCHED)
		r = agent_still_undo(in, t, base, table, err);
	if (r == 0)
		pages = agent_pages_drop(in, t, base, table, &why);
	if (r == 0)
		r = agent_still_wait(in, t, base, table, err);
	if (r == 0)
		r = agent_exact_drop(in, t, base, table, err);
	if (r == 0)
		r = advise(in, base, MADV_DONTNEED, err);
	if (r == 0 && pages < 0) {
		*err = why;
		return pages;
	}
	return r < 0 ? r : agent_still_note(in, base, AGENT_PLACE_IDLE, err);
}

int agent_place_empty(struct inject *in, const struct target *t, uint64_t base, struct error *err)
{
	cleanup_free struct agent_table *table = malloc(sizeof(*table));
	int r;

	if (!table)
		return error_oom(err);
	r = read_table(t, base, table, err);
	if (r < 0)
		return r;
	r = table->magic && table->place != AGENT_PLACE_IDLE ? settle(in, t, base, table, err) : 0;
	/* by the wait; a patch cannot be in anybody's way to be taken back */
	return r == -EAGAIN ? 0 : r < 0 ? r : 1;
}

int agent_place_empty_all(struct inject *in, const struct target *t, struct error *err)
{
	int r = agent_place_in_use(t, err), n = r;
	uint64_t base = 0;

	while (r >= 0 && (base = agent_place_find(t, base, err))) {
		r = agent_place_empty(in, t, base, err);
		if (r == 0)
			return error_set(err, EBUSY,
			                 "a thread of process %d does not leave the agent's code; "
			                 "nothing else is left of it",
			                 (int)t->pid);
	}
	return r < 0 ? r : err->code ? err->code : n;
}

/* All that is ever called, with addresses that are as good as the true ones to a filter. */
static const struct inject_call calls[] = {
	{ "prctl", SYS_prctl, { PR_GET_TSC, LOWEST } },
	{ "mmap", SYS_mmap, { LOWEST, AGENT_BYTES, PROT_READ | PROT_EXEC, MAP_FLAGS, -1, 0 } },
	{ "mprotect", SYS_mprotect, { LOWEST, AGENT_DATA_BYTES, PROT_READ | PROT_WRITE } },
	{ "madvise", SYS_madvise, { LOWEST, AGENT_DATA_BYTES, MADV_NOHUGEPAGE } },
	{ "madvise", SYS_madvise, { LOWEST, AGENT_DATA_BYTES, WIPE_ON_FORK } },
	{ "madvise", SYS_madvise, { LOWEST, AGENT_DATA_BYTES, MADV_DONTNEED } },
	{ "munmap", SYS_munmap, { LOWEST, AGENT_BYTES } },
};

/* Before Linux 6.9 our lock is not seen from where another proc is mounted: does somebody renew the
 * deadline? One
 * that has passed is nobody's. */
static bool is_renewed(const struct target *t, uint64_t base, struct agent_control c)
{
	const uint64_t before = c.deadline;

#if defined(__x86_64__)
	if (before < __builtin_ia32_rdtsc())
		return false;
#endif
	/* by us, who cannot do it meanwhile: the memory is that of a process that we record
	 * (a vfork child) */
	if (c.reader_pid == (agent_u32)getpid())
		return true;
	for (unsigned i = 0; i < RENEWED_MS / NAP_MS && c.deadline == before; i++) {
		nanosleep(&(struct timespec){ 0, NAP_MS * 1000000 }, NULL);
		if (agent_place_read(t, base + AGENT_CODE_BYTES, &c, sizeof(c)) != sizeof(c))
			return false;
	}
	return c.deadline != before && c.state == AGENT_ON;
}

/* Is there an agent that is on? By whom, unless @only_renewed and its reader is gone. */
static int refuse_recorded(const struct target *t, bool only_renewed, struct error *err)
{
	struct agent_control c;
	struct error unused;
	uint64_t base = 0;

	while ((base = agent_place_find(t, base, &unused))) {
		if (agent_place_read(t, base + AGENT_CODE_BYTES, &c, sizeof(c)) != sizeof(c) ||
		    c.state != AGENT_ON || !c.reader_pid ||
		    (only_renewed && !is_renewed(t, base, c)))
			continue;
		if (c.reader_pid == (agent_u32)getpid())
			return error_set(err, EBUSY,
			                 "process %d has its memory in common with one that is "
			                 "recorded (vfork)",
			                 (int)t->pid);
		return error_set(err, EBUSY, "process %d is recorded by another memwho, process %u",
		                 (int)t->pid, c.reader_pid);
	}
	return 0;
}

/* How many. */
static size_t list_calls(bool pages, struct inject_call ret[INJECT_MAX_CALLS])
{
	size_t n = 0;
	const struct inject_call *more = agent_pages_calls(&n);

	memcpy(ret, calls, sizeof(calls));
	if (!pages)
		return ARRAY_SIZE(calls);
	memcpy(ret + ARRAY_SIZE(calls), more, n * sizeof(*more));
	return ARRAY_SIZE(calls) + n;
}

int agent_place_open(const struct target *t, bool pages, struct inject **ret, struct error *err)
{
	struct inject_call all[INJECT_MAX_CALLS];
	const struct inject_options options = { .calls = all, .n_calls = list_calls(pages, all) };
	cleanup(inject_closep) struct inject *in = NULL;
	int r = inject_open(t, NULL, &options, &in, err);

	if (r == -EBUSY)
		refuse_recorded(t, false, err);
	if (r == 0)
		r = refuse_recorded(t, true, err);
	if (r == 0)
		*ret = take_ptr(in);
	return r;
}

int agent_place_clean(const struct target *t, struct error *err)
{
	cleanup(inject_closep) struct inject *in = NULL;
	int r = agent_place_in_use(t, err);

	if (r <= 0)
		return r;
	r = agent_place_open(t, false, &in, err);
	return r < 0 ? r : agent_place_empty_all(in, t, err);
}
