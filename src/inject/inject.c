/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/inject.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/steps.h"
#include "inject/all_out.h"
#include "inject/filters.h"
#include "inject/transaction.h"
#include "target/permission.h"
#include "target/proc.h"

enum {
	TIMEOUT_MS = 3000,
	OUT_MS = 10000,   /* for a thread to leave a stub */
	LEAST_CAVE = 320, /* two mmap calls and the way back */
	TAKE_OVER_MS = 2000,
	MXCSR_DEFAULT = 0x1f80,
	AREA_CALLS = 3,
};

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* ---- opening ---- */

struct inject *inject_close(struct inject *in)
{
	if (!in)
		return NULL;
	/* whoever was asked to stop must not stop for good when we are gone: the
	 * kernel lets them go, but an interrupted call would not be repaired */
	for (unsigned i = 0; i < 1000 && !held_settle(&in->limbo); i++)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	safe_point_close(in->safe);
	if (in->mem_fd >= 0)
		close(in->mem_fd);
	lock_give(&in->lock);
	free(in);
	return NULL;
}

void inject_closep(struct inject **in)
{
	inject_close(*in);
}

static int open_memory(struct inject *in, struct error *err)
{
	in->mem_fd = openat(in->target->proc_fd, "mem", O_RDWR | O_CLOEXEC);
	if (in->mem_fd >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return permission_explain(in->target->pid, in->target->proc_fd, PERMISSION_ATTACH,
		                          errno, err);
	return error_sys(err, errno, "memory of process %d", (int)in->target->pid);
}

bool inject_has_shadow_stack(const char *status)
{
	const char *line = proc_status_line(status, "x86_Thread_features");

	return line && strncmp(line, "shstk", 5) == 0;
}

/* Our stub calls and jumps as a shadow stack would not expect; not tried. */
static int refuse_shadow_stack(const struct target *t, struct error *err)
{
	cleanup_free char *status = NULL;

	if (target_proc_file(t, "status", 1 << 16, &status, NULL, err) < 0)
		return err->code;
	if (inject_has_shadow_stack(status))
		return error_set(err, ENOTSUP, "process %d runs with a shadow stack", (int)t->pid);
	return 0;
}

static int begin(const struct target *t, const struct inject_options *o, struct inject **ret,
                 struct error *err)
{
	cleanup(inject_closep) struct inject *in = calloc(1, sizeof(*in));
	int r;

	if (!in)
		return error_oom(err);
	in->target = t;
	in->mem_fd = -1;
	in->lock = LOCK_NONE;
	in->timeout_ms = o && o->timeout_ms ? o->timeout_ms : TIMEOUT_MS;
	in->prefer_running = o && o->prefer_running;
#ifndef __x86_64__
	return error_set(err, ENOTSUP, "calls into a process are for x86-64 only, so far");
#endif
	r = refuse_shadow_stack(t, err);
	if (r == 0)
		r = lock_take(t, &in->lock, err);
	if (r == 0)
		r = open_memory(in, err);
	if (r < 0)
		return r;
	*ret = take_ptr(in);
	return 0;
}

static int find_places(struct inject *in, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read(in->target, &maps, err);

	if (r < 0)
		return r;
	in->area = area_find(&maps);
	return area_find_cave(in->target, &maps, LEAST_CAVE, &in->cave, err);
}

/* ---- making the area ---- */

static bool area_is_made(struct inject *in)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	return maps_read(in->target, &maps, &unused) == 0 && area_is_at(&maps, in->area);
}

static uint64_t random_number(void)
{
	uint64_t v = clock_now_ns();

	if (getrandom(&v, sizeof(v), GRND_NONBLOCK) < 0)
		v ^= (uint64_t)getpid() << 20;
	return v;
}

/* Two make an area at @at, the third takes it away. */
static void area_calls(uint64_t at, struct stub_call calls[AREA_CALLS])
{
	const unsigned flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;

	calls[0] = (struct stub_call){
		SYS_mmap, { at, JOURNAL_CODE_BYTES, PROT_READ | PROT_EXEC, flags, -1, 0 }
	};
	calls[1] = (struct stub_call){ SYS_mmap,
		                       { at + JOURNAL_CODE_BYTES,
		                         JOURNAL_DATA_BYTES + JOURNAL_STACK_BYTES,
		                         PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, -1, 0 } };
	calls[2] = (struct stub_call){ SYS_munmap, { at, JOURNAL_AREA_BYTES } };
}

static int write_first_journal(struct inject *in, struct error *err)
{
	in->journal = (struct journal){ .magic = JOURNAL_MAGIC };
	return transaction_write_journal(in, err);
}

