/* SPDX-License-Identifier: GPL-2.0-or-later */

/* The spool keeps what it has acknowledged: killed anywhere, on a full disk, with clocks
 * that jump, with an index that is broken or gone. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/steps.h"
#include "serve/spool.h"
#include "serve/spool_files.h"

enum { KEPT = 100, KILLS = 200 };

static char folder[256];
static struct error err;
static struct spool_clock set_clock;

static void clock_of_test(struct spool_clock *ret)
{
	*ret = set_clock;
}

/* Seconds pass, and the wall clock goes with them. */
static void pass(int64_t seconds)
{
	set_clock.unix_ns += seconds * 1000000000;
	set_clock.passed_ns += seconds * 1000000000;
}

static int new_folder(void **state)
{
	(void)state;
	/* in memory where that can be had: a kill loses nothing there, and disks are slow */
	snprintf(folder, sizeof(folder), "%sspool-test-XXXXXX",
	         access("/dev/shm", W_OK) == 0 ? "/dev/shm/" : "");
	set_clock = (struct spool_clock){ 1764000000ll * 1000000000, 5000000000 };
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	char command[300];
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		snprintf(command, sizeof(command), "%s", folder);
		execlp("rm", "rm", "-rf", command, (char *)NULL);
		_exit(1);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static struct spool *open_with(struct spool_options o)
{
	struct spool *s = NULL;

	o.folder = folder;
	if (!o.min_free_percent)
		o.min_free_percent = 1; /* whatever the machine has left */
	if (spool_open(&o, &s, &err) < 0)
		fail_msg("spool_open: %s", err.message);
	return s;
}

static struct spool *open_simple(void)
{
	return open_with((struct spool_options){ .clock = clock_of_test });
}

static int add(struct spool *s, const char *target, size_t bytes, uint64_t held,
               struct spool_capture *ret)
{
	cleanup_free char *data = malloc(bytes + 1);
	struct spool_about about = { .target = target, .trigger = "growth", .held_bytes = held };

	memset(data, 'x', bytes);
	return spool_add(s, &about, data, bytes, ret, &err);
}

static struct spool_counts counts(struct spool *s)
{
	struct spool_counts c;

	spool_counts(s, &c);
	return c;
}

/* Files with this end, below the folders of targets. */
static size_t count_files(const char *end)
{
	DIR *top = opendir(folder);
	struct dirent *t, *e;
	size_t n = 0;

	while ((t = readdir(top))) {
		char path[600];
		DIR *d;

		if (t->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, t->d_name);
		d = opendir(path);
		while (d && (e = readdir(d)))
			n += strlen(e->d_name) > strlen(end) &&
			     !strcmp(e->d_name + strlen(e->d_name) - strlen(end), end);
		if (d)
			closedir(d);
	}
	closedir(top);
	return n;
}

/* Every row has its file and every file its row; nothing unfinished lies there. */
static void check_consistent(struct spool *s)
{
	cleanup_free struct spool_capture *all = NULL;
	uint64_t bytes = 0;
	size_t n = 0;

	assert_int_equal(spool_list(s, NULL, 0, &all, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		cleanup_close int fd = -1;
		struct stat st;

		assert_int_equal(spool_open_capture(s, all[i].id, &fd, &err), 0);
		assert_int_equal(fstat(fd, &st), 0);
		assert_int_equal(st.st_size, all[i].file_bytes);
		bytes += all[i].file_bytes;
	}
	assert_int_equal(count_files(SPOOL_FILES_END), n);
	assert_int_equal(count_files(SPOOL_FILES_TMP_END), 0);
	assert_int_equal(counts(s).captures, n);
	assert_int_equal(counts(s).bytes, bytes);
}

static void test_add_and_read(void **state)
{
	cleanup(spool_closep) struct spool *s = open_simple();
	struct spool_about about = { .target = "my api/1",
		                     .trigger = "limit",
		                     .reason = "above 80 % of its limit",
		                     .held_bytes = 77,
		                     .pid = 12 };
	struct spool_capture made, found;
	char text[16] = "";
	int fd;

	assert_int_equal(spool_add(s, &about, "hello", 5, &made, &err), 0);
	assert_string_equal(made.id, "20251124T160000Z-1-limit");
	about.baseline = made.id;
	assert_int_equal(spool_add(s, &about, "world", 5, NULL, &err), 0);
	spool_closep(&s);

	s = open_simple();
	assert_int_equal(spool_find(s, made.id, &found, &err), 0);
	assert_memory_equal(&found, &made, sizeof(found));
	assert_int_equal(spool_open_capture(s, made.id, &fd, &err), 0);
	assert_int_equal(spool_remove(s, made.id, &err), 0);
	assert_int_equal(read(fd, text, sizeof(text)), 5); /* still readable */
	assert_string_equal(text, "hello");
	close(fd);
	assert_int_equal(spool_find(s, made.id, &found, &err), -ENOENT);
	assert_int_equal(spool_newest(s, "my api/1", NULL, &found, &err), 0);
	assert_string_equal(found.baseline, made.id);
	assert_int_equal(found.number, 2);
	assert_int_equal(spool_newest(s, "my api/1", "growth", &found, &err), -ENOENT);
	check_consistent(s);
	assert_int_equal(counts(s).adopted + counts(s).rows_lost, 0);
	(void)state;
}

static void test_names(void **state)
{
	static const char *const bad[] = { "", "../x", "a/b", "Growth", "a b" };
	cleanup(spool_closep) struct spool *s = open_simple();
	struct spool_capture c;
	struct stat st;
	char name[600];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct spool_about about = { .target = "t", .trigger = bad[i] };

		assert_int_equal(spool_add(s, &about, "x", 1, NULL, &err), -EINVAL);
	}
	assert_int_equal(add(s, "", 1, 1, NULL), -EINVAL);
	assert_int_equal(add(s, "../../etc", 1, 1, NULL), 0);
	assert_int_equal(add(s, ".index.sqlite", 1, 1, NULL), 0);
	assert_int_equal(add(s, "\xff\n", 1, 1, &c), 0);
	assert_string_equal(c.target, "\xff\n");
	snprintf(name, sizeof(name), "%s/%%2E.%%2F..%%2Fetc", folder);
	assert_int_equal(stat(name, &st), 0);
	memset(name, 'n', 200);
	name[200] = '\0';
	assert_int_equal(add(s, name, 1, 1, NULL), -EINVAL);
	check_consistent(s);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	(void)state;
}

static void test_one_process(void **state)
{
	cleanup(spool_closep) struct spool *s = open_simple();
	struct spool *other = NULL;

	assert_int_equal(spool_open(&(struct spool_options){ .folder = folder }, &other, &err),
	                 -EBUSY);
	assert_null(other);
	(void)state;
}

/* The first and the largest of a target go last; the quota holds in any case. */
static void test_limits(void **state)
{
	cleanup(spool_closep) struct spool *s = open_with(
		(struct spool_options){ .clock = clock_of_test, .max_captures = 4 });
	struct spool_capture c[10], left;

	for (int i = 0; i < 6; i++)
		assert_int_equal(add(s, "a", 100, i == 2 ? 1000 : 10, &c[i]), 0);
	assert_int_equal(counts(s).captures, 4);
	assert_int_equal(counts(s).evicted, 2);
	assert_int_equal(spool_find(s, c[0].id, &left, &err), 0); /* the first */
	assert_int_equal(spool_find(s, c[1].id, &left, &err), -ENOENT);
	assert_int_equal(spool_find(s, c[2].id, &left, &err), 0); /* the largest */
	assert_int_equal(spool_find(s, c[3].id, &left, &err), -ENOENT);
	/* targets that come later push out what was quiet for longest */
	assert_int_equal(add(s, "b", 100, 10, &c[6]), 0);
	assert_int_equal(add(s, "c", 100, 10, &c[7]), 0);
	assert_int_equal(counts(s).captures, 4);
	assert_int_equal(spool_find(s, c[0].id, &left, &err), 0);
	assert_int_equal(add(s, "d", 100, 10, &c[8]), 0);
	assert_int_equal(spool_find(s, c[0].id, &left, &err), -ENOENT);
	assert_int_equal(spool_find(s, c[8].id, &left, &err), 0);
	check_consistent(s);
	/* fewer bytes, at once */
	assert_int_equal(spool_set_limits(s,
	                                  &(struct spool_options){ .clock = clock_of_test,
	                                                           .min_free_percent = 1,
	                                                           .max_bytes = 250 },
	                                  &err),
	                 0);
	assert_int_equal(counts(s).captures, 2);
	assert_int_equal(add(s, "e", 251, 1, NULL), -EFBIG);
	assert_int_equal(counts(s).captures, 2);
	assert_int_equal(counts(s).refused, 1);
	assert_int_equal(add(s, "e", 250, 1, NULL), 0);
	assert_int_equal(counts(s).captures, 1);
	check_consistent(s);
	(void)state;
}

static void test_age(void **state)
{
	struct spool_options o = { .clock = clock_of_test, .max_age_s = 3600 };
	cleanup(spool_closep) struct spool *s = open_with(o);
	const int64_t year_ns = 365ll * 86400 * 1000000000;

	for (int i = 0; i < 4; i++) {
		assert_int_equal(add(s, "a", 10, 1, NULL), 0);
		pass(60);
	}
	/* the wall clock jumps by a year, forth and back: nothing is older for that */
	set_clock.unix_ns += year_ns;
	assert_int_equal(spool_prune(s, &err), 0);
	assert_int_equal(counts(s).captures, 4);
	set_clock.unix_ns -= 2 * year_ns;
	assert_int_equal(add(s, "a", 10, 1, NULL), 0);
	assert_int_equal(counts(s).captures, 5);
	set_clock.unix_ns += year_ns;
	/* an hour later those of the first minutes go, but not the first */
	pass(3600 - 90);
	assert_int_equal(spool_prune(s, &err), 0);
	assert_int_equal(counts(s).captures, 3);
	/* switched off for a year: that counts as a day, which is too old */
	spool_closep(&s);
	set_clock.unix_ns += year_ns;
	set_clock.passed_ns = 1;
	o.max_age_s = 2 * 86400;
	s = open_with(o);
	assert_int_equal(counts(s).captures, 3);
	spool_closep(&s);
	o.max_age_s = 86400;
	s = open_with(o);
	assert_int_equal(counts(s).captures, 1);
	check_consistent(s);
	(void)state;
}

static void overwrite(const char *name, const char *with, size_t at)
{
	char path[400];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, with, strlen(with), at), strlen(with));
	close(fd);
}

