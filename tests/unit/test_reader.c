/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "target/reader.h"
#include "target/target.h"

#include "child.h"

enum { MIB = 1 << 20, PAGE = 4096, BIG = 64 * MIB };

/* A child with memory that is known page by page. Pages 10, 11 and 5000 of both
 * big mappings hold bytes, nothing else was ever touched. */
static struct {
	pid_t pid;
	struct target *t;
	char *private, *shared;
	int shared_fd;
	char known[3 * PAGE];
} child;

static const size_t touched[] = { 10, 11, 5000 };

static void child_touch(char *at)
{
	for (size_t i = 0; i < ARRAY_SIZE(touched); i++)
		memset(at + touched[i] * PAGE, 'a' + (int)i, PAGE);
}

static void child_live(void)
{
	child_touch(child.private);
	child_touch(child.shared);
	for (size_t i = 0; i < sizeof(child.known); i++)
		child.known[i] = i * 7 + i / 256;
}

static char *map(int flags, int fd)
{
	char *at = mmap(NULL, BIG, PROT_READ | PROT_WRITE, flags, fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	madvise(at, BIG, MADV_NOHUGEPAGE);
	return at;
}

static int setup(void **state)
{
	struct error err = { 0 };

	child.shared_fd = memfd_create("holes", MFD_CLOEXEC);
	assert_int_equal(ftruncate(child.shared_fd, BIG), 0);
	child.private = map(MAP_PRIVATE | MAP_ANONYMOUS, -1);
	child.shared = map(MAP_SHARED, child.shared_fd);
	child.pid = child_start(child_live);
	assert_int_equal(target_open(child.pid, &child.t, &err), 0);
	return 0;
}

static int teardown(void **state)
{
	unsetenv("MEMWHO_WITHOUT");
	child.t = target_close(child.t);
	child_end(child.pid);
	munmap(child.private, BIG);
	munmap(child.shared, BIG);
	close(child.shared_fd);
	return 0;
}

/* What reading must not change. smaps_rollup: status' RSS is kept in batches. */
struct footprint {
	int64_t rss, page_tables, blocks;
};

static struct footprint footprint(void)
{
	cleanup_free char *text = NULL;
	struct footprint f;
	struct error err;
	struct stat st;
	const char *rss;

	assert_int_equal(target_proc_file(child.t, "smaps_rollup", 1 << 16, &text, NULL, &err), 0);
	rss = strstr(text, "\nRss:");
	assert_non_null(rss);
	f.rss = strtoll(rss + 5, NULL, 10);
	f.page_tables = target_status_bytes(child.t, "VmPTE");
	assert_true(f.page_tables > 0);
	assert_int_equal(fstat(child.shared_fd, &st), 0);
	f.blocks = st.st_blocks;
	return f;
}

static bool same(struct footprint a, struct footprint b)
{
	return a.rss == b.rss && a.page_tables == b.page_tables && a.blocks == b.blocks;
}

static bool was_touched(size_t page)
{
	for (size_t i = 0; i < ARRAY_SIZE(touched); i++) {
		if (touched[i] == page)
			return true;
	}
	return false;
}

static void known_bytes_come_back(void **state)
{
	char buf[3 * PAGE];
	struct error err = { 0 };

	assert_int_equal(reader_read(child.t, (uintptr_t)child.known, buf, sizeof(buf), &err), 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], (char)(i * 7 + i / 256));
	for (size_t off = 0; off < 2 * PAGE; off += 4093) {
		assert_int_equal(
			reader_try(child.t, (uintptr_t)child.known + off, buf, sizeof(buf) - off),
			0);
		assert_int_equal(buf[0], (char)(off * 7 + off / 256));
	}
}

static void each_page_is_read_or_refused(char *base)
{
	char buf[PAGE];

	for (size_t i = 0; i < BIG / PAGE; i++) {
		int r = reader_try(child.t, (uintptr_t)base + i * PAGE, buf, PAGE);

		assert_int_equal(r, was_touched(i) ? 0 : -ENODATA);
		if (!r)
			assert_int_equal(buf[PAGE - 1], i == 10 ? 'a' : i == 11 ? 'b' : 'c');
	}
}

