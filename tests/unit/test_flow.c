/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "unwind/flow.h"
#include "unwind/rows.h"

enum { TEXT = 0x1000 };

/* 0 and rows, or 1: not understood */
static int run(const char *code, size_t len, struct unwind_row **items, size_t *n)
{
	cleanup(rows_clear) struct rows rows = { .text_base = TEXT, .text_end = TEXT + len };
	struct error err;
	int r;

	assert_int_equal(rows_begin(&rows, TEXT, TEXT + len, &err), 0);
	r = flow_add_rows((const uint8_t *)code, len, TEXT, &rows, &err);
	if (r)
		rows_abandon(&rows);
	assert_int_equal(rows_finish(&rows, items, n, &err), 0);
	return r;
}

static void assert_rows(const char *code, size_t len, const struct unwind_row *want, size_t n_want)
{
	cleanup_free struct unwind_row *items = NULL;
	size_t n;

	assert_int_equal(run(code, len, &items, &n), 0);
	for (size_t i = 0; i < n && i < n_want; i++) {
		assert_int_equal(items[i].pc, want[i].pc);
		assert_int_equal(items[i].type, want[i].type);
		assert_int_equal(items[i].cfa_offset, want[i].cfa_offset);
		assert_int_equal(items[i].rbp_slot, want[i].rbp_slot);
	}
	assert_int_equal(n, n_want + 1); /* and the end */
}

#define ASSERT_ROWS(code, ...)                                                                     \
	do {                                                                                       \
		const struct unwind_row want_[] = { __VA_ARGS__ };                                 \
		assert_rows(code, sizeof(code) - 1, want_, ARRAY_SIZE(want_));                     \
	} while (0)

#define PUSH_RBP "\x55"
#define POP_RBP  "\x5d"
#define PUSH_RBX "\x53"
#define POP_RBX  "\x5b"
#define RET      "\xc3"
#define CALL     "\xe8\x00\x10\x00\x00"
#define MOV_BP   "\x48\x89\xe5"     /* mov %rsp,%rbp */
#define SUB_24   "\x48\x83\xec\x18" /* sub $24,%rsp */
#define ADD_24   "\x48\x83\xc4\x18"
#define JNE(n)   "\x75" n
#define JMP(n)   "\xeb" n

static void pushes_and_pops(void **state)
{
	ASSERT_ROWS(PUSH_RBP PUSH_RBX SUB_24 CALL ADD_24 POP_RBX POP_RBP RET,
	            { 0, 8, 0, UNWIND_RSP }, { 1, 16, 2, UNWIND_RSP }, { 2, 24, 2, UNWIND_RSP },
	            { 6, 48, 2, UNWIND_RSP }, { 15, 24, 2, UNWIND_RSP }, { 16, 16, 2, UNWIND_RSP },
	            { 17, 8, 0, UNWIND_RSP });
}

static void paths_that_agree(void **state)
{
	/* jne over a return in the middle */
	ASSERT_ROWS(PUSH_RBX JNE("\x02") POP_RBX RET CALL POP_RBX RET, { 0, 8, 0, UNWIND_RSP },
	            { 1, 16, 0, UNWIND_RSP }, { 4, 8, 0, UNWIND_RSP }, { 5, 16, 0, UNWIND_RSP },
	            { 11, 8, 0, UNWIND_RSP });
}

static void a_frame_of_unknown_size(void **state)
{
	/* sub %rax,%rsp; call; leave: only rbp knows the frame */
	ASSERT_ROWS(PUSH_RBP MOV_BP "\x48\x29\xc4" CALL "\xc9" RET, { 0, 8, 0, UNWIND_RSP },
	            { 1, 16, 2, UNWIND_RSP }, { 7, 16, 2, UNWIND_RBP }, { 13, 8, 0, UNWIND_RSP });
}

