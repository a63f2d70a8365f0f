/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs are built with the compiler that is here, run, and named; nm and
 * addr2line say what is right.
 */
#include <errno.h>
#include <sys/auxv.h>

#include "symbol/symbol_internal.h"
#include "symbol_programs.h"
#include "target/proc.h"

/* Each function of nm's list, at its first and last byte, and not behind it. */
static void names_are_those_of_nm(void **state)
{
	struct run run;
	struct symbol_module *module;
	struct symbol_frame frame;
	uint64_t value, size, vaddr;
	char type, name[128], command[128];
	FILE *nm;
	int n = 0;

	assert_int_equal(sh("strip -g -o syms p"), 0); /* no inlines: one name an address */
	run = start("syms");
	assert_int_equal(
		symbol_space_frames(run.space, run.main, false, &frame, 1, &module, &vaddr), 1);
	snprintf(command, sizeof(command), "nm -S %s/syms", dir);
	nm = popen(command, "r");
	while (fgets(command, sizeof(command), nm)) {
		if (sscanf(command, "%" SCNx64 " %" SCNx64 " %c %127s", &value, &size, &type,
		           name) != 4 ||
		    !strchr("tTwW", type))
			continue;
		symbol_module_frames(module, value, &frame, 1);
		assert_string_equal(frame.name, name);
		symbol_module_frames(module, value + size - 1, &frame, 1);
		assert_string_equal(frame.name, name);
		symbol_module_frames(module, value + size, &frame, 1);
		assert_true(!frame.name || strcmp(frame.name, name));
		n++;
	}
	pclose(nm);
	assert_true(n >= 4); /* hidden exported main _start */
	end(&run);
}

static void a_return_address_belongs_to_the_call(void **state)
{
	struct run run = start("syms");
	struct symbol_frame frame;
	struct symbol_module *module;
	uint64_t vaddr, leaf;

	symbol_space_frames(run.space, run.exported, true, &frame, 1, &module, &vaddr);
	assert_true(!frame.name || strcmp(frame.name, "exported"));
	symbol_space_frames(run.space, run.exported + 1, true, &frame, 1, &module, &vaddr);
	assert_string_equal(frame.name, "exported");
	symbol_space_frames(run.space, run.exported, false, &frame, 1, &module, &leaf);
	assert_int_equal(vaddr, leaf);
	end(&run);
}

static void assembly_ends_at_the_next_symbol(void **state)
{
	struct run run = start("syms");

	assert_string_equal(names_at(&run, run.sizeless), "sizeless");
	assert_string_equal(names_at(&run, run.sizeless + 2), "sizeless");
	assert_string_equal(names_at(&run, run.sizeless + 3), "?"); /* "behind" is a local label */
	end(&run);
	/* with the local symbols gone, how far it reaches is not known */
	assert_int_equal(sh("strip -x -o globals p"), 0);
	run = start("globals");
	assert_string_equal(names_at(&run, run.exported), "exported");
	assert_string_equal(names_at(&run, run.hidden), "?");
	assert_string_equal(names_at(&run, run.sizeless), "?");
	end(&run);
}

static void stripped_names_are_not_guessed(void **state)
{
	struct run run;

	assert_int_equal(sh("gcc -O2 -rdynamic -o dyn p.c && strip dyn"), 0);
	run = start("dyn");
	assert_string_equal(names_at(&run, run.exported), "exported");
	assert_string_equal(names_at(&run, run.hidden), "?");
	end(&run);
}

/* addr2line -i at every byte of the three functions. */
static void inlines_are_those_of_addr2line(void **state)
{
	struct run run = start("p");
	struct symbol_frame frames[16];
	struct symbol_module *module;
	char command[256], name[128], line[256];
	uint64_t from, vaddr;
	int deepest = 0;

	assert_int_equal(
		symbol_space_frames(run.space, run.hidden, false, frames, 16, &module, &from), 2);
	for (vaddr = from; vaddr < from + 32; vaddr++) {
		size_t n = symbol_module_frames(module, vaddr, frames, 16), i = 0;
		FILE *f;

		if (!frames[0].name)
			continue;
		snprintf(command, sizeof(command), "addr2line -f -i -e %s/p %" PRIx64, dir, vaddr);
		f = popen(command, "r");
		for (; fscanf(f, "%127s %255[^\n]", name, line) == 2 && strcmp(name, "??"); i++) {
			const char *colon = strchr(line, ':');

			assert_true(i < n);
			assert_string_equal(frames[i].name, name);
			assert_non_null(colon);
			if (strtol(colon + 1, NULL, 10))
				assert_int_equal(frames[i].line, strtol(colon + 1, NULL, 10));
			assert_non_null(strstr(frames[i].file, "p.c"));
		}
		pclose(f);
		assert_int_equal(i, n);
		if (n > 2)
			deepest++;
	}
	assert_true(deepest > 5); /* inner<middle<hidden */
	end(&run);
}