static void looking_changes_nothing(void **state)
{
	struct footprint before = footprint();
	char two[2 * PAGE];
	struct error err = { 0 };

	each_page_is_read_or_refused(child.private);
	each_page_is_read_or_refused(child.shared);
	/* a read that is only partly there is refused as a whole */
	assert_int_equal(
		reader_read(child.t, (uintptr_t)child.shared + 11 * PAGE, two, sizeof(two), &err),
		-ENODATA);
	assert_non_null(strstr(err.message, "not in memory"));
	assert_int_equal(reader_try(child.t, (uintptr_t)child.shared + 10 * PAGE, two, sizeof(two)),
	                 0);
	assert_int_equal(two[PAGE], 'b');
	assert_true(same(before, footprint()));
}

/* The control: the measure above does see a read that touches a hole. */
static void a_careless_read_would_be_seen(void **state)
{
	struct footprint before = footprint();
	cleanup_close int fd = openat(child.t->proc_fd, "mem", O_RDONLY);
	cleanup_free char *buf = malloc(4 * MIB);

	assert_int_equal(pread(fd, buf, 4 * MIB, (uintptr_t)child.shared + 32 * MIB), 4 * MIB);
	assert_false(same(before, footprint()));
	assert_int_equal(footprint().blocks - before.blocks, 4 * MIB / 512);
}

static void runs_of_present_pages(void **state)
{
	uint64_t at = (uintptr_t)child.shared, end = at + BIG, from, to;

	assert_int_equal(reader_present(child.t, at, end, &from, &to), 1);
	assert_int_equal(from, at + 10 * PAGE);
	assert_int_equal(to, at + 12 * PAGE);
	assert_int_equal(reader_present(child.t, to, end, &from, &to), 1);
	assert_int_equal(from, at + 5000 * PAGE);
	assert_int_equal(to, at + 5001 * PAGE);
	assert_int_equal(reader_present(child.t, to, end, &from, &to), 0);
	assert_int_equal(reader_present(child.t, at + 11 * PAGE, at + 12 * PAGE, &from, &to), 1);
	assert_int_equal(from, at + 11 * PAGE);
	assert_int_equal(reader_present(child.t, at + 1, end, &from, &to), -EINVAL);
}

static void what_is_not_mapped_is_said(void **state)
{
	static const uint64_t nowhere[] = {
		0, 8, 0x7fffffffe000, 0x800000000000, 0xdead0000beef0000, UINT64_MAX - 3
	};
	struct error err = { 0 };
	char buf[8];

	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
		assert_int_equal(reader_read(child.t, nowhere[i], buf, sizeof(buf), &err), -EFAULT);
		assert_non_null(strstr(err.message, "not mapped"));
		assert_int_not_equal(reader_try(child.t, nowhere[i], buf, sizeof(buf)), 0);
	}
}

static void strings_end(void **state)
{
	char buf[64];
	uint64_t a = (uintptr_t)child.private + 11 * PAGE + PAGE - 10;

	/* ten bytes, then an absent page */
	assert_int_equal(reader_string(child.t, a, buf, sizeof(buf)), -ENODATA);
	assert_int_equal(reader_string(child.t, a, buf, 11), 0);
	assert_string_equal(buf, "bbbbbbbbbb");
	assert_int_equal(reader_string(child.t, a, buf, 4), 0);
	assert_string_equal(buf, "bbb");
	assert_int_equal(reader_string(child.t, (uintptr_t) "over there", buf, sizeof(buf)), 0);
	assert_string_equal(buf, "over there");
}

static void the_same_by(const char *without)
{
	setenv("MEMWHO_WITHOUT", without, 1);
	reader_state_free(child.t->reader);
	child.t->reader = NULL;
	known_bytes_come_back(NULL);
	looking_changes_nothing(NULL);
	runs_of_present_pages(NULL);
	what_is_not_mapped_is_said(NULL);
	strings_end(NULL);
	unsetenv("MEMWHO_WITHOUT");
}

static void older_kernels_answer_the_same(void **state)
{
	the_same_by("pagemap_scan");
	the_same_by("procmap_query");
	the_same_by("pagemap_scan,procmap_query");
}