/* Where only the first of the two mappings was made. */
static bool half_is_gone(struct inject *in)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	return maps_read(in->target, &maps, &unused) == 0 && !maps_find(&maps, in->area);
}

static int no_area(struct inject *in, struct error *err)
{
	const struct stub_call unmap = { SYS_munmap, { in->area, JOURNAL_CODE_BYTES } };
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	if (maps_read(in->target, &maps, &unused) == 0 && area_is_half(&maps, in->area))
		transaction_raw(in, &unmap, 1, half_is_gone, &unused);
	error_set(
		err, ENOMEM,
		"process %d may map no more memory: its limit of address space (RLIMIT_AS) may be "
		"reached",
		(int)in->target->pid);
	return error_hint(err, "prlimit --as --pid %d shows it", (int)in->target->pid);
}

static int make_area(struct inject *in, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct stub_call calls[AREA_CALLS];
	uint64_t at;
	int r = maps_read(in->target, &maps, err);

	if (r < 0)
		return r;
	at = area_choose(&maps, random_number());
	if (!at)
		return error_set(err, ENOMEM, "process %d has no free address range",
		                 (int)in->target->pid);
	area_calls(at, calls);
	in->area = at;
	r = transaction_raw(in, calls, 2, area_is_made, err);
	if (r == 0)
		return write_first_journal(in, err);
	if (r == -ECANCELED)
		r = no_area(in, err);
	in->area = 0;
	if (r == -EAGAIN || r == -EBUSY || r == -ENOMEM)
		return r;
	return error_context(err, "an area in process %d", (int)in->target->pid);
}

/* ---- taking over what another memwho has left ---- */

static bool is_over(struct inject *in)
{
	const uint64_t end = in->area + JOURNAL_CODE_BYTES;
	struct error unused;

	if (transaction_read_journal(in, &unused) < 0)
		return false;
	if (!in->journal.tid || in->journal.state == JOURNAL_DONE)
		return true;
	if (in->journal.state != JOURNAL_IDLE)
		return held_state(in->target, in->journal.tid) == 'X';
	/* committed and not begun, or never committed: who is not in it never will be */
	return held_is_out_of(in->target, &in->limbo, in->journal.tid, in->area, end) == 1;
}

static int take_over(struct inject *in, struct error *err)
{
	const uint64_t until = clock_now_ns() + TAKE_OVER_MS * 1000000ull;
	uint64_t magic;
	int r = inject_read(in, in->area + JOURNAL_CODE_BYTES, &magic, sizeof(magic), err);

	if (r < 0)
		return r;
	if (!magic) /* mapped, and its memwho was killed before it wrote here */
		return write_first_journal(in, err);
	r = transaction_read_journal(in, err);
	while (r == 0 && !is_over(in)) {
		if (clock_now_ns() > until)
			return error_set(err, EBUSY,
			                 "a call that an earlier memwho began in thread %d of "
			                 "process %d is still under way",
			                 (int)in->journal.tid, (int)in->target->pid);
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	}
	if (r == 0 && in->journal.tid) {
		in->journal.tid = 0;
		r = transaction_write_journal(in, err);
	}
	return r;
}

/* ---- filters ---- */

/* Before the first call; @o may be NULL. */
static int ask_filters(struct inject *in, const struct inject_options *o, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct filters_call calls[AREA_CALLS + INJECT_MAX_CALLS];
	struct stub_call area[AREA_CALLS];
	uint64_t at;
	size_t n = 0;
	int r = maps_read(in->target, &maps, err);

	if (r < 0)
		return r;
	at = area_choose(&maps, random_number());
	area_calls(at, area);
	for (; n < AREA_CALLS; n++) {
		calls[n] = (struct filters_call){ n < 2 ? "mmap" : "munmap", area[n].function };
		memcpy(calls[n].args, area[n].args, sizeof(calls[n].args));
	}
	for (size_t i = 0; o && i < o->n_calls && i < INJECT_MAX_CALLS; i++, n++) {
		calls[n] = (struct filters_call){ o->calls[i].name, (uint64_t)o->calls[i].number };
		memcpy(calls[n].args, o->calls[i].args, sizeof(calls[n].args));
	}
	for (size_t i = 0; i < n; i++)
		calls[i].pc = at;
	return filters_ask_all(in->target, &in->limbo, calls, n, err);
}

int inject_open(const struct target *t, struct symbol_space *space, const struct inject_options *o,
                struct inject **ret, struct error *err)
{
	cleanup(inject_closep) struct inject *in = NULL;
	int r = begin(t, o, &in, err);