static void inlines_can_be_switched_off(void **state)
{
	struct run run = { 0 };

	start_program(&run, "p");
	start_naming(&run, (struct symbol_options){ .no_inline = true });
	assert_string_equal(names_at(&run, run.hidden), "hidden");
	end(&run);
}

/* The worker holds nothing of ours and is bounded. */
static void check_worker(pid_t pid)
{
	cleanup_close int dir_fd = proc_open(pid);
	cleanup_free char *oom = NULL, *limits = NULL;
	cleanup_free pid_t *fds = NULL;
	size_t n;

	assert_int_equal(proc_read(dir_fd, "oom_score_adj", 64, &oom, NULL), 0);
	assert_string_equal(oom, "1000\n");
	assert_int_equal(proc_read(dir_fd, "limits", 8192, &limits, NULL), 0);
	assert_null(strstr(limits, "Max address space         unlimited"));
	/* 1 and 2 are /dev/null, 3 the socket, 4 the file; ids leave out 0 */
	assert_int_equal(proc_ids(dir_fd, "fd", &fds, &n), 0);
	assert_int_equal(n, 4);
	assert_int_equal(fds[3], 4);
}

static void a_lost_worker_costs_inlines_only(void **state)
{
	struct run run = start("p");
	cleanup_free pid_t *children = NULL;
	struct error err = { 0 };
	size_t n;
	int killed = 0;

	assert_non_null(strchr(names_at(&run, run.hidden), '<'));
	assert_int_equal(target_descendants(getpid(), &children, &n, &err), 0);
	for (size_t i = 0; i < n; i++) {
		if (children[i] == run.pid)
			continue;
		check_worker(children[i]);
		killed += kill(children[i], SIGKILL) == 0;
	}
	assert_int_equal(killed, 1);
	assert_string_equal(names_at(&run, run.hidden + 1), "hidden");
	assert_string_equal(names_at(&run, run.main), "main");
	assert_non_null(strstr(remarks, "debug information can't be read"));
	end(&run);
	free(take_ptr(children));
	assert_int_equal(target_descendants(getpid(), &children, &n, &err), 0);
	assert_int_equal(n, 0); /* and nothing is left */
}

/* Many modules with debug information do not make many processes. */
static void workers_are_few(void **state)
{
	enum { MANY = SYMBOL_MAX_WORKERS + 4 };
	struct run runs[MANY] = { 0 };
	cleanup_free pid_t *children = NULL;
	struct error err = { 0 };
	size_t n;

	for (int i = 0; i < MANY; i++) {
		char name[16];

		snprintf(name, sizeof(name), "many%d", i);
		assert_int_equal(sh("cp p %s", name), 0);
		start_program(&runs[i], name);
		if (i == 0)
			start_naming(&runs[0], (struct symbol_options){ 0 });
		else
			assert_int_equal(
				symbol_space_new(runs[0].pool, runs[i].t, &runs[i].space, &err), 0);
	}
	for (int offset = 0; offset < 2; offset++) { /* the second time some start again */
		for (int i = 0; i < MANY; i++)
			assert_string_equal(names_at(&runs[i], runs[i].hidden + offset),
			                    "middle<hidden");
	}
	assert_int_equal(target_descendants(getpid(), &children, &n, &err), 0);
	assert_int_equal(n, MANY + SYMBOL_MAX_WORKERS);
	for (int i = MANY - 1; i >= 0; i--)
		end(&runs[i]);
}

/* Bytes of the debug sections are changed at random: whatever libdw does, the
 * names of the symbol table stay. */
static void damaged_dwarf_changes_no_name(void **state)
{
	unsigned seed = 1;

	for (int i = 0; i < 24; i++) {
		struct run run;
		const char *names;

		assert_int_equal(
			sh("python3 - %u <<'X'\n"
		           "import random, re, subprocess, sys\n"
		           "random.seed(int(sys.argv[1]))\n"
		           "b = bytearray(open('p', 'rb').read())\n"
		           "for line in subprocess.check_output(['readelf', '-SW', 'p'],\n"
		           "                                    text=True).splitlines():\n"
		           "    m = re.search(r'\\.debug_(?:info|abbrev|line|str|rnglists)\\s+'\n"
		           "                  r'\\w+\\s+\\w+\\s+(\\w+)\\s+(\\w+)', line)\n"
		           "    if m:\n"
		           "        off, n = int(m[1], 16), int(m[2], 16)\n"
		           "        for _ in range(max(1, n // 40)):\n"
		           "            b[off + random.randrange(n)] = random.randrange(256)\n"
		           "open('bad', 'wb').write(b)\n"
		           "X\nchmod +x bad",
		           seed++),
			0);
		run = start("bad");
		names = names_at(&run, run.hidden);
		assert_true(strlen(names) >= 6 && !strcmp(names + strlen(names) - 6, "hidden"));
		assert_string_equal(names_at(&run, run.main + 1000000), "?");
		end(&run);
	}
}