/* Files are the truth. */
static void test_index_lost(void **state)
{
	cleanup(spool_closep) struct spool *s = open_simple();
	struct spool_capture c, again;
	char path[600];

	for (int i = 0; i < 20; i++)
		assert_int_equal(add(s, i % 2 ? "a" : "b/", 1000, 1, &c), 0);
	spool_closep(&s);
	overwrite(".index.sqlite", "this is no database any more", 0);
	s = open_simple();
	assert_true(counts(s).remade);
	assert_int_equal(counts(s).adopted, 20);
	assert_int_equal(spool_find(s, c.id, &again, &err), 0);
	assert_string_equal(again.target, c.target);
	assert_int_equal(again.unix_ns / 1000000000, c.unix_ns / 1000000000);
	check_consistent(s);
	assert_int_equal(add(s, "a", 10, 1, &again), 0);
	assert_int_equal(again.number, 21); /* numbers go on */
	spool_closep(&s);

	/* a file that somebody deleted, and one that is not ours */
	snprintf(path, sizeof(path), "%s/a/%s" SPOOL_FILES_END, folder, again.id);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/a/notes.txt", folder);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	s = open_simple();
	assert_int_equal(counts(s).rows_lost, 1);
	assert_int_equal(counts(s).captures, 20);
	check_consistent(s);
	assert_int_equal(access(path, F_OK), 0);
	(void)state;
}

