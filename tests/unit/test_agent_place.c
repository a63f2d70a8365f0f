/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The agent's table lies in the target's memory, where anything may have
 * happened to it: whatever it says, cleaning up changes nothing of the target
 * but functions that are patched as it says, and ends.
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/agent_place.h"
#include "base/cleanup.h"
#include "child.h"
#include "target/maps.h"

enum { PAGE = 4096, PLACES = 3, ROUNDS = 60 };

/* Of the child; the addresses are the same there. */
static struct {
	pid_t pid;
	int mem;
	struct target *t;
	uint8_t *places[PLACES];
	volatile uint64_t *rounds;
} child;

/* What is patched: never called, and alone in its page. */
__attribute__((aligned(4096), noinline, used)) static int victim(int x)
{
	return x * 7 + 3;
}

static void *go_on(void *arg)
{
	for (;;) {
		++*child.rounds;
		usleep(500);
	}
	return arg;
}

static void live(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, go_on, NULL))
		_exit(1);
}

static void *map_place(void)
{
	uint8_t *at = mmap(NULL, AGENT_BYTES + 2 * PAGE, PROT_NONE,
	                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	/* with a guard on both sides, so that the two make lines of their own in maps */
	if (at == MAP_FAILED || mprotect(at + PAGE, AGENT_CODE_BYTES, PROT_READ | PROT_EXEC) ||
	    mprotect(at + PAGE + AGENT_CODE_BYTES, AGENT_DATA_BYTES, PROT_READ | PROT_WRITE))
		return NULL;
	return at + PAGE;
}

static int start(void **state)
{
	char path[64];
	struct error err;

	(void)state;
	child.rounds = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (unsigned i = 0; i < PLACES; i++) {
		child.places[i] = map_place();
		if (!child.places[i])
			return -1;
	}
	child.pid = child_start(live);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)child.pid);
	child.mem = open(path, O_RDWR | O_CLOEXEC);
	return child.mem < 0 || target_open(child.pid, &child.t, &err) < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	target_close(child.t);
	close(child.mem);
	child_end(child.pid);
	return 0;
}

static void put(uint64_t at, const void *bytes, size_t n)
{
	assert_int_equal(pwrite(child.mem, bytes, n, (off_t)at), n);
}

static void get(uint64_t at, void *bytes, size_t n)
{
	assert_int_equal(pread(child.mem, bytes, n, (off_t)at), n);
}

static uint64_t place(unsigned i)
{
	return (uintptr_t)child.places[i];
}

static void put_table(unsigned i, const struct agent_table *t)
{
	const uint64_t claim = AGENT_MAGIC;

	put(place(i) + AGENT_CLAIM_AT, &claim, sizeof(claim));
	put(place(i) + AGENT_TABLE_AT, t, sizeof(*t));
}

static uint32_t state_of(unsigned i)
{
	uint32_t v;

	get(place(i) + AGENT_TABLE_AT + offsetof(struct agent_table, place), &v, sizeof(v));
	return v;
}

/* A sum over all code that comes from files. */
static uint64_t code_of_child(void)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	static uint8_t page[PAGE];
	struct error err;
	uint64_t sum = 0;

	assert_int_equal(maps_read(child.t, &maps, &err), 0);
	for (size_t i = 0; i < maps.n_items; i++) {
		const struct mapping *m = &maps.items[i];

		if (!(m->prot & MAPS_EXEC) || !m->inode)
			continue;
		for (uint64_t at = m->start; at < m->end; at += PAGE) {
			get(at, page, PAGE);
			for (unsigned k = 0; k < PAGE; k++)
				sum = sum * 31 + page[k];
		}
	}
	return sum;
}

static void it_goes_on(void)
{
	const uint64_t before = *child.rounds;

	for (unsigned i = 0; i < 2000 && *child.rounds < before + 2; i++)
		usleep(1000);
	assert_true(*child.rounds >= before + 2);
	assert_int_equal(waitpid(child.pid, NULL, WNOHANG), 0);
}

/* One function, patched as it says if @set. */
static struct agent_table good(bool set)
{
	struct agent_table t = { .magic = AGENT_MAGIC,
		                 .n_functions = 1,
		                 .place = AGENT_PLACE_PATCHED,
		                 .return_at = place(0) + 64 };
	struct agent_function *f = &t.functions[0];
	static const uint8_t is[8] = { 0xe9, 1, 2, 3, 4 };

	f->patch_at = (uintptr_t)victim + 4;
	memcpy(f->was, (const char *)(uintptr_t)f->patch_at, AGENT_PATCH_BYTES);
	memcpy(f->is, is, sizeof(is));
	if (set)
		put(f->patch_at, is, AGENT_PATCH_BYTES);
	return t;
}