	if (r < 0)
		return r;
	in->space = space;
	r = transaction_refuse_traced(t, err);
	if (r == 0)
		r = ask_filters(in, o, err);
	if (r == 0)
		r = find_places(in, err);
	if (r == 0)
		r = in->area ? take_over(in, err) : make_area(in, err);
	if (r < 0)
		return r;
	*ret = take_ptr(in);
	return 0;
}

/* ---- calls ---- */

/* @r: what pread or pwrite returned. Nothing is transferred once the address space is gone
 * (mem_rw(), fs/proc/base.c), which is before the process has ended, or after it exec'd. */
static int memory_failed(const struct inject *in, ssize_t r, uint64_t addr, struct error *err)
{
	const int number = r < 0 ? errno : EIO;

	if (target_has_ended(in->target))
		return error_set(err, ESRCH, "process %d has ended", (int)in->target->pid);
	if (r == 0)
		return error_set(err, ESRCH, "process %d has ended, or runs another program",
		                 (int)in->target->pid);
	return error_sys(err, number, "memory of process %d at 0x%" PRIx64, (int)in->target->pid,
	                 addr);
}

int inject_read(struct inject *in, uint64_t addr, void *bytes, size_t n, struct error *err)
{
	ssize_t r = pread(in->mem_fd, bytes, n, (off_t)addr);

	return r == (ssize_t)n ? 0 : memory_failed(in, r, addr, err);
}

int inject_write(struct inject *in, uint64_t addr, const void *bytes, size_t n, struct error *err)
{
	ssize_t r;

	steps_before("write");
	r = pwrite(in->mem_fd, bytes, n, (off_t)addr);
	return r == (ssize_t)n ? 0 : memory_failed(in, r, addr, err);
}

void inject_only(struct inject *in, pid_t tid)
{
	in->only = tid;
}

void inject_set_timeout(struct inject *in, unsigned ms)
{
	in->timeout_ms = ms;
}

uint64_t inject_scratch(const struct inject *in)
{
	return in->area + JOURNAL_CODE_BYTES + JOURNAL_SCRATCH_AT;
}

uint64_t inject_scratch_bytes(const struct inject *in)
{
	return JOURNAL_SCRATCH_BYTES;
}

void inject_note_still(struct inject *in, uint64_t ns)
{
	if (ns > in->stats.longest_still_ns)
		in->stats.longest_still_ns = ns;
}

const struct inject_stats *inject_stats_of(const struct inject *in)
{
	((struct inject *)in)->stats.limbo = in->limbo.n_ever;
	return &in->stats;
}

int inject_syscall(struct inject *in, long number, const uint64_t args[6], int64_t *ret,
                   struct error *err)
{
	struct stub_call call = { .function = number };
	struct stub stub;
	struct held h;
	uint64_t slot;
	int r = transaction_begin(in, false, &h, &slot, err);

	if (r < 0)
		return r;
	memcpy(call.args, args, sizeof(call.args));
	stub_syscall(&stub, in->area, &call, &h.back);
	r = transaction_run(in, &h, slot, &stub, err);
	if (r == 0)
		*ret = (int64_t)in->journal.result;
	return r;
}

/* All but the faults that the call itself may raise: blocked, those would end
 * the process without its handler. */
static uint64_t signals_to_block(void)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS };
	uint64_t mask = ~0ull;

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		mask &= ~(1ull << (faults[i] - 1));
	return mask;
}

static int open_safe_point(struct inject *in, uint64_t function, struct error *err)
{
	if (!in->space)
		return error_set(err, EINVAL, "a call needs the target's modules");
	if (in->safe && in->safe_function == function)
		return 0;
	in->safe = safe_point_close(in->safe);
	in->safe_function = function;
	return safe_point_open(in->target, in->space, function, &in->avoid, &in->safe, err);
}

void inject_avoid(struct inject *in, const struct inject_range *ranges, size_t n)
{
	in->avoid = (struct safe_point_avoid){ ranges, n };
	in->safe = safe_point_close(in->safe);
}

static void for_functions(struct inject *in)
{
	in->journal.new_mask = signals_to_block();
	in->journal.mxcsr = MXCSR_DEFAULT;
}

