/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_still.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

#include "base/cleanup.h"
#include "target/freeze.h"
#include "target/registers.h"

enum {
	PAGE = 4096,
	FREEZE_MS = 2000,
	/* of all standing still for one that comes late: doubled every so many tries, and at last
	 * as long as it takes */
	FIRST_PATIENCE_US = 2500,
	PATIENT_TRIES = 5,
	PATIENT_DOUBLINGS = 5,
	PATCH_TRIES = 100, /* of some ms each */
	LEAVE_TRIES = 100,
	STACK_WORDS = 16384, /* 128 KiB above sp are looked through */
	RED_ZONE = 128,
	BREAKPOINT = 0xcc,
};

struct still {
	struct inject *in;
	const struct target *t;
	uint64_t base;
	const struct agent_table *table;
	const struct agent_control *control;
	bool (*is_bad)(const struct still *s, uint64_t at); /* where nobody may be */
	bool frames_only; /* of the words on stacks, only pcs in signal frames count */
	uint64_t *words;
	/* every bad address is in here: most words are not, and there are hundreds of thousands */
	uint64_t low, bytes;
};

/* ---- is anybody there? ---- */

/* Is @at in the middle of a jump that is to be written? At its first byte is fine. */
static bool is_in_patch(const struct still *s, uint64_t at)
{
	for (unsigned i = 0; i < s->table->n_functions; i++) {
		if (at - s->table->functions[i].patch_at - 1 < AGENT_PATCH_BYTES - 1)
			return true;
	}
	return false;
}

/* A call that is under way returns to one address, where it finds out that it is late. */
static bool is_in_agent(const struct still *s, uint64_t at)
{
	return at - s->base < AGENT_CODE_BYTES && at != s->table->return_at;
}

/* Words from @sp on, as far as memory goes; how many. Not by target/reader.h, which
 * leaves out pages that are swapped out: one of them may hold what is looked for. All
 * threads stand still meanwhile: one call reads what can be read, up to the guard page
 * of the next stack; page by page only what that did not get at. */
static size_t read_stack(const struct still *s, uint64_t sp)
{
	const size_t most = STACK_WORDS * sizeof(*s->words);
	struct iovec to = { s->words, most }, from = { (void *)(uintptr_t)(sp & ~7ull), most };
	ssize_t r = process_vm_readv(s->t->pid, &to, 1, &from, 1, 0);
	struct error unused;
	size_t n = 0;

	if (r > 0)
		return (size_t)r / sizeof(*s->words);
	sp &= ~7ull;
	while (n < most) {
		size_t piece = PAGE - (sp + n) % PAGE;

		piece = piece < most - n ? piece : most - n;
		if (inject_read(s->in, sp + n, (char *)s->words + n, piece, &unused) < 0)
			break;
		n += piece;
	}
	return n / sizeof(*s->words);
}

/* struct sigcontext (arch/x86/include/uapi/asm/sigcontext.h): ip, flags, and a word that
 * begins with cs, which is that of 64-bit code. Flags have bit 1 set, and none above 21. */
static bool is_saved_pc(const uint64_t *word, size_t n)
{
	return n > 2 && (word[1] & 2) && word[1] < 1 << 22 && (word[2] & 0xffff) == 0x33;
}

static int in_the_way(pid_t tid, const char *what, uint64_t at, struct error *err)
{
	return error_set(err, EAGAIN,
	                 "thread %d stands in code that is to be changed (%s 0x%" PRIx64 ")",
	                 (int)tid, what, at);
}

/* Neither the pc, nor anything on its stack that could be a return address or the pc in a signal's
 * frame. Its stack is its own: what the others do meanwhile does not matter. */
static int look_at_thread(void *arg, pid_t tid, const struct user_regs_struct *regs,
                          struct error *err)
{
	const struct still *s = arg;
	size_t n;

	if (s->is_bad(s, registers_pc(regs)))
		return in_the_way(tid, "at", registers_pc(regs), err);
	n = read_stack(s, registers_sp(regs) - RED_ZONE);
	for (size_t i = 0; i < n; i++) {
		bool is_frame;

		if (s->words[i] - s->low >= s->bytes || !s->is_bad(s, s->words[i]))
			continue;
		is_frame = is_saved_pc(&s->words[i], n - i);
		if (is_frame || !s->frames_only)
			return in_the_way(tid, is_frame ? "a signal came at" : "on its stack is",
			                  s->words[i], err);
	}
	return 0;
}

int agent_still_note(struct inject *in, uint64_t base, enum agent_place_state place,
                     struct error *err)
{
	const uint32_t v = place;

	return inject_write(in, base + AGENT_TABLE_AT + offsetof(struct agent_table, place), &v,
	                    sizeof(v), err);
}

/* ---- the work ---- */

/* All of it is as it was planned: the same program, and nobody has changed the code since. */
static int check_functions(const struct still *s, struct error *err)
{
	int r = 0;

	if (target_has_execed(s->t))
		return error_set(err, ESRCH, "process %d runs another program now", (int)s->t->pid);
	for (unsigned i = 0; r == 0 && i < s->table->n_functions; i++) {
		const struct agent_function *f = &s->table->functions[i];
		uint8_t now[AGENT_PATCH_BYTES];

		r = inject_read(s->in, f->patch_at, now, sizeof(now), err);
		if (r == 0 && memcmp(now, f->was, sizeof(now)))
			r = error_set(err, EBUSY, "somebody changes the allocator's code");
	}
	return r;
}