/* What is present is asked for in larger pieces then, and believed for good. */
static void what_stands_still_answers_the_same(void **state)
{
	char byte;

	child.t->stands_still = true;
	the_same_by("");
	the_same_by("pagemap_scan");
	assert_int_equal(reader_try(child.t, (uintptr_t)child.shared + 10 * PAGE, &byte, 1), 0);
	assert_int_equal(byte, 'a');
	/* the page goes, which it can't in a copy: nobody asks again, and it comes back empty */
	assert_int_equal(fallocate(child.shared_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                           10 * PAGE, PAGE),
	                 0);
	usleep(10000);
	assert_int_equal(reader_try(child.t, (uintptr_t)child.shared + 10 * PAGE, &byte, 1), 0);
	assert_int_equal(byte, 0);
}

/* The control: of what runs it is asked again. */
static void a_page_that_went_is_noticed(void **state)
{
	char byte;

	assert_int_equal(reader_try(child.t, (uintptr_t)child.shared + 10 * PAGE, &byte, 1), 0);
	assert_int_equal(fallocate(child.shared_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                           10 * PAGE, PAGE),
	                 0);
	usleep(10000);
	assert_int_equal(reader_try(child.t, (uintptr_t)child.shared + 10 * PAGE, &byte, 1),
	                 -ENODATA);
}

static void the_end_is_noticed(void **state)
{
	struct error err = { 0 };
	char buf[8];

	assert_int_equal(reader_try(child.t, (uintptr_t)child.known, buf, sizeof(buf)), 0);
	kill(child.pid, SIGKILL);
	waitid(P_PID, child.pid, NULL, WEXITED | WNOWAIT);
	for (int i = 0; i < 2; i++) { /* zombie, then nobody */
		assert_int_equal(
			reader_read(child.t, (uintptr_t)child.known, buf, sizeof(buf), &err),
			-ESRCH);
		assert_non_null(strstr(err.message, "has ended"));
		assert_int_equal(target_alive(child.t), -ESRCH);
		waitpid(child.pid, NULL, 0);
	}
}

/* After exec the old address space is gone; the new one is read. */
static void exec_is_followed(void **state)
{
	static char marker[32];
	struct error err = { 0 };
	int ready[2], done[2];
	struct target *t;
	char buf[16] = "";
	char addr[32];
	pid_t pid;

	memcpy(marker, "before", sizeof("before"));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(done), 0);
	pid = fork();
	if (!pid) {
		char c;

		dup2(ready[1], 1);
		dup2(done[0], 0);
		if (read(0, &c, 1) == 1)
			execl("/proc/self/exe", "test_reader", "again", NULL);
		_exit(1);
	}
	assert_int_equal(target_open(pid, &t, &err), 0);
	assert_int_equal(reader_try(t, (uintptr_t)marker, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "before");
	assert_int_equal(write(done[1], "x", 1), 1);
	assert_int_equal(read(ready[0], addr, sizeof(addr)), sizeof(addr));
	assert_int_equal(reader_try(t, strtoull(addr, NULL, 16), buf, sizeof(buf)), 0);
	assert_string_equal(buf, "after exec");
	target_close(t);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* What the exec'ed child does: tell where its marker is, wait. */
static int live_again(void)
{
	static volatile char marker[16];
	char addr[32] = "";

	for (size_t i = 0; i < sizeof("after exec"); i++)
		marker[i] = "after exec"[i];
	snprintf(addr, sizeof(addr), "%lx", (unsigned long)(uintptr_t)marker);
	if (write(1, addr, sizeof(addr)) < 0)
		return 1;
	pause();
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(known_bytes_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(looking_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(a_careless_read_would_be_seen, setup, teardown),
		cmocka_unit_test_setup_teardown(runs_of_present_pages, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_not_mapped_is_said, setup, teardown),
		cmocka_unit_test_setup_teardown(strings_end, setup, teardown),
		cmocka_unit_test_setup_teardown(older_kernels_answer_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(what_stands_still_answers_the_same, setup,
		                                teardown),
		cmocka_unit_test_setup_teardown(a_page_that_went_is_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_is_noticed, setup, teardown),
		cmocka_unit_test(exec_is_followed),
	};

	if (argc > 1)
		return live_again();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
