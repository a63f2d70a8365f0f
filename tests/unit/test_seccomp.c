/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Seccomp filters run by us and by the kernel: the same answer. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "inject/seccomp.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define LOAD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define RET(v)   BPF_STMT(BPF_RET | BPF_K, v)

enum { NR = offsetof(struct seccomp_data, nr), ARG0 = offsetof(struct seccomp_data, args) };

#define ASK(d, ...)                                                                                \
	seccomp_run((const struct sock_filter[]){ __VA_ARGS__ },                                   \
	            COUNT(((const struct sock_filter[]){ __VA_ARGS__ })), d)

static void what_it_looks_at(void **state)
{
	const struct seccomp_data d = { .nr = 9,
		                        .arch = 0xc000003e,
		                        .instruction_pointer = 0x1122334455667788,
		                        .args = { 0xaabbccdd00112233, 0, 0, 0, 0, 7 } };

	(void)state;
	assert_int_equal(ASK(&d, LOAD(0), BPF_STMT(BPF_RET | BPF_A, 0)), 9);
	assert_int_equal(ASK(&d, LOAD(4), BPF_STMT(BPF_RET | BPF_A, 0)), 0xc000003e);
	assert_int_equal(ASK(&d, LOAD(8), BPF_STMT(BPF_RET | BPF_A, 0)), 0x55667788);
	assert_int_equal(ASK(&d, LOAD(12), BPF_STMT(BPF_RET | BPF_A, 0)), 0x11223344);
	assert_int_equal(ASK(&d, LOAD(ARG0), BPF_STMT(BPF_RET | BPF_A, 0)), 0x00112233);
	assert_int_equal(ASK(&d, LOAD(ARG0 + 4), BPF_STMT(BPF_RET | BPF_A, 0)), 0xaabbccdd);
	assert_int_equal(ASK(&d, LOAD(ARG0 + 40), BPF_STMT(BPF_RET | BPF_A, 0)), 7);
	assert_int_equal(
		ASK(&d, BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_A, 0)), 64);
}

/* Whatever no kernel accepts kills. */
static void what_is_no_filter(void **state)
{
	static const struct sock_filter bad[] = {
		LOAD(64),
		LOAD(0xfffffffc),
		LOAD(2),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
		BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
		BPF_STMT(BPF_LD | BPF_MEM, 16),
		BPF_STMT(BPF_LDX | BPF_MEM, 0xffffffff),
		BPF_STMT(BPF_ST, 16),
		BPF_STMT(BPF_STX, 0x80000000),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 3),
		BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0),
		BPF_STMT(BPF_ALU | 0xc0, 0),
		BPF_STMT(BPF_JMP | 0x50, 0),
		BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff),
		BPF_STMT(BPF_JMP | BPF_JA, 1),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 255, 255),
		BPF_STMT(BPF_RET | BPF_X, 0),
		BPF_STMT(BPF_MISC | 0x40, 0),
		BPF_STMT(0x100 | BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(0xffff, 0),
	};
	const struct seccomp_data d = { 0 };
	static struct sock_filter many[SECCOMP_MAX_INSNS + 1];

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(ASK(&d, bad[i], RET(SECCOMP_RET_ALLOW)), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(seccomp_run(many, 0, &d), SECCOMP_RET_KILL_PROCESS);
	/* no end; then an end that comes too late */
	assert_int_equal(ASK(&d, LOAD(0)), SECCOMP_RET_KILL_PROCESS);
	for (size_t i = 0; i < COUNT(many); i++)
		many[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	assert_int_equal(seccomp_run(many, COUNT(many), &d), SECCOMP_RET_KILL_PROCESS);
	assert_int_equal(seccomp_run(many, COUNT(many) - 1, &d), SECCOMP_RET_ALLOW);
}

static void what_an_answer_means(void **state)
{
	static const uint32_t no[] = { SECCOMP_RET_KILL_PROCESS,
		                       SECCOMP_RET_KILL_THREAD,
		                       SECCOMP_RET_TRAP,
		                       SECCOMP_RET_ERRNO | 1,
		                       SECCOMP_RET_TRACE,
		                       0x7fc00000 /* USER_NOTIF */,
		                       0x12340000 };

	(void)state;
	for (size_t i = 0; i < COUNT(no); i++)
		assert_false(seccomp_is_allowed(no[i]));
	assert_true(seccomp_is_allowed(SECCOMP_RET_ALLOW));
	assert_true(seccomp_is_allowed(SECCOMP_RET_ALLOW | 77));
	assert_true(seccomp_is_allowed(0x7ffc0000 /* LOG */));
}

/* ---- as the kernel does ---- */

enum { PREFIX = 3, STEPS = 24, SUFFIX = 3, KILLED = -1, NO_KERNEL = -2 };

static uint32_t numbers(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static uint32_t some_value(void)
{
	static const uint32_t values[] = { 0, 1, 2, 31, 0x7fffffff, 0x80000000, 0xffffffff };

	return numbers() % 2 ? numbers() : values[numbers() % COUNT(values)];
}

/* One that seccomp_check_filter() accepts. @left: how far it may jump. */
static struct sock_filter some_step(unsigned left)
{
	static const uint16_t alu[] = { BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_OR,
		                        BPF_AND, BPF_XOR, BPF_LSH, BPF_RSH };
	static const uint16_t jumps[] = { BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET };
	const uint16_t op = alu[numbers() % COUNT(alu)], source = numbers() % 2 ? BPF_X : BPF_K;
	uint32_t k = some_value();

	switch (numbers() % 10) {
	case 0: return (struct sock_filter)LOAD(numbers() % 16 * 4);
	case 1: return (struct sock_filter)BPF_STMT(BPF_LDX | BPF_IMM, k);
	case 2: return (struct sock_filter)BPF_STMT(BPF_LD | BPF_IMM, k);
	case 3: return (struct sock_filter)BPF_STMT(numbers() % 2 ? BPF_ST : BPF_STX, 3);
	case 4: /* whoever loads what was never stored is refused by the kernel */
		return (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0);
	case 5: return (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TXA, 0);
	case 6: return (struct sock_filter)BPF_STMT(BPF_ALU | BPF_NEG, 0);
	case 7:
		return (struct sock_filter)BPF_JUMP(
			BPF_JMP | source | jumps[numbers() % COUNT(jumps)], source == BPF_X ? 0 : k,
			numbers() % left, numbers() % left);
	default:
		/* shifts by 32 or more are refused, or not defined */
		if (op == BPF_LSH || op == BPF_RSH)
			return (struct sock_filter)BPF_STMT(BPF_ALU | op | BPF_K, k % 32);
		if (op == BPF_DIV && source == BPF_K && !k)
			k = 1;
		return (struct sock_filter)BPF_STMT(BPF_ALU | op | source, source == BPF_X ? 0 : k);
	}
}

/* Answers getppid() with some of A's bits as an errno, and allows all else. */
static size_t some_filter(struct sock_filter *code)
{
	size_t n = 0;

	code[n++] = (struct sock_filter)LOAD(NR);
	code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0);
	code[n++] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
	for (unsigned i = 0; i < STEPS; i++)
		code[n++] = some_step(STEPS - i);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x7ff);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO);
	code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0);
	return n;
}

