/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* For tests of symbol/: build a program with the compiler that is here, run it,
 * name its addresses. */

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "symbol/symbol.h"
#include "target/target.h"

static char dir[64]; /* of the built files */
static char remarks[8192];

static void keep_remark(enum log_level level, const char *text)
{
	size_t used = strlen(remarks);

	snprintf(remarks + used, sizeof(remarks) - used, "%s\n", text);
}

static int run_shell(const char *command)
{
	char *argv[] = { (char *)"sh", (char *)"-c", (char *)command, NULL };
	int status;
	pid_t pid;

	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ) || waitpid(pid, &status, 0) < 0)
		return -1;
	return status;
}

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sh(const char *fmt, ...)
{
	char command[4096];
	va_list ap;
	int n = snprintf(command, sizeof(command), "cd %s && ", dir);

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - n, fmt, ap);
	va_end(ap);
	return run_shell(command);
}

static void put(const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

/* Tells the addresses of what it has, then waits. */
static const char program_c[] =
	"#include <stdio.h>\n"
	"#include <unistd.h>\n"
	"volatile int sink;\n"
	"#define INLINE static inline __attribute__((always_inline))\n"
	"INLINE void inner(int x) { sink += x; sink ^= 3; }\n"
	"INLINE void middle(int x) { sink++; inner(x); sink--; }\n"
	"__attribute__((noinline)) static void hidden(int x)\n"
	"{ middle(x); sink += 2; middle(x + 1); }\n"
	"__attribute__((noinline)) void exported(int x) { hidden(x); sink--; }\n"
	"__asm__(\".text\\n.globl sizeless\\nsizeless:\\n nop\\n nop\\n ret\\n\"\n"
	"        \"behind:\\n nop\\n nop\\n ret\\n\");\n"
	"void sizeless(void);\n"
	"int main(int argc, char **argv)\n"
	"{\n"
	"	exported(argc);\n"
	"	printf(\"%lx %lx %lx %lx\\n\", (long)hidden, (long)exported, (long)main,\n"
	"	       (long)sizeless);\n"
	"	fflush(stdout);\n"
	"	pause();\n"
	"	return 0;\n"
	"}\n";

struct run {
	pid_t pid;
	FILE *out;
	struct target *t;
	struct symbol_pool *pool;
	struct symbol_space *space;
	uint64_t hidden, exported, main, sizeless;
};

static void start_program(struct run *run, const char *program)
{
	struct error err = { 0 };
	char path[256];
	int out[2];

	snprintf(path, sizeof(path), "%s/%s", dir, program);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	run->pid = fork();
	if (!run->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], 1);
		execl(path, program, NULL);
		_exit(127);
	}
	close(out[1]);
	run->out = fdopen(out[0], "r");
	assert_int_equal(fscanf(run->out, "%" SCNx64 "%" SCNx64 "%" SCNx64 "%" SCNx64, &run->hidden,
	                        &run->exported, &run->main, &run->sizeless),
	                 4);
	if (target_open(run->pid, &run->t, &err) < 0)
		fail_msg("%s", err.message);
}

static void start_naming(struct run *run, struct symbol_options options)
{
	struct error err = { 0 };

	remarks[0] = '\0';
	assert_int_equal(symbol_pool_new(&options, &run->pool, &err), 0);
	if (symbol_space_new(run->pool, run->t, &run->space, &err) < 0)
		fail_msg("%s", err.message);
}

static void end(struct run *run)
{
	run->space = symbol_space_free(run->space);
	run->pool = symbol_pool_free(run->pool);
	run->t = target_close(run->t);
	kill(run->pid, SIGKILL);
	waitpid(run->pid, NULL, 0);
	fclose(run->out);
}

static struct run start(const char *program)
{
	struct run run = { 0 };

	start_program(&run, program);
	start_naming(&run, (struct symbol_options){ 0 });
	return run;
}

/* "leaf<caller<..." of the functions at @addr, "?" for none. */
static const char *names_at(struct run *run, uint64_t addr)
{
	static char text[1024];
	struct symbol_frame frames[16];
	struct symbol_module *module;
	uint64_t vaddr;
	size_t n = symbol_space_frames(run->space, addr, false, frames, 16, &module, &vaddr);
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(frames[i].inlined, i + 1 < n);
		used += snprintf(text + used, sizeof(text) - used, "%s%s", i ? "<" : "",
		                 frames[i].name ? frames[i].name : "?");
	}
	return text;
}

static void build_program(void)
{
	put("p.c", program_c);
	assert_int_equal(sh("gcc -O2 -g -Wl,--build-id -o p p.c"), 0);
}

static int group_setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/memwho-symbol-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	log_set_sink(keep_remark);
	unsetenv("DEBUGINFOD_URLS");
	build_program();
	return 0;
}

static int group_teardown(void **state)
{
	return sh("cd / && rm -rf %s", dir);
}