static int set_patches(void *arg, struct error *err)
{
	const struct still *s = arg;
	int r = check_functions(s, err);

	if (r == 0)
		r = agent_still_note(s->in, s->base, AGENT_PLACE_PATCHED, err);
	for (unsigned i = 0; r == 0 && i < s->table->n_functions; i++)
		r = inject_write(s->in, s->table->functions[i].patch_at, s->table->functions[i].is,
		                 AGENT_PATCH_BYTES, err);
	/* last: it samples only when frees are seen as well as allocations */
	if (r == 0)
		r = inject_write(s->in, s->base + AGENT_CODE_BYTES, s->control, sizeof(*s->control),
		                 err);
	return r;
}

/* A breakpoint that somebody has set since stays, and is right among the original bytes.
 * What is not ours otherwise (another's jump) is left alone: it may remember our jump and
 * put it back one day, and the way that leads there stays good. */
static int take_back(const struct still *s, const struct agent_function *f, struct error *err)
{
	uint8_t now[AGENT_PATCH_BYTES];
	int r = inject_read(s->in, f->patch_at, now, sizeof(now), err);

	if (r < 0 || !memcmp(now, f->was, sizeof(now)))
		return r;
	for (unsigned i = 0; i < sizeof(now); i++) {
		if (now[i] != f->is[i] && now[i] != BREAKPOINT)
			return 0;
		now[i] = now[i] == f->is[i] ? f->was[i] : now[i];
	}
	return inject_write(s->in, f->patch_at, now, sizeof(now), err);
}

static int take_patches_back(void *arg, struct error *err)
{
	const struct still *s = arg;
	const struct agent_control off = { .state = AGENT_OFF, .exact_on = 0 };
	int r = inject_write(s->in, s->base + AGENT_CODE_BYTES, &off,
	                     offsetof(struct agent_control, deadline), err);

	for (unsigned i = 0; r == 0 && i < s->table->n_functions; i++)
		r = take_back(s, &s->table->functions[i], err);
	return r < 0 ? r : agent_still_note(s->in, s->base, AGENT_PLACE_UNCLEAN, err);
}

/* How long all may stand still for the last of them in this try; 0: as long as it takes. */
static unsigned patience_us(unsigned i)
{
	const unsigned doublings = i / PATIENT_TRIES;

	return doublings >= PATIENT_DOUBLINGS ? 0 : FIRST_PATIENCE_US << doublings;
}

/* @tries: of those that are as patient as it takes. */
static int try_still(struct still *s, int (*work)(void *arg, struct error *err), unsigned tries,
                     uint64_t *ret_ns, struct error *err)
{
	struct freeze_work w = { .look = s->is_bad ? look_at_thread : NULL,
		                 .work = work,
		                 .arg = s };
	int r = -EAGAIN;

	s->words = malloc(STACK_WORDS * sizeof(*s->words));
	if (!s->words)
		return error_oom(err);
	for (unsigned i = 0; r == -EAGAIN && i <= tries + PATIENT_TRIES * PATIENT_DOUBLINGS; i++) {
		uint64_t ns = 0;

		if (i)
			nanosleep(&(struct timespec){ 0, (1 + random() % 5) * 1000000 }, NULL);
		w.patience_us = patience_us(i);
		r = freeze_call(s->t, FREEZE_MS, &w, &ns, err);
		if (ns > *ret_ns)
			*ret_ns = ns;
	}
	free(s->words);
	inject_note_still(s->in, *ret_ns);
	return r;
}

/* Of all patches: no patch is outside. */
static void bound_patches(struct still *s)
{
	uint64_t end = 0;

	s->low = UINT64_MAX;
	for (unsigned i = 0; i < s->table->n_functions; i++) {
		const uint64_t at = s->table->functions[i].patch_at;

		s->low = at < s->low ? at : s->low;
		end = at + AGENT_PATCH_BYTES > end ? at + AGENT_PATCH_BYTES : end;
	}
	s->bytes = end - s->low;
}

int agent_still_patch(struct inject *in, const struct target *t, uint64_t base,
                      const struct agent_table *table, const struct agent_control *control,
                      uint64_t *ret_ns, struct error *err)
{
	struct still s = { .in = in,
		           .t = t,
		           .base = base,
		           .table = table,
		           .control = control,
		           .is_bad = is_in_patch };

	bound_patches(&s);
	return try_still(&s, set_patches, PATCH_TRIES, ret_ns, err);
}

int agent_still_undo(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err)
{
	struct still s = { .in = in, .t = t, .base = base, .table = table };
	uint64_t ns = 0;

	return try_still(&s, take_patches_back, 0, &ns, err);
}

int agent_still_wait(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err)
{
	/* frames keep words of calls that are long over; and a call that the agent makes in
	 * itself is only under way where the pc is, or was when a signal came */
	struct still s = { .in = in,
		           .t = t,
		           .base = base,
		           .table = table,
		           .is_bad = is_in_agent,
		           .frames_only = true,
		           .low = base,
		           .bytes = AGENT_CODE_BYTES };
	uint64_t ns = 0;

	return try_still(&s, NULL, LEAVE_TRIES, &ns, err);
}