static const long arguments[6] = { 1, 0x123456789abcdef0, -1, 0x80000000, 42, 0 };

/* In a child: it writes down what getppid() returned. */
static int ask_kernel(struct sock_filter *code, size_t n)
{
	struct sock_fprog program = { (unsigned short)n, code };
	int answer = KILLED, fds[2], status;
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	if (child == 0) {
		long r = NO_KERNEL;

		if (!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
		    !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
			r = syscall(SYS_getppid, arguments[0], arguments[1], arguments[2],
			            arguments[3], arguments[4], arguments[5]) < 0
			            ? errno
			            : 0;
		answer = (int)r;
		if (write(fds[1], &answer, sizeof(answer)) != sizeof(answer))
			_exit(2);
		_exit(0);
	}
	close(fds[1]);
	if (read(fds[0], &answer, sizeof(answer)) != sizeof(answer))
		answer = KILLED;
	close(fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	if (answer == KILLED)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
	return answer;
}

static int ask_us(const struct sock_filter *code, size_t n)
{
	struct seccomp_data d = { .nr = SYS_getppid, .arch = 0xc000003e };
	uint32_t answer;

	for (unsigned i = 0; i < 6; i++)
		d.args[i] = (uint64_t)arguments[i];
	answer = seccomp_run(code, n, &d);
	if ((answer & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO)
		return answer & SECCOMP_RET_DATA;
	return answer == SECCOMP_RET_KILL_PROCESS ? KILLED : NO_KERNEL;
}

/* Where the kernel runs it, a filter cannot look at its own address. */
static bool looks_at_pc(const struct sock_filter *code, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (code[i].code == (BPF_LD | BPF_W | BPF_ABS) &&
		    (code[i].k == 8 || code[i].k == 12))
			return true;
	}
	return false;
}

static void as_the_kernel_does(void **state)
{
	struct sock_filter code[PREFIX + STEPS + SUFFIX];
	unsigned same = 0, killed = 0, values[16] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 400; i++) {
		size_t n = some_filter(code);
		int theirs, ours = ask_us(code, n);

		if (looks_at_pc(code, n))
			continue;
		theirs = ask_kernel(code, n);
		if (theirs == NO_KERNEL)
			continue;
		assert_int_equal(ours, theirs);
		same++;
		killed += theirs == KILLED;
		values[theirs & 15]++;
	}
	if (!same) /* seccomp is not to be had here */
		skip();
	assert_true(same > 100 && killed > 0 && killed < same / 2);
	/* it is not always the same */
	assert_true(values[0] < same / 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_looks_at),
		cmocka_unit_test(what_is_no_filter),
		cmocka_unit_test(what_an_answer_means),
		cmocka_unit_test(as_the_kernel_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
