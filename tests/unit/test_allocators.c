/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which allocators are found in live processes, and whether the probes are where
 * the code is. argv: the folder of the truth programs. */
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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/runtime.h"
#include "target/reader.h"

static const char *folder;

struct running {
	pid_t pid;
	int in; /* kept open: the program waits for commands */
	struct target *target;
	struct symbol_pool *pool;
	struct runtime_view view;
};

static void wait_ready(int fd)
{
	char c = 0;

	while (c != '\n')
		assert_int_equal(read(fd, &c, 1), 1);
}

/* Start @program with @preload (or NULL); false if either is not there. */
static bool start(const char *program, const char *preload, struct running *r)
{
	int to[2], from[2];
	struct error err = { 0 };

	if (access(program, X_OK) || (preload && access(preload, R_OK)))
		return false;
	assert_int_equal(pipe(to) | pipe(from), 0);
	r->pid = fork();
	if (!r->pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		close(to[1]);
		close(from[0]);
		unsetenv("LD_PRELOAD");
		if (preload)
			setenv("LD_PRELOAD", preload, 1);
		execl(program, program, NULL);
		_exit(1);
	}
	close(to[0]);
	close(from[1]);
	r->in = to[1];
	wait_ready(from[0]);
	close(from[0]);
	if (target_open(r->pid, &r->target, &err) < 0 ||
	    symbol_pool_new(&(struct symbol_options){ .no_debuginfod = true }, &r->pool, &err) <
	            0 ||
	    symbol_space_new(r->pool, r->target, &r->view.space, &err) < 0)
		fail_msg("%s: %s", program, err.message);
	r->view.target = r->target;
	return true;
}

static void stop(struct running *r)
{
	if (!r->pid)
		return;
	kill(r->pid, SIGKILL);
	waitpid(r->pid, NULL, 0);
	close(r->in);
	symbol_space_free(r->view.space);
	symbol_pool_free(r->pool);
	target_close(r->target);
}

/* Bias of the mapping that holds @vaddr of @m. */
static uint64_t address_of(const struct symbol_space *s, const struct symbol_module *m,
                           uint64_t vaddr)
{
	for (size_t i = 0; i < symbol_space_n(s); i++) {
		const struct symbol_mapping *map = symbol_space_at(s, i);

		if (map->module == m && vaddr + map->bias >= map->start &&
		    vaddr + map->bias < map->end)
			return vaddr + map->bias;
	}
	fail_msg("%s: 0x%llx is not mapped", symbol_module_path(m), (unsigned long long)vaddr);
	return 0;
}

/* The process has there what the file has, and it is not the loader. */
static void check_probe(const struct running *r, const struct runtime_probe *p)
{
	uint8_t file[8], memory[8];
	struct error err = { 0 };
	int got;

	assert_null(strstr(symbol_module_path(p->module), "ld-linux"));
	assert_int_equal(
		elf_file_read_vaddr(symbol_module_elf(p->module), p->at, file, sizeof(file), &err),
		0);
	got = reader_try(r->target, address_of(r->view.space, p->module, p->at), memory,
	                 sizeof(memory));
	if (got == -ENODATA) /* never run, not present */
		return;
	assert_int_equal(got, 0);
	assert_memory_equal(file, memory, sizeof(file));
}

static bool has(const struct runtime_probes *p, const char *name)
{
	for (size_t i = 0; i < p->n_probes; i++)
		if (!strcmp(p->probes[i].name, name))
			return true;
	return false;
}

/* Detected are exactly the runtimes of @list ("jemalloc libc"). */
static void check_runtimes(const struct running *r, const char *list)
{
	for (size_t i = 0; registry_runtimes[i]; i++) {
		const struct runtime_ops *ops = registry_runtimes[i];
		cleanup(runtime_probes_clear) struct runtime_probes p = { 0 };
		struct error err = { 0 };
		char word[32];
		int found = ops->detect ? ops->detect(&r->view, &err) : 0;

		snprintf(word, sizeof(word), " %s ", ops->name);
		if (found != (strstr(list, word) != NULL))
			fail_msg("%s: %d, not as in \"%s\"", ops->name, found, list);
		if (!found)
			continue;
		if (ops->alloc_probes(&r->view, &p, &err) < 0)
			fail_msg("%s: %s", ops->name, err.message);
		assert_true(has(&p, "malloc"));
		assert_true(has(&p, "free"));
		for (size_t k = 0; k < p.n_probes; k++)
			check_probe(r, &p.probes[k]);
	}
}

static void check(const char *program, const char *preload, const char *list)
{
	cleanup(stop) struct running r = { 0 };
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", folder, program);
	if (!start(path, preload, &r))
		skip();
	check_runtimes(&r, list);
}

#define LIBRARIES "/usr/lib/x86_64-linux-gnu/"

static void dynamic_glibc(void **state)
{
	check("hold", NULL, " libc ");
}

static void static_glibc(void **state)
{
	check("hold-static", NULL, " libc ");
}

static void static_musl(void **state)
{
	check("hold-musl", NULL, " musl ");
}

static void dynamic_musl(void **state)
{
	check("hold-musl-dynamic", NULL, " musl ");
}

static void preloaded_jemalloc(void **state)
{
	check("hold", LIBRARIES "libjemalloc.so.2", " jemalloc libc ");
}

static void preloaded_tcmalloc(void **state)
{
	check("hold", LIBRARIES "libtcmalloc.so.4", " tcmalloc libc ");
}

static void preloaded_mimalloc(void **state)
{
	check("hold", LIBRARIES "libmimalloc.so.2", " mimalloc libc ");
}

static void preloaded_wrapper(void **state)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/hold_wrap.so", folder);
	check("hold", path, " other libc ");
}

/* A copy without symbols: nothing is found, and the reason is said. */
static void stripped_static(void **state)
{
	const struct runtime_ops *libc = registry_find("libc");
	struct error err;
	cleanup(stop) struct running r = { 0 };
	char path[4096], copy[] = "/tmp/memwho-stripped-XXXXXX", why[512];
	int fd = mkstemp(copy), status = 1;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/hold-static", folder);
	assert_true(fd >= 0);
	close(fd);
	pid = fork();
	if (!pid) {
		execlp("strip", "strip", "-s", "-o", copy, path, NULL);
		_exit(1);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_true(start(copy, NULL, &r));
	unlink(copy);
	if (libc->detect(&r.view, &err) > 0) /* this machine's libc.a is a known build */
		return;
	check_runtimes(&r, "");
	runtime_why_none(&r.view, why, sizeof(why));
	assert_non_null(strstr(why, "without symbols"));
}

/* Without a malloc, but with names. */
static void no_malloc(void **state)
{
	cleanup(stop) struct running r = { 0 };
	char path[4096], why[512];

	snprintf(path, sizeof(path), "%s/hold-musl", folder);
	if (!start(path, NULL, &r))
		skip();
	runtime_why_none(&r.view, why, sizeof(why));
	assert_non_null(strstr(why, "no module"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dynamic_glibc),      cmocka_unit_test(static_glibc),
		cmocka_unit_test(static_musl),        cmocka_unit_test(dynamic_musl),
		cmocka_unit_test(preloaded_jemalloc), cmocka_unit_test(preloaded_tcmalloc),
		cmocka_unit_test(preloaded_mimalloc), cmocka_unit_test(preloaded_wrapper),
		cmocka_unit_test(stripped_static),    cmocka_unit_test(no_malloc),
	};

	folder = argc > 1 ? argv[1] : ".";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