/* --- kill -9 ------------------------------------------------------------------------ */

static int steps_left;

static void kill_at_step(const char *what)
{
	(void)what;
	if (steps_left-- == 0)
		kill(getpid(), SIGKILL);
}

/* Says "ID\n" on @to after each capture that was acknowledged; never ends by itself. */
static void adds_for_ever(int to, int n)
{
	struct spool_options o = { .folder = folder, .min_free_percent = 1, .max_captures = KEPT };
	struct spool *s;

	if (spool_open(&o, &s, &err) < 0)
		_exit(1);
	for (int i = 0; i < n; i++) {
		struct spool_capture c;
		char line[SPOOL_ID_BYTES + 2];

		if (add(s, i % 3 ? "a" : "b", 10 + i % 3000, i % 7, &c) < 0)
			_exit(2);
		snprintf(line, sizeof(line), "%s\n", c.id);
		if (write(to, line, strlen(line)) < 0)
			_exit(3);
	}
	_exit(0);
}

/* What was acknowledged is there, unless the limits took it. */
static size_t check_acknowledged(int from, struct spool *s, struct hash_map *known)
{
	cleanup_fclose FILE *f = fdopen(from, "r");
	char id[SPOOL_ID_BYTES + 2];
	size_t n = 0;

	while (fgets(id, sizeof(id), f)) {
		struct spool_capture c;
		int r;

		id[strcspn(id, "\n")] = '\0';
		r = spool_find(s, id, &c, &err);
		assert_true(r == 0 || (r == -ENOENT && counts(s).captures == KEPT));
		assert_null(hash_map_get(known, hash_bytes(id, strlen(id), 0))); /* no id twice */
		assert_int_equal(hash_map_put(known, hash_bytes(id, strlen(id), 0), 1, &err), 0);
		n++;
	}
	return n;
}

