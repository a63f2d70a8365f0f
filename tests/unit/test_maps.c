/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
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
#include "target/maps.h"
#include "target/maps_moved.h"

static int parse(const char *text, struct maps *m)
{
	struct error err = { 0 };

	return maps_parse(text, strlen(text), m, &err);
}

static void the_widest_gap_is_found(void **state)
{
	cleanup(maps_clear) struct maps m = { 0 };
	uint64_t bytes;

	assert_int_equal(maps_gap(&m, 0x1000, 0x9000, &bytes), 0x1000);
	assert_int_equal(bytes, 0x8000);
	assert_int_equal(parse("1000-3000 r--p 00000000 00:00 0\n"
	                       "4000-5000 r--p 00000000 00:00 0\n"
	                       "8000-9000 r--p 00000000 00:00 0\n",
	                       &m),
	                 0);
	assert_int_equal(maps_gap(&m, 0, 0x9000, &bytes), 0x5000);
	assert_int_equal(bytes, 0x3000);
	/* behind the last, before the first, cut by the limits */
	assert_int_equal(maps_gap(&m, 0, 0x10000, &bytes), 0x9000);
	assert_int_equal(bytes, 0x7000);
	assert_int_equal(maps_gap(&m, 0x2000, 0x5800, &bytes), 0x3000);
	assert_int_equal(bytes, 0x1000);
	assert_int_equal(maps_gap(&m, 0x1000, 0x3000, &bytes), 0);
	assert_int_equal(bytes, 0);
}

/* Two copies beside each other and one alone, of two files; theirs lie aside, joined. */
static void moved_pages_are_put_back(void **state)
{
	static const char with[] = "1000-5000 r-xp 00000000 08:01 7 /a\n"
				   "5000-7000 r-xp 00000000 00:00 0\n"
				   "7000-9000 r-xp 00006000 08:01 7 /a\n"
				   "9000-a000 r-xp 00000000 00:00 0\n"
				   "a000-b000 rw-p 00009000 08:01 7 /a\n"
				   "c000-d000 r-xp 00000000 08:01 8 /b\n"
				   "20000-21000 r-xp 00000000 00:00 0\n"
				   "21000-23000 r-xp 00004000 08:01 7 /a\n"
				   "23000-24000 r-xp 00000000 08:01 8 /b\n";
	char a[] = "/a", b[] = "/b";
	struct maps_moved_page pages[] = { { 0x5000, 0x4000, 7, 8, 1, a },
		                           { 0x6000, 0x5000, 7, 8, 1, a },
		                           { 0xb000, 0x1000, 8, 8, 1, b } };
	const struct maps_moved moved = { 0x21000, 0x24000, pages, 3 };
	cleanup(maps_clear) struct maps m = { 0 };
	struct error err = { 0 };

	assert_int_equal(parse(with, &m), 0);
	assert_int_equal(maps_moved_put_back(&m, &moved, &err), 0);
	/* /a in one; what is not one of the pages stays, also where it looks alike */
	assert_int_equal(m.n_items, 5);
	assert_int_equal(m.items[0].start, 0x1000);
	assert_int_equal(m.items[0].end, 0x9000);
	assert_int_equal(m.items[0].inode, 7);
	assert_int_equal(m.items[1].start, 0x9000);
	assert_int_equal(m.items[1].inode, 0);
	assert_string_equal(m.items[3].name, "/b");
	assert_int_equal(m.items[4].start, 0x20000);
	/* and once more, of maps that have nothing moved */
	assert_int_equal(maps_moved_put_back(&m, &moved, &err), 0);
	assert_int_equal(m.n_items, 5);
}