static const char loader_c[] =
	"#include <dlfcn.h>\n"
	"#include <stdio.h>\n"
	"#include <sys/mman.h>\n"
	"int main(void)\n"
	"{\n"
	"	char c;\n"
	"	void *l, *code = mmap((void *)0x100000000, 4096, PROT_READ | PROT_EXEC,\n"
	"	                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);\n"
	"	printf(\"%lx 0 0 0\\n\", (long)code); fflush(stdout); getchar();\n"
	"	l = dlopen(\"./lib.so\", RTLD_NOW);\n"
	"	printf(\"%lx\\n\", (long)dlsym(l, \"in_library\")); fflush(stdout); getchar();\n"
	"	dlclose(l);\n"
	"	printf(\"closed\\n\"); fflush(stdout); getchar();\n"
	"	return c;\n"
	"}\n";

static void next(struct run *run, int in, char *line, size_t size)
{
	assert_int_equal(write(in, "\n", 1), 1);
	assert_non_null(fgets(line, size, run->out));
	if (*line == '\n')
		assert_non_null(fgets(line, size, run->out));
}

static void libraries_come_and_go(void **state)
{
	struct run run = { 0 };
	struct error err = { 0 };
	char line[64];
	uint64_t addr;
	size_t n;
	int in[2];

	put("lib.c", "int in_library(int x) { return x * 3; }\n");
	put("loader.c", loader_c);
	assert_int_equal(sh("gcc -O1 -shared -fPIC -o lib.so lib.c && gcc -o loader loader.c -ldl"),
	                 0);
	assert_int_equal(pipe(in), 0);
	dup2(in[0], 0);
	assert_int_equal(chdir(dir), 0);
	start_program(&run, "loader");
	start_naming(&run, (struct symbol_options){ 0 });
	assert_int_equal(symbol_space_refresh(run.space, run.t, &err), 0);
	n = symbol_space_n(run.space);
	next(&run, in[1], line, sizeof(line));
	addr = strtoull(line, NULL, 16);
	assert_string_equal(names_at(&run, addr), "?"); /* not noticed yet */
	assert_int_equal(symbol_space_refresh(run.space, run.t, &err), 1);
	assert_int_equal(symbol_space_n(run.space), n + 1);
	assert_false(symbol_space_find(run.space, addr)->gone);
	next(&run, in[1], line, sizeof(line));
	assert_int_equal(symbol_space_refresh(run.space, run.t, &err), 0);
	assert_true(symbol_space_find(run.space, addr)->gone);
	assert_string_equal(names_at(&run, addr), "in_library"); /* first asked when it is gone */
	end(&run);
}

static void jit_names_come_from_the_perf_map(void **state)
{
	struct run run = { 0 };
	char path[64];
	FILE *map;

	assert_int_equal(chdir(dir), 0);
	start_program(&run, "loader");
	snprintf(path, sizeof(path), "/tmp/perf-%d.map", run.pid);
	map = fopen(path, "w");
	fprintf(map, "100000000 10 old name\n100000020 8 _ZN2js3runEv\nnonsense\n"
	             "100000000 8 LazyCompile:~f\n");
	fflush(map);
	start_naming(&run, (struct symbol_options){ 0 });
	assert_string_equal(names_at(&run, 0x100000000), "LazyCompile:~f");
	assert_string_equal(names_at(&run, 0x100000008), "old name");
	assert_string_equal(names_at(&run, 0x100000010), "?");
	assert_string_equal(names_at(&run, 0x100000027), "js::run");
	fprintf(map, "100000010 4 later\n100000014 4 not yet writ");
	fflush(map);
	assert_string_equal(names_at(&run, 0x100000010), "later");
	assert_string_equal(names_at(&run, 0x100000014), "?");
	fclose(map);
	unlink(path);
	end(&run);
}

static void the_vdso_has_names(void **state)
{
	struct run run = start("p");
	const struct symbol_mapping *vdso = NULL;
	struct elf_symbol s;

	for (size_t i = 0; i < symbol_space_n(run.space); i++) {
		const struct symbol_mapping *m = symbol_space_at(run.space, i);

		if (m->module && !strcmp(symbol_module_path(m->module), "[vdso]"))
			vdso = m;
	}
	if (!getauxval(AT_SYSINFO_EHDR))
		skip();
	assert_non_null(vdso);
	assert_int_equal(elf_file_symbol(symbol_module_elf(vdso->module), ELF_DYNSYM,
	                                 "__vdso_clock_gettime", &s),
	                 0);
	assert_non_null(strstr(names_at(&run, s.value + vdso->bias), "clock_gettime"));
	end(&run);
}