int inject_function(struct inject *in, uint64_t function, uint64_t errno_location,
                    const uint64_t args[6], uint64_t *ret, struct error *err)
{
	struct stub_call call = { .function = function };
	struct stub stub;
	struct held h;
	uint64_t slot;
	int r = open_safe_point(in, function, err);

	if (r == 0)
		r = transaction_begin(in, true, &h, &slot, err);
	if (r < 0)
		return r;
	for_functions(in);
	memcpy(call.args, args, sizeof(call.args));
	stub_function(&stub, in->area, &call, errno_location, &h.back);
	r = transaction_run(in, &h, slot, &stub, err);
	if (r == 0)
		*ret = in->journal.result;
	return r;
}

int inject_functions(struct inject *in, const struct inject_table *table, struct error *err)
{
	const struct stub_table rows = { table->function, table->at, table->n };
	const size_t bytes = table->n * sizeof(*table->rows);
	struct stub stub;
	struct held h;
	uint64_t slot;
	int r;

	_Static_assert(sizeof(struct inject_row) == sizeof(struct stub_row), "one is the other");
	if (!table->n)
		return 0;
	r = open_safe_point(in, table->function, err);
	if (r == 0)
		r = inject_write(in, table->at, table->rows, bytes, err);
	if (r == 0)
		r = transaction_begin(in, true, &h, &slot, err);
	if (r < 0)
		return r;
	for_functions(in);
	stub_functions(&stub, in->area, &rows, table->errno_location, &h.back);
	r = transaction_run(in, &h, slot, &stub, err);
	return r < 0 ? r : inject_read(in, table->at, table->rows, bytes, err);
}

/* ---- the way out ---- */

static bool area_is_gone(struct inject *in)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	struct error unused;

	return maps_read(in->target, &maps, &unused) == 0 && !maps_find(&maps, in->area) &&
	       !maps_find(&maps, in->area + JOURNAL_AREA_BYTES - 1);
}

/* One that did not stop in time (on a machine in full use it may get no processor for seconds) is
 * let go when it does, and asked again. */
static int wait_until_out(struct inject *in, pid_t tid, uint64_t end, struct error *err)
{
	const uint64_t last = clock_now_ns() + OUT_MS * 1000000ull;
	int out = held_is_out_of(in->target, &in->limbo, tid, in->area, end);

	while (out != 1 && clock_now_ns() < last) {
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
		held_settle(&in->limbo);
		out = held_is_out_of(in->target, &in->limbo, tid, in->area, end);
	}
	if (out == 1)
		return 0;
	return error_set(err, EBUSY,
	                 out < 0 ? "thread %d of process %d does not stop to be looked at"
	                         : "thread %d of process %d is in a stub",
	                 (int)tid, (int)in->target->pid);
}

static int all_are_out(struct inject *in, struct error *err)
{
	const uint64_t end = in->area + JOURNAL_CODE_BYTES;
	cleanup_free pid_t *tids = NULL;
	size_t n = 0;
	int r = 0;

	if (!all_out_of(in->target, &in->limbo, in->area, end))
		r = target_threads(in->target, &tids, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = wait_until_out(in, tids[i], end, err);
	return r;
}

int inject_clean(const struct target *t, struct error *err)
{
	cleanup(inject_closep) struct inject *in = NULL;
	struct stub_call calls[AREA_CALLS];
	int r = begin(t, NULL, &in, err);

	if (r == 0)
		r = find_places(in, err);
	if (r == 0 && !in->area) /* a memwho may have been killed behind its unmapping */
		return transaction_restore_cave(in, err);
	if (r < 0)
		return r;
	r = take_over(in, err);
	if (r == 0)
		r = all_are_out(in, err);
	if (r < 0)
		return r;
	area_calls(in->area, calls);
	r = transaction_raw(in, &calls[2], 1, area_is_gone, err);
	return r < 0 ? r : 1;
}

bool inject_find(const struct target *t, uint64_t *area, pid_t *tid, struct error *err)
{
	cleanup(inject_closep) struct inject *in = calloc(1, sizeof(*in));
	cleanup(maps_clear) struct maps maps = { 0 };
	uint64_t magic = 0;

	if (!in)
		return error_oom(err), false;
	in->target = t;
	in->mem_fd = -1;
	in->lock = LOCK_NONE;
	if (open_memory(in, err) < 0 || maps_read(t, &maps, err) < 0)
		return false;
	in->area = area_find(&maps);
	if (!in->area ||
	    inject_read(in, in->area + JOURNAL_CODE_BYTES, &magic, sizeof(magic), err) < 0)
		return false;
	*area = in->area;
	*tid = 0;
	if (!magic) /* mapped, and its memwho was killed before it wrote there */
		return true;
	if (transaction_read_journal(in, err) < 0)
		return false;
	*tid = in->journal.tid;
	return true;
}