static void code_nobody_reaches_has_no_rule(void **state)
{
	ASSERT_ROWS(PUSH_RBX JMP("\x03") "\x90\x90\x90" POP_RBX RET, { 0, 8, 0, UNWIND_RSP },
	            { 1, 16, 0, UNWIND_RSP }, { 3, 0, 0, UNWIND_NONE }, { 6, 16, 0, UNWIND_RSP },
	            { 7, 8, 0, UNWIND_RSP });
}

static void tail_calls_and_calls_that_do_not_return(void **state)
{
	ASSERT_ROWS("\xe9\x00\x10\x00\x00", { 0, 8, 0, UNWIND_RSP });
	ASSERT_ROWS("\xff\xe0", { 0, 8, 0, UNWIND_RSP }); /* jmp *%rax */
	ASSERT_ROWS(PUSH_RBX CALL, { 0, 8, 0, UNWIND_RSP }, { 1, 16, 0, UNWIND_RSP });
}

static void what_is_not_understood_has_no_rows(void **state)
{
	static const struct {
		const char *code;
		size_t len;
	} codes[] = {
#define CODE(c) { c, sizeof(c) - 1 }
		CODE(PUSH_RBX RET),                            /* returns to rbx */
		CODE(PUSH_RBX POP_RBX),                        /* falls out of its end */
		CODE(POP_RBX RET),                             /* takes its return address */
		CODE(PUSH_RBX JNE("\x01") POP_RBX "\x90" RET), /* paths of two depths meet */
		CODE("\x31\xed" RET),                          /* xor %ebp,%ebp: not saved */
		CODE(PUSH_RBP "\x31\xed" SUB_24 ADD_24 "\x48\x83\xc4\x08" RET), /* nor restored */
		CODE("\xe8\x00\x00\x00\x00" RET),         /* call to the next instruction */
		CODE("\x48\x89\xfc" RET),                 /* mov %rdi,%rsp */
		CODE("\x48\x29\xc4" RET),                 /* sub %rax,%rsp */
		CODE("\x48\x94" RET),                     /* xchg %rax,%rsp */
		CODE(PUSH_RBX "\xff\xe0"),                /* jump table, or tail call gone wrong */
		CODE(PUSH_RBX "\xe9\x00\x10\x00\x00"),    /* out with a frame: a .cold part */
		CODE("\xc2\x08\x00"),                     /* ret $8 */
		CODE("\xcb"),                             /* far return */
		CODE("\x66\x53\x66\x5b" RET),             /* 16-bit push */
		CODE("\xc8\x10\x00\x00\xc9" RET),         /* enter, leave */
		CODE("\x75\x01\xb8\xc3\x00\x00\x00" RET), /* into the middle of an instruction */
		CODE("\x0f\xff"),                         /* no instruction */
		CODE("\x48"),                             /* nor the whole of one */
		CODE("\x0f\x05"),                         /* syscall, and out */
	};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		struct unwind_row *items = NULL;
		size_t n = 0;

		if (!run(codes[i].code, codes[i].len, &items, &n))
			fail_msg("code %zu has %zu rows", i, n);
		free(items);
	}
}

static void note(uint64_t target, void *arg)
{
	*(uint64_t *)arg = target;
}

static void exits_are_found(void **state)
{
	static const char code[] = PUSH_RBX JNE("\x01") "\x90" CALL "\xe9\x00\x10\x00\x00" RET;
	uint64_t target = 0;

	flow_each_exit((const uint8_t *)code, sizeof(code) - 1, TEXT, note, &target);
	assert_int_equal(target, TEXT + 14 + 0x1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pushes_and_pops),
		cmocka_unit_test(paths_that_agree),
		cmocka_unit_test(a_frame_of_unknown_size),
		cmocka_unit_test(code_nobody_reaches_has_no_rule),
		cmocka_unit_test(tail_calls_and_calls_that_do_not_return),
		cmocka_unit_test(what_is_not_understood_has_no_rows),
		cmocka_unit_test(exits_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
