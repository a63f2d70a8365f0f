/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "target/pages.h"
#include "target/target.h"

#include "child.h"

enum { PAGE = 4096, BIG_PAGES = 20000, BIG = BIG_PAGES * PAGE };

/* A child with pages that are known: of both big mappings every second one of
 * the first 9000, then page 15000. Of the third, ten pages were read only. */
static struct {
	pid_t pid;
	struct target *t;
	char *private, *shared, *read_only;
} child;

enum { TOUCHED = 4501 };

static void child_touch(char *at)
{
	for (size_t i = 0; i < 9000; i += 2)
		at[i * PAGE] = 1;
	at[15000ul * PAGE] = 1;
}

static void child_live(void)
{
	volatile char sum = 0;

	child_touch(child.private);
	child_touch(child.shared);
	for (size_t i = 0; i < 10; i++)
		sum += child.read_only[i * PAGE];
}

static char *map(int flags)
{
	char *at = mmap(NULL, BIG, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	madvise(at, BIG, MADV_NOHUGEPAGE);
	return at;
}

static int setup(void **state)
{
	struct error err = { 0 };

	child.private = map(MAP_PRIVATE);
	child.shared = map(MAP_SHARED);
	child.read_only = map(MAP_PRIVATE);
	child.pid = child_start(child_live);
	return target_open(child.pid, &child.t, &err);
}

static int teardown(void **state)
{
	target_close(child.t);
	child_end(child.pid);
	return 0;
}

static struct pages_count count(char *at, size_t from, size_t bytes)
{
	struct error err = { 0 };
	struct pages_count c;

	assert_int_equal(
		pages_count(child.t, (uintptr_t)at + from, (uintptr_t)at + from + bytes, &c, &err),
		0);
	return c;
}

static void test_counts(void **state)
{
	struct pages_count c = count(child.private, 0, BIG);

	assert_int_equal(c.resident_bytes, TOUCHED * PAGE);
	assert_int_equal(c.file_bytes, 0);
	assert_int_equal(c.swap_bytes, 0);
	c = count(child.shared, 0, BIG);
	assert_int_equal(c.resident_bytes, TOUCHED * PAGE);
	assert_int_equal(c.file_bytes, TOUCHED * PAGE);
	c = count(child.private, 9000ul * PAGE, 6000ul * PAGE);
	assert_int_equal(c.resident_bytes, 0);
}

/* A page that is cut belongs to each side by its bytes. */
static void test_parts_of_pages(void **state)
{
	struct error err = { 0 };
	uintptr_t at = (uintptr_t)child.private;
	struct pages_range r[] = {
		{ .start = at, .end = at + 100 },
		{ .start = at + 100, .end = at + PAGE + 1 },
		{ .start = at + PAGE + 1, .end = at + 2 * PAGE + 7 },
		{ .start = at + 14999ul * PAGE, .end = at + 15001ul * PAGE },
	};

	assert_int_equal(pages_count_all(child.t, r, ARRAY_SIZE(r), &err), 0);
	assert_int_equal(r[0].count.resident_bytes, 100);
	assert_int_equal(r[1].count.resident_bytes, PAGE - 100);
	assert_int_equal(r[2].count.resident_bytes, 7);
	assert_int_equal(r[3].count.resident_bytes, PAGE);
}

/* More runs than the kernel gives at once: none twice, none lost. */
static void test_many_ranges(void **state)
{
	cleanup_free struct pages_range *r = calloc(BIG_PAGES, sizeof(*r));
	struct error err = { 0 };
	uint64_t sum = 0;

	for (size_t i = 0; i < BIG_PAGES; i++) {
		r[i].start = (uintptr_t)child.private + i * PAGE;
		r[i].end = r[i].start + PAGE;
	}
	assert_int_equal(pages_count_all(child.t, r, BIG_PAGES, &err), 0);
	for (size_t i = 0; i < BIG_PAGES; i++) {
		bool touched = (i < 9000 && i % 2 == 0) || i == 15000;

		assert_int_equal(r[i].count.resident_bytes, touched ? PAGE : 0);
		sum += r[i].count.resident_bytes;
	}
	assert_int_equal(sum, TOUCHED * PAGE);
}

/* Told as such, or, without PAGEMAP_SCAN, as what may be one. */
static void test_zero_page(void **state)
{
	struct pages_count c = count(child.read_only, 0, BIG);

	assert_int_equal(c.zero_bytes + c.doubtful_bytes, 10 * PAGE);
	assert_int_equal(c.resident_bytes, c.doubtful_bytes);
}

static void test_without_scan(void **state)
{
	setenv("MEMWHO_WITHOUT", "pagemap_scan", 1);
	test_counts(state);
	test_parts_of_pages(state);
	test_many_ranges(state);
	test_zero_page(state);
	assert_int_equal(count(child.read_only, 0, BIG).doubtful_bytes, 10 * PAGE);
	unsetenv("MEMWHO_WITHOUT");
}

static void test_nothing(void **state)
{
	struct error err = { 0 };

	assert_int_equal(pages_count_all(child.t, NULL, 0, &err), 0);
}

static void test_ended(void **state)
{
	struct error err = { 0 };
	struct pages_count c;
	struct target *t;
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	assert_int_equal(target_open(pid, &t, &err), 0);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(
		pages_count(t, (uintptr_t)child.private, (uintptr_t)child.private + PAGE, &c, &err),
		-ESRCH);
	assert_non_null(strstr(err.message, "has ended"));
	target_close(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),       cmocka_unit_test(test_parts_of_pages),
		cmocka_unit_test(test_many_ranges),  cmocka_unit_test(test_zero_page),
		cmocka_unit_test(test_without_scan), cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_ended),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