static void every_field_is_read(void **state)
{
	cleanup(maps_clear) struct maps m = { 0 };

	assert_int_equal(
		parse("55d0c0a00000-55d0c0a02000 r--p 00001000 fe:1f 1234567   /usr/bin/my prog\n"
	              "7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0         [stack]\n"
	              "7ffd00021000-7ffd00022000 rwxs 00000000 00:01 9  /dev/zero (deleted)\n"
	              "7ffd00030000-7ffd00031000 ---p 00000000 00:00 0 \n"
	              "7ffd00040000-7ffd00041000 r-xp 00000000 00:00 0\n"
	              "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n",
	              &m),
		0);
	assert_int_equal(m.n_items, 6);
	assert_int_equal(m.items[0].start, 0x55d0c0a00000);
	assert_int_equal(m.items[0].end, 0x55d0c0a02000);
	assert_int_equal(m.items[0].offset, 0x1000);
	assert_int_equal(m.items[0].dev_major, 0xfe);
	assert_int_equal(m.items[0].dev_minor, 0x1f);
	assert_int_equal(m.items[0].inode, 1234567);
	assert_int_equal(m.items[0].prot, MAPS_READ);
	assert_string_equal(m.items[0].name, "/usr/bin/my prog");
	assert_string_equal(m.items[1].name, "[stack]");
	assert_int_equal(m.items[1].prot, MAPS_READ | MAPS_WRITE);
	assert_int_equal(m.items[2].prot, MAPS_READ | MAPS_WRITE | MAPS_EXEC | MAPS_SHARED);
	assert_true(m.items[2].deleted);
	assert_string_equal(m.items[2].name, "/dev/zero");
	assert_string_equal(m.items[3].name, "");
	assert_int_equal(m.items[3].prot, 0);
	assert_int_equal(m.items[4].prot, MAPS_READ | MAPS_EXEC);
	assert_string_equal(m.items[5].name, "[vsyscall]");

	assert_null(maps_find(&m, 0x55d0c09fffff));
	assert_ptr_equal(maps_find(&m, 0x55d0c0a00000), &m.items[0]);
	assert_ptr_equal(maps_find(&m, 0x55d0c0a01fff), &m.items[0]);
	assert_null(maps_find(&m, 0x55d0c0a02000));
	assert_ptr_equal(maps_find(&m, 0x7ffd00021000), &m.items[2]);
	assert_null(maps_find(&m, UINT64_MAX));
}

static void names_are_any_bytes(void **state)
{
	cleanup(maps_clear) struct maps m = { 0 };

	assert_int_equal(
		parse("1000-2000 r--p 00000000 00:01 7  /a\\012b\\012 \\x\xff\x01 (deleted)\n", &m),
		0);
	assert_string_equal(m.items[0].name, "/a\nb\n \\x\xff\x01");
	assert_true(m.items[0].deleted);
}

static void a_name_of_the_suffix_alone_stays(void **state)
{
	cleanup(maps_clear) struct maps m = { 0 };

	assert_int_equal(parse("1000-2000 r--p 0 00:01 7   (deleted)\n", &m), 0);
	assert_string_equal(m.items[0].name, "(deleted)");
	assert_false(m.items[0].deleted);
}

static void what_was_told_twice_counts_once(void **state)
{
	cleanup(maps_clear) struct maps m = { 0 };

	assert_int_equal(parse("1000-3000 r--p 0 00:00 0\n"
	                       "2000-4000 r--p 0 00:00 0\n"
	                       "4000-5000 r--p 0 00:00 0\n",
	                       &m),
	                 0);
	assert_int_equal(m.n_items, 2);
	assert_int_equal(m.items[1].start, 0x4000);
}

static void nonsense_is_refused(void **state)
{
	static const char *const texts[] = {
		"1000-2000 r--p 0 00:00 0", /* no newline: cut */
		"\n",
		"1000\n",
		"1000-2000\n",
		"1000-2000 r--p\n",
		"1000-2000 r--p 0 00:00\n",
		"1000-2000 r--p 0 00:00 \n",
		"2000-1000 r--p 0 00:00 0\n",
		"1000-1000 r--p 0 00:00 0\n",
		"10000000000000000-2 r--p 0 00:00 0\n",
		"1000-2000 r--p 0 100000000:00 0\n",
		"x000-2000 r--p 0 00:00 0\n",
		"1000-2000 r--p 0 00:00 18446744073709551616 /x\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct maps m = { (void *)1, 2, 3 };

		assert_int_equal(parse(texts[i], &m), -EINVAL);
		assert_ptr_equal(m.items, (void *)1); /* untouched */
	}
}

/* A child that has a file of ours mapped. */
struct child {
	pid_t pid;
	struct target *t;
	char path[64];
	char *at;
	struct maps maps;
	const struct mapping *m;
};

