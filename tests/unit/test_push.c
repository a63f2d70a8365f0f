/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What an answer means, how long is waited, and a queue on disk that is killed at each step. */

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/steps.h"
#include "serve/push.h"
#include "serve/push_queue.h"

static struct error err;
static int steps_left;

static void test_statuses(void **state)
{
	static const struct {
		long status;
		enum push_outcome outcome;
	} table[] = {
		{ 200, PUSH_SENT },    { 204, PUSH_SENT },    { 301, PUSH_AGAIN },
		{ 400, PUSH_REFUSED }, { 401, PUSH_REFUSED }, { 404, PUSH_REFUSED },
		{ 408, PUSH_AGAIN },   { 413, PUSH_REFUSED }, { 429, PUSH_AGAIN },
		{ 500, PUSH_AGAIN },   { 503, PUSH_AGAIN },   { 0, PUSH_AGAIN },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		assert_int_equal(push_outcome_of(table[i].status), table[i].outcome);
	(void)state;
}

static void test_waits(void **state)
{
	for (unsigned n = 1; n < 100; n++) {
		uint64_t whole = n > 9 ? 300000 : 1000ull << (n - 1);

		whole = whole > 300000 ? 300000 : whole;
		assert_int_equal(push_wait_ms(1000, n, 0), whole / 2);
		assert_in_range(push_wait_ms(1000, n, 0.999), whole * 99 / 100, whole);
	}
	(void)state;
}

static void kill_at_step(const char *what)
{
	(void)what;
	if (steps_left-- == 0)
		kill(getpid(), SIGKILL);
}

/* Adds six, takes one out; says on @to what was acknowledged. */
static void use_queue(const char *folder, int step, int to)
{
	struct push_queue_item item = {
		.target = "t", .trigger = "g", .data = "0123456789", .len = 10
	};
	struct push_queue q;

	steps_left = step;
	steps_hook = kill_at_step;
	if (push_queue_open(folder, 4096 + 1024, &q, &err) < 0)
		_exit(1);
	for (char c = 'a'; c < 'g'; c++) {
		snprintf(item.id, sizeof(item.id), "%c", c);
		if (push_queue_add(&q, &item, &err) < 0 || write(to, &c, 1) != 1)
			_exit(2);
	}
	push_queue_remove(&q, q.entries[q.first].number);
	_exit(write(to, "-", 1) != 1);
}

/* All of the queue, as a word. */
static void read_queue(const char *folder, char *ret)
{
	struct push_queue q;

	assert_int_equal(push_queue_open(folder, 1 << 20, &q, &err), 0);
	while (push_queue_length(&q)) {
		cleanup_free void *memory = NULL;
		struct push_queue_item item;
		uint64_t number;

		assert_int_equal(push_queue_peek(&q, &item, &memory, &number, &err), 1);
		assert_int_equal(item.len, 10);
		assert_memory_equal(item.data, "0123456789", 10);
		*ret++ = item.id[0];
		push_queue_remove(&q, number);
	}
	*ret = '\0';
	assert_int_equal(q.damaged, 0);
	push_queue_close(&q);
}

static void test_queue_killed_at_each_step(void **state)
{
	int status, step = 0;

	do {
		char folder[] = "push-test-XXXXXX", said[16] = "", found[16];
		size_t n;
		int p[2];
		pid_t pid;

		assert_non_null(mkdtemp(folder));
		assert_int_equal(pipe(p), 0);
		pid = fork();
		if (!pid)
			use_queue(folder, step, p[1]);
		close(p[1]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		n = (size_t)read(p[0], said, sizeof(said) - 1);
		close(p[0]);
		read_queue(folder, found);
		/* the newest that was acknowledged is there, and those behind it in order */
		for (size_t i = 1; found[0] && found[i]; i++)
			assert_int_equal(found[i], found[i - 1] + 1);
		if (n && n <= ARRAY_SIZE("abcdef") - 1)
			assert_non_null(strchr(found, said[n - 1]));
		assert_int_equal(rmdir(folder), 0); /* nothing is left beside it */
	} while (WIFSIGNALED(status) && step++ < 100);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_true(step > 12);
	(void)state;
}

static void test_damaged(void **state)
{
	char folder[] = "push-test-XXXXXX", path[64];
	struct push_queue q;
	struct push_queue_item item;
	cleanup_free void *memory = NULL;
	uint64_t number;
	FILE *f;

	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/%020d.item", folder, 5);
	f = fopen(path, "w");
	fputs("no item of ours", f);
	fclose(f);
	assert_int_equal(push_queue_open(folder, 1 << 20, &q, &err), 0);
	assert_int_equal(push_queue_length(&q), 1);
	assert_int_equal(push_queue_peek(&q, &item, &memory, &number, &err), 0);
	assert_int_equal(q.damaged, 1);
	item = (struct push_queue_item){ .id = "x", .data = "", .len = 2 << 20 };
	assert_int_equal(push_queue_add(&q, &item, &err), -EFBIG);
	push_queue_close(&q);
	assert_int_equal(rmdir(folder), 0);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statuses),
		cmocka_unit_test(test_waits),
		cmocka_unit_test(test_queue_killed_at_each_step),
		cmocka_unit_test(test_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
