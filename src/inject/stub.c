/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "inject/stub.h"

#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* x86-64 */
enum reg { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

#define DATA(area, field) ((area) + JOURNAL_CODE_BYTES + offsetof(struct journal, field))

static void put(struct stub *s, const void *bytes, size_t n)
{
	if (s->n + n > sizeof(s->bytes)) {
		s->overflow = true;
		return;
	}
	memcpy(s->bytes + s->n, bytes, n);
	s->n += n;
}

#define PUT(s, ...)                                                                                \
	put(s, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* mov reg, imm; the 32-bit form clears the upper half. */
static void mov(struct stub *s, enum reg reg, uint64_t v)
{
	const uint8_t high = reg >> 3, low = reg & 7;

	if (v <= UINT32_MAX) {
		const uint32_t w = v;

		if (high)
			PUT(s, 0x41);
		PUT(s, 0xb8 + low);
		put(s, &w, sizeof(w));
		return;
	}
	PUT(s, 0x48 + high, 0xb8 + low);
	put(s, &v, sizeof(v));
}

/* mov dword [rax], state; rax is lost. */
static void set_state(struct stub *s, uint64_t area, uint32_t state)
{
	mov(s, RAX, DATA(area, state));
	PUT(s, 0xc7, 0x00);
	put(s, &state, sizeof(state));
}

/* mov [rcx], rax; rcx is lost. */
static void store_rax(struct stub *s, uint64_t at)
{
	mov(s, RCX, at);
	PUT(s, 0x48, 0x89, 0x01);
}

static void note_made(struct stub *s, const struct stub_call *c)
{
	if (s->n_made == STUB_MAX_MADE)
		s->overflow = true;
	else
		s->made[s->n_made++] = (struct stub_made){ *c, s->n };
}

static void system_call(struct stub *s, const struct stub_call *c)
{
	static const enum reg regs[6] = { RDI, RSI, RDX, R10, R8, R9 };

	for (size_t i = 0; i < 6; i++)
		mov(s, regs[i], c->args[i]);
	mov(s, RAX, c->function);
	PUT(s, 0x0f, 0x05);
	note_made(s, c);
}

static void block_signals(struct stub *s, uint64_t area, bool block)
{
	const struct stub_call c = {
		.function = SYS_rt_sigprocmask,
		.args = { SIG_SETMASK, block ? DATA(area, new_mask) : DATA(area, old_mask),
		          block ? DATA(area, old_mask) : 0, 8 },
	};

	system_call(s, &c);
}

/* What system calls changed, or all of it (@all), back by immediates; then
 * home. rax last, as everything else needs it. */
static void go_back(struct stub *s, uint64_t area, const struct user_regs_struct *r, bool all)
{
	if (all) {
		mov(s, RAX, r->eflags & ~0x100ull); /* without the trap flag */
		PUT(s, 0x50, 0x9d);                 /* push rax; popfq: on our stack */
	}
	mov(s, RDI, r->rdi);
	mov(s, RSI, r->rsi);
	mov(s, RDX, r->rdx);
	mov(s, R10, r->r10);
	mov(s, R8, r->r8);
	mov(s, R9, r->r9);
	mov(s, RCX, r->rcx);
	mov(s, R11, r->r11);
	if (all) {
		mov(s, RBX, r->rbx);
		mov(s, RBP, r->rbp);
		mov(s, R12, r->r12);
		mov(s, R13, r->r13);
		mov(s, R14, r->r14);
		mov(s, R15, r->r15);
		mov(s, RSP, r->rsp);
	}
	if (area)
		set_state(s, area, JOURNAL_DONE);
	mov(s, RAX, r->rax);
	PUT(s, 0xff, 0x25, 0, 0, 0, 0); /* jmp [rip+0] */
	put(s, &r->rip, sizeof(r->rip));
}

void stub_raw(struct stub *s, const struct stub_call *calls, size_t n, size_t room,
              const struct user_regs_struct *back)
{
	*s = (struct stub){ 0 };
	for (size_t i = 0; i < n; i++)
		system_call(s, &calls[i]);
	go_back(s, 0, back, false);
	s->overflow |= s->n > room;
}

void stub_syscall(struct stub *s, uint64_t area, const struct stub_call *call,
                  const struct user_regs_struct *back)
{
	*s = (struct stub){ 0 };
	set_state(s, area, JOURNAL_STARTED);
	system_call(s, call);
	store_rax(s, DATA(area, result));
	go_back(s, area, back, false);
}

/* mov rcx, -expected; lea rcx, [rcx+rax]; jrcxz over the next; jmp rel32: returns the place
 * of the long jump's end, to be mended. */
static size_t jump_unless(struct stub *s, int64_t expected)
{
	mov(s, RCX, (uint64_t)-expected);
	PUT(s, 0x48, 0x8d, 0x0c, 0x01, 0xe3, 0x05, 0xe9, 0, 0, 0, 0);
	return s->n;
}

static void land_long(struct stub *s, size_t jump_end)
{
	const uint32_t distance = s->n - jump_end;

	if (!s->overflow)
		memcpy(s->bytes + jump_end - sizeof(distance), &distance, sizeof(distance));
}

void stub_syscalls(struct stub *s, uint64_t area, const struct stub_call *calls,
                   const int64_t *expected, size_t n, const struct user_regs_struct *back)
{
	size_t away[STUB_MAX_MADE];

	*s = (struct stub){ .overflow = n > STUB_MAX_MADE };
	set_state(s, area, JOURNAL_STARTED);
	block_signals(s, area, true);
	for (size_t i = 0; i < n && !s->overflow; i++) {
		system_call(s, &calls[i]);
		store_rax(s, DATA(area, result));
		away[i] = jump_unless(s, expected[i]);
	}
	for (size_t i = 0; i < n && !s->overflow; i++)
		land_long(s, away[i]);
	set_state(s, area, JOURNAL_RETURNED);
	block_signals(s, area, false);
	go_back(s, area, back, false);
}

/* xsave64 [rdi] / xrstor64 [rdi], all components. */
static void vector_state(struct stub *s, uint64_t area, bool save)
{
	mov(s, RAX, UINT32_MAX);
	mov(s, RDX, UINT32_MAX);
	mov(s, RDI, area + JOURNAL_CODE_BYTES + JOURNAL_XSAVE_AT);
	PUT(s, 0x48, 0x0f, 0xae, save ? 0x27 : 0x2f);
}

static void save_errno(struct stub *s, uint64_t area, uint64_t location)
{
	mov(s, RAX, location);
	PUT(s, 0xff, 0xd0);       /* call rax */
	PUT(s, 0x48, 0x89, 0xc3); /* mov rbx, rax: kept by the callee */
	PUT(s, 0x8b, 0x00);       /* mov eax, [rax] */
	mov(s, RCX, DATA(area, saved_errno));
	PUT(s, 0x89, 0x01); /* mov [rcx], eax */
}

static void restore_errno(struct stub *s, uint64_t area)
{
	mov(s, RCX, DATA(area, saved_errno));
	PUT(s, 0x8b, 0x09); /* mov ecx, [rcx] */
	PUT(s, 0x89, 0x0b); /* mov [rbx], ecx */
}

/* Into the function: on our own stack, in the state that code may expect. */
static void enter_function(struct stub *s, uint64_t area, uint64_t errno_location)
{
	*s = (struct stub){ 0 };
	set_state(s, area, JOURNAL_STARTED);
	block_signals(s, area, true);
	mov(s, RSP, area + JOURNAL_AREA_BYTES - 64);
	PUT(s, 0xfc); /* cld */
	vector_state(s, area, true);
	PUT(s, 0xdb, 0xe3); /* fninit */
	mov(s, RAX, DATA(area, mxcsr));
	PUT(s, 0x0f, 0xae, 0x10); /* ldmxcsr [rax] */
	if (errno_location)
		save_errno(s, area, errno_location);
}

static void leave_function(struct stub *s, uint64_t area, uint64_t errno_location,
                           const struct user_regs_struct *back)
{
	store_rax(s, DATA(area, result));
	if (errno_location)
		restore_errno(s, area);
	vector_state(s, area, false);
	set_state(s, area, JOURNAL_RETURNED);
	block_signals(s, area, false);
	go_back(s, area, back, true);
}

static void call_function(struct stub *s, uint64_t function)
{
	mov(s, R11, function);
	mov(s, RAX, 0);
	PUT(s, 0x41, 0xff, 0xd3); /* call r11 */
}

void stub_function(struct stub *s, uint64_t area, const struct stub_call *call,
                   uint64_t errno_location, const struct user_regs_struct *back)
{
	static const enum reg regs[6] = { RDI, RSI, RDX, RCX, R8, R9 };

	enter_function(s, area, errno_location);
	for (size_t i = 0; i < 6; i++)
		mov(s, regs[i], call->args[i]);
	call_function(s, call->function);
	leave_function(s, area, errno_location, back);
}

void stub_functions(struct stub *s, uint64_t area, const struct stub_table *table,
                    uint64_t errno_location, const struct user_regs_struct *back)
{
	size_t loop;

	enter_function(s, area, errno_location);
	/* kept by the callee, as rbx is */
	mov(s, R12, table->at);
	mov(s, R13, table->n);
	loop = s->n;
	PUT(s, 0x49, 0x8b, 0x3c, 0x24);       /* mov rdi, [r12] */
	PUT(s, 0x49, 0x8b, 0x74, 0x24, 0x08); /* mov rsi, [r12+8] */
	PUT(s, 0x49, 0x8b, 0x54, 0x24, 0x10); /* mov rdx, [r12+16] */
	PUT(s, 0x49, 0x8b, 0x4c, 0x24, 0x18); /* mov rcx, [r12+24] */
	PUT(s, 0x4d, 0x8b, 0x44, 0x24, 0x20); /* mov r8, [r12+32] */
	call_function(s, table->function);
	PUT(s, 0x49, 0x89, 0x44, 0x24, 0x28);              /* mov [r12+40], rax */
	PUT(s, 0x49, 0x83, 0xc4, sizeof(struct stub_row)); /* add r12, 48 */
	PUT(s, 0x49, 0xff, 0xcd);                          /* dec r13 */
	PUT(s, 0x75, 0x00);                                /* jnz loop */
	if (!s->overflow)
		s->bytes[s->n - 1] = (uint8_t)(loop - s->n);
	leave_function(s, area, errno_location, back);
}

/* mov rcx, rax; jrcxz +0: returns the place of the jump's end, to be mended. */
static size_t jump_if_zero(struct stub *s)
{
	PUT(s, 0x48, 0x89, 0xc1, 0xe3, 0x00);
	return s->n;
}

static void land_here(struct stub *s, size_t jump_end)
{
	if (s->n - jump_end > 127)
		s->overflow = true;
	else if (!s->overflow)
		s->bytes[jump_end - 1] = s->n - jump_end;
}

/* The copy: nap, count down, end. No stack, no memory but its own word. */
static void count_down(struct stub *s, uint64_t area)
{
	const struct stub_call nap = { .function = SYS_nanosleep, .args = { DATA(area, nap) } };
	const struct stub_call leave = { .function = SYS_exit_group };
	size_t loop = s->n, end;

	system_call(s, &nap);
	mov(s, RCX, DATA(area, ttl));
	PUT(s, 0x83, 0x29, 0x01); /* sub dword [rcx], 1 */
	PUT(s, 0x7f, 0x00);       /* jg loop */
	end = s->n;
	if (!s->overflow)
		s->bytes[end - 1] = (uint8_t)(loop - end);
	system_call(s, &leave);
}

/* In the helper: clone the copy, tell its pid through the shared memory, end. */
static void clone_and_leave(struct stub *s, uint64_t area, uint64_t flags)
{
	const struct stub_call clone = { .function = SYS_clone, .args = { flags } };
	const struct stub_call leave = { .function = SYS_exit };
	size_t is_copy;

	system_call(s, &clone);
	is_copy = jump_if_zero(s);
	store_rax(s, DATA(area, result));
	system_call(s, &leave);
	land_here(s, is_copy);
}

/* The helper has ended, or could not be made: then rax is an error. */
static void wait_for_helper(struct stub *s, uint64_t area)
{
	/* but for the helper's pid, which is not known so far */
	const struct stub_call wait = { .function = SYS_wait4,
		                        .args = { 0, DATA(area, child), __WALL } };
	size_t failed, waited;

	PUT(s, 0x48, 0x85, 0xc0); /* test rax, rax */
	PUT(s, 0x78, 0x00);       /* js failed */
	failed = s->n;
	PUT(s, 0x48, 0x89, 0xc7); /* mov rdi, rax */
	mov(s, RSI, DATA(area, child));
	mov(s, RDX, __WALL);
	mov(s, R10, 0);
	mov(s, RAX, SYS_wait4);
	PUT(s, 0x0f, 0x05);
	note_made(s, &wait);
	PUT(s, 0xeb, 0x00); /* jmp waited */
	waited = s->n;
	land_here(s, failed);
	store_rax(s, DATA(area, result));
	land_here(s, waited);
}

void stub_clone(struct stub *s, uint64_t area, bool twice, const struct user_regs_struct *back)
{
	/* shared descriptors: what the target closes is then closed for good */
	const uint64_t flags = CLONE_FILES | CLONE_FS;
	const struct stub_call clone = {
		.function = SYS_clone,
		.args = { twice ? CLONE_VM | CLONE_VFORK | flags : flags },
	};
	size_t is_child, over;
	uint32_t distance;

	*s = (struct stub){ 0 };
	set_state(s, area, JOURNAL_STARTED);
	block_signals(s, area, true);
	mov(s, RSP, area + JOURNAL_AREA_BYTES - 64); /* for the flags on the way back */
	system_call(s, &clone);
	is_child = jump_if_zero(s);
	if (twice) /* the helper has put the copy's pid, or its own error, in the result */
		wait_for_helper(s, area);
	else
		store_rax(s, DATA(area, result));
	set_state(s, area, JOURNAL_RETURNED);
	PUT(s, 0xe9, 0, 0, 0, 0); /* jmp over the child's part */
	over = s->n;
	land_here(s, is_child);
	if (twice)
		clone_and_leave(s, area, flags);
	count_down(s, area);
	distance = s->n - over;
	if (!s->overflow)
		memcpy(s->bytes + over - sizeof(distance), &distance, sizeof(distance));
	block_signals(s, area, false);
	go_back(s, area, back, true);
}