/* Wait for @n lines on a pipe, or its end; they can still be read from it: they are
 * counted by its size. */
static void wait_for_lines(int from, size_t n)
{
	struct pollfd p = { .fd = from };
	int bytes = 0;

	while (ioctl(from, FIONREAD, &bytes) == 0 &&
	       (size_t)bytes < n * strlen("20251124T160000Z-1-growth"))
		if (poll(&p, 1, 1) > 0 && p.revents & POLLHUP)
			return;
}

static size_t kill_once(long random, int step, struct hash_map *known, int *status)
{
	int p[2];
	pid_t pid;
	cleanup(spool_closep) struct spool *s = NULL;

	assert_int_equal(pipe(p), 0);
	pid = fork();
	if (!pid) {
		close(p[0]);
		if (step >= 0) {
			steps_left = step;
			steps_hook = kill_at_step;
		}
		adds_for_ever(p[1], step >= 0 ? 4 : 100000);
	}
	close(p[1]);
	if (step < 0) {
		wait_for_lines(p[0], (size_t)random % 4);
		nanosleep(&(struct timespec){ .tv_nsec = random / 4 % 2000000 }, NULL);
		kill(pid, SIGKILL);
	}
	assert_int_equal(waitpid(pid, status, 0), pid);
	s = open_with((struct spool_options){ .max_captures = KEPT });
	check_consistent(s);
	return check_acknowledged(p[0], s, known);
}

static void test_killed_at_random(void **state)
{
	struct hash_map known = { 0 };
	uint64_t random = 1;
	size_t n = 0;
	int status;

	for (int i = 0; i < KILLS; i++) {
		random = hash_u64(random + (uint64_t)i + 1);
		n += kill_once((long)(random >> 1), -1, &known, &status);
		assert_true(WIFSIGNALED(status));
	}
	print_message("%zu captures acknowledged before %d kills\n", n, KILLS);
	assert_true(n > KILLS);
	hash_map_clear(&known);
	(void)state;
}

static void test_killed_at_each_step(void **state)
{
	struct hash_map known = { 0 };
	int status, step = 0;

	for (;; step++) {
		kill_once(0, step, &known, &status);
		if (!WIFSIGNALED(status))
			break;
	}
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(step >= 20); /* five a capture */
	hash_map_clear(&known);
	(void)state;
}

/* --- a full disk -------------------------------------------------------------------- */

/* In a process of its own, as its file systems are. Exit code 77: not possible here. */
#define must(x)                                                                                    \
	((x) ? (void)0                                                                             \
	     : (fprintf(stderr, "line %d: %s: %s\n", __LINE__, #x, err.message), _exit(1)))

static void fill_disk(unsigned percent)
{
	char data[3000];
	struct spool_about about = { .target = "t", .trigger = "growth" };
	struct spool *s;
	size_t n = 0;
	int r;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", folder, "tmpfs", 0, "size=4m,mode=0700") < 0)
		_exit(77);
	memset(data, 'x', sizeof(data));
	s = open_with(
		(struct spool_options){ .clock = clock_of_test, .min_free_percent = percent });
	for (;; n++) {
		r = spool_add(s, &about, data, sizeof(data), NULL, &err);
		if (r < 0)
			break;
	}
	must(r == -ENOSPC);
	must(n > 200);
	check_consistent(s);
	must(counts(s).captures == n);
	/* it can be made room, and goes on */
	if (spool_set_limits(s,
	                     &(struct spool_options){ .clock = clock_of_test,
	                                              .min_free_percent = percent,
	                                              .max_captures = n / 2 },
	                     &err) == 0)
		must(spool_add(s, &about, data, sizeof(data), NULL, &err) == 0);
	spool_closep(&s);
	s = open_with((struct spool_options){ .clock = clock_of_test, .min_free_percent = 1 });
	check_consistent(s);
	must(counts(s).captures >= n / 2);
	spool_closep(&s);
	_exit(0);
}

static void test_full_disk(void **state)
{
	static const unsigned percents[] = { 5, 1 };

	for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
		int status;
		pid_t pid = fork();

		if (!pid)
			fill_disk(percents[i]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
			skip(); /* not root */
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, new_folder, remove_folder)
		TEST(test_add_and_read),
		TEST(test_names),
		TEST(test_one_process),
		TEST(test_limits),
		TEST(test_age),
		TEST(test_index_lost),
		TEST(test_full_disk),
		TEST(test_killed_at_random),
		TEST(test_killed_at_each_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