static void one_file_is_one_module(void **state)
{
	struct run one = start("p"), two = { 0 };
	struct symbol_space *space;
	struct error err = { 0 };

	start_program(&two, "p");
	assert_int_equal(symbol_space_new(one.pool, two.t, &space, &err), 0);
	assert_ptr_equal(symbol_space_find(space, two.main)->module,
	                 symbol_space_find(one.space, one.main)->module);
	symbol_space_free(space);
	target_close(two.t);
	two.t = NULL;
	end(&two);
	end(&one);
}

static void cplusplus_frames_are_bare_names(void **state)
{
	struct run run;
	struct symbol_frame frames[16];
	struct symbol_module *module;
	uint64_t vaddr;
	size_t n;

	put("q.cc",
	    "#include <cstdio>\n#include <unistd.h>\nvolatile int sink;\n"
	    "namespace ns { struct Class {\n"
	    "template <class T> __attribute__((noinline)) T method(T x)\n"
	    "{ sink += x; return x; }\n"
	    "__attribute__((always_inline)) inline int small(int x) { sink ^= x; return sink; }\n"
	    "}; }\n"
	    "__attribute__((noinline)) static int caller(ns::Class &c, int x)\n"
	    "{ return c.small(x); }\n"
	    "int main(int argc, char **) { ns::Class c; c.method<long>(argc);\n"
	    "auto m = &ns::Class::method<long>; long p[2]; __builtin_memcpy(p, &m, sizeof(m));\n"
	    "std::printf(\"%lx %lx %lx 0\\n\", p[0], (long)&caller, (long)argc);\n"
	    "std::fflush(stdout); caller(c, argc); pause(); }\n");
	assert_int_equal(sh("g++ -O2 -g -o q q.cc"), 0);
	run = start("q");
	assert_string_equal(names_at(&run, run.hidden), "ns::Class::method<long>");
	n = symbol_space_frames(run.space, run.exported, false, frames, 16, &module, &vaddr);
	assert_int_equal(n, 2);
	assert_string_equal(frames[0].name, "ns::Class::small");
	assert_true(frames[0].inlined);
	assert_string_equal(frames[1].name, "caller");
	end(&run);
}

static void rust_frames_are_bare_names(void **state)
{
	static const char *const mangling[] = { "legacy", "v0" };

	if (run_shell("rustc --version >/dev/null 2>&1"))
		skip();
	put("r.rs", "mod deep { pub struct S; impl S { #[inline(never)]\n"
	            "pub fn grow<T: Copy>(&self, x: T) -> T { std::hint::black_box(x) } } }\n"
	            "fn main() { let s = deep::S; s.grow(1u64);\n"
	            "let f: fn(&deep::S, u64) -> u64 = deep::S::grow::<u64>;\n"
	            "println!(\"{:x} 0 0 0\", f as usize);\n"
	            "loop { std::thread::sleep(std::time::Duration::from_secs(9)); } }\n");
	for (size_t i = 0; i < ARRAY_SIZE(mangling); i++) {
		struct run run;
		const char *name;

		if (sh("rustc -O -g -C symbol-mangling-version=%s -o r r.rs 2>rustc.log",
		       mangling[i]))
			continue; /* an older one wants -Z */
		run = start("r");
		name = names_at(&run, run.hidden);
		if (!strstr(name, "S") || !strstr(name, "::grow") || strchr(name, '$') ||
		    strstr(name, "17h") || strchr(name, '('))
			fail_msg("%s", name);
		end(&run);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_those_of_nm),
		cmocka_unit_test(a_return_address_belongs_to_the_call),
		cmocka_unit_test(assembly_ends_at_the_next_symbol),
		cmocka_unit_test(stripped_names_are_not_guessed),
		cmocka_unit_test(inlines_are_those_of_addr2line),
		cmocka_unit_test(inlines_can_be_switched_off),
		cmocka_unit_test(a_lost_worker_costs_inlines_only),
		cmocka_unit_test(workers_are_few),
		cmocka_unit_test(damaged_dwarf_changes_no_name),
		cmocka_unit_test(libraries_come_and_go),
		cmocka_unit_test(jit_names_come_from_the_perf_map),
		cmocka_unit_test(the_vdso_has_names),
		cmocka_unit_test(one_file_is_one_module),
		cmocka_unit_test(cplusplus_frames_are_bare_names),
		cmocka_unit_test(rust_frames_are_bare_names),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