static void what_is_patched_is_undone(void **state)
{
	const uint64_t before = code_of_child();
	struct agent_table t = good(false);
	struct error err;

	(void)state;
	assert_int_equal(agent_place_in_use(child.t, &err), 0);
	put_table(0, &t);
	assert_int_equal(agent_place_in_use(child.t, &err), 1);
	assert_int_equal(agent_place_clean(child.t, &err), 1); /* killed before its first patch */
	assert_int_equal(state_of(0), AGENT_PLACE_IDLE);
	assert_int_equal(agent_place_clean(child.t, &err), 0);
	t = good(true);
	put_table(0, &t);
	assert_int_not_equal(code_of_child(), before);
	assert_int_equal(agent_place_clean(child.t, &err), 1);
	assert_int_equal(code_of_child(), before);
	it_goes_on();
}

/* Each is left as it is. */
static void damaged_tables(void **state)
{
	const uint64_t before = code_of_child();
	cleanup(maps_clear) struct maps maps = { 0 };
	const struct mapping *text;
	struct agent_table t;
	struct error err;

	(void)state;
	assert_int_equal(maps_read(child.t, &maps, &err), 0);
	text = maps_find(&maps, (uintptr_t)victim);
	assert_non_null(text);
	const uint64_t places[] = {
		0,
		1,
		PAGE,
		~0ull,
		~0ull - 3,
		1ull << 63,
		0x7ffffffff000,
		place(0) + AGENT_TABLE_AT,         /* in itself: anonymous */
		place(0) + AGENT_CODE_BYTES,       /* data */
		(uintptr_t)&child,                 /* a file's data */
		text->end - AGENT_PATCH_BYTES + 1, /* across the end of the code */
		text->end - 1,
		text->start - 1,
		(uintptr_t)__builtin_frame_address(0), /* stack */
		0xffffffffff600000,                    /* [vsyscall] */
	};
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		t = good(false);
		t.functions[0].patch_at = places[i];
		put_table(0, &t);
		assert_int_equal(agent_place_clean(child.t, &err), -EBADMSG);
	}
	static const uint32_t numbers[] = { AGENT_MAX_FUNCTIONS + 1, 0x7fffffff, 0xffffffff };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		t = good(false);
		t.n_functions = numbers[i];
		put_table(0, &t);
		assert_int_equal(agent_place_clean(child.t, &err), -EBADMSG);
	}
	t = good(false);
	t.functions[0].is[0] = 0xe8;
	put_table(0, &t);
	assert_int_equal(agent_place_clean(child.t, &err), -EBADMSG);
	assert_int_equal(state_of(0), AGENT_PLACE_PATCHED);
	assert_int_equal(code_of_child(), before);
	it_goes_on();
	t = good(false);
	put_table(0, &t);
	assert_int_equal(agent_place_clean(child.t, &err), 1);
}

/* A function that has neither what it says was there nor what it says is: another's. */
static void another_ones_patch(void **state)
{
	struct agent_table t = good(false);
	uint64_t before;
	struct error err;
	uint8_t theirs[AGENT_PATCH_BYTES] = { 0xe9, 9, 9, 9, 9 };

	(void)state;
	put(t.functions[0].patch_at, theirs, sizeof(theirs));
	before = code_of_child();
	put_table(0, &t);
	assert_int_equal(agent_place_clean(child.t, &err), 1);
	assert_int_equal(code_of_child(), before);
	put(t.functions[0].patch_at, t.functions[0].was, AGENT_PATCH_BYTES);
	it_goes_on();
}

/* Random bytes in random pieces of several tables. */
static void random_tables(void **state)
{
	const uint64_t before = code_of_child();
	unsigned bad = 0, fine = 0;
	struct agent_table t;
	struct error err;

	(void)state;
	srandom(1);
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < PLACES; i++) {
			uint8_t *bytes = (uint8_t *)&t;
			size_t from = (size_t)random() % sizeof(t), n = (size_t)random() % 64;

			t = good(false);
			if (random() % 4 == 0)
				from = (size_t)random() % 64;
			for (size_t k = from; k < sizeof(t) && k < from + n; k++)
				bytes[k] = (uint8_t)random();
			put_table(i, &t);
		}
		int r = agent_place_clean(child.t, &err);

		assert_true(r >= 0 || r == -EBADMSG || r == -EBUSY);
		bad += r < 0;
		fine += r > 0;
		assert_int_equal(code_of_child(), before);
	}
	it_goes_on();
	assert_true(bad && fine);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_patched_is_undone),
		cmocka_unit_test(damaged_tables),
		cmocka_unit_test(another_ones_patch),
		cmocka_unit_test(random_tables),
	};

	return cmocka_run_group_tests(tests, start, end);
}