static void child_start(struct child *c)
{
	struct error err = { 0 };
	int fd;

	snprintf(c->path, sizeof(c->path), "/tmp/memwho-maps-%d\n", getpid());
	fd = open(c->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, "first", 5), 5);
	c->at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	c->pid = fork();
	if (!c->pid) {
		pause();
		_exit(0);
	}
	assert_int_equal(target_open(c->pid, &c->t, &err), 0);
	assert_int_equal(maps_read(c->t, &c->maps, &err), 0);
	c->m = maps_find(&c->maps, (uintptr_t)c->at);
	assert_non_null(c->m);
	assert_string_equal(c->m->name, c->path);
}

static void child_end(struct child *c)
{
	if (target_alive(c->t) == 0)
		kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	munmap(c->at, 4096);
	unlink(c->path);
	target_close(c->t);
	maps_clear(&c->maps);
}

static void assert_reads(const struct child *c, const char *text)
{
	cleanup_close int fd = -1;
	struct error err = { 0 };
	char buf[16] = "";

	assert_int_equal(maps_open_file(c->t, c->m, &fd, &err), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf) - 1, 0), strlen(text));
	assert_string_equal(buf, text);
}

static void replace_file(const struct child *c)
{
	cleanup_close int fd = -1;

	unlink(c->path);
	fd = open(c->path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_int_equal(write(fd, "second", 6), 6);
}

static void the_file_of_a_mapping_is_opened(void **state)
{
	struct child c = { 0 };

	child_start(&c);
	assert_reads(&c, "first");
	setenv("MEMWHO_WITHOUT", "map_files", 1);
	assert_reads(&c, "first");
	setenv("MEMWHO_WITHOUT", "map_files,openat2", 1);
	assert_reads(&c, "first");
	unsetenv("MEMWHO_WITHOUT");
	child_end(&c);
}

static void a_replaced_file_is_never_taken_for_the_mapped_one(void **state)
{
	struct child c = { 0 };
	struct error err = { 0 };
	int fd = -1;

	child_start(&c);
	replace_file(&c);
	if (geteuid() == 0)
		assert_reads(&c, "first");
	setenv("MEMWHO_WITHOUT", "map_files", 1);
	assert_int_equal(maps_open_file(c.t, c.m, &fd, &err), -ESTALE);
	assert_int_equal(fd, -1);
	assert_non_null(strstr(err.hint, "CAP_SYS_ADMIN"));
	unlink(c.path);
	assert_int_equal(maps_open_file(c.t, c.m, &fd, &err), -ESTALE);
	unsetenv("MEMWHO_WITHOUT");
	if (geteuid() == 0)
		assert_reads(&c, "first");
	child_end(&c);
}

static void what_is_no_file_is_said(void **state)
{
	struct error err = { 0 };
	struct child c = { 0 };
	struct mapping anon = { .start = 1, .end = 2, .name = (char *)"" };
	int fd;

	child_start(&c);
	assert_int_equal(maps_open_file(c.t, &anon, &fd, &err), -ENOENT);
	child_end(&c);
}

static void the_end_is_no_empty_list(void **state)
{
	struct error err = { 0 };
	struct maps m = { 0 };
	struct child c = { 0 };

	child_start(&c);
	kill(c.pid, SIGKILL);
	waitid(P_PID, c.pid, NULL, WEXITED | WNOWAIT);
	assert_int_equal(maps_read(c.t, &m, &err), -ESRCH); /* a zombie */
	assert_non_null(strstr(err.message, "has ended"));
	waitpid(c.pid, NULL, 0);
	assert_int_equal(maps_read(c.t, &m, &err), -ESRCH);
	child_end(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moved_pages_are_put_back),
		cmocka_unit_test(the_widest_gap_is_found),
		cmocka_unit_test(every_field_is_read),
		cmocka_unit_test(names_are_any_bytes),
		cmocka_unit_test(a_name_of_the_suffix_alone_stays),
		cmocka_unit_test(what_was_told_twice_counts_once),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(the_file_of_a_mapping_is_opened),
		cmocka_unit_test(a_replaced_file_is_never_taken_for_the_mapped_one),
		cmocka_unit_test(what_is_no_file_is_said),
		cmocka_unit_test(the_end_is_no_empty_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
