/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where names come from when the program itself has none: debug files, mini
 * debug information, a server; and which files may not be used.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

#include "base/clock.h"
#include "symbol/debug_file.h"
#include "symbol/fetch.h"
#include "symbol_programs.h"

static void split(const char *program, const char *debug)
{
	assert_int_equal(sh("objcopy --only-keep-debug p %s && strip -s -o %s p && "
	                    "objcopy --add-gnu-debuglink=%s %s",
	                    debug, program, debug, program),
	                 0);
}

static void debug_files_are_found_by_link(void **state)
{
	struct run run;

	split("linked", "linked.debug");
	run = start("linked");
	assert_string_equal(names_at(&run, run.main), "main");
	assert_string_equal(names_at(&run, run.hidden), "middle<hidden");
	end(&run);
	assert_int_equal(sh("mkdir -p .debug && mv linked.debug .debug/"), 0);
	run = start("linked");
	assert_string_equal(names_at(&run, run.main), "main");
	end(&run);
}

static void another_builds_debug_file_is_refused(void **state)
{
	struct run run;

	split("other", "other.debug");
	assert_int_equal(sh("gcc -O1 -g -Dexported=wrong -Dhidden=lies -Wl,--build-id -o q p.c && "
	                    "objcopy --only-keep-debug q other.debug"),
	                 0);
	run = start("other");
	assert_string_equal(names_at(&run, run.main), "?");
	assert_string_equal(names_at(&run, run.hidden), "?");
	assert_non_null(strstr(remarks, "another build"));
	end(&run);
}

static void without_build_id_the_crc_decides(void **state)
{
	struct run run;

	assert_int_equal(sh("gcc -O2 -g -Wl,--build-id=none -o n p.c && "
	                    "objcopy --only-keep-debug n n.debug && strip -s -o crc n && "
	                    "objcopy --add-gnu-debuglink=n.debug crc"),
	                 0);
	run = start("crc");
	assert_string_equal(names_at(&run, run.main), "main");
	end(&run);
	assert_int_equal(sh("printf x >> n.debug"), 0);
	run = start("crc");
	assert_string_equal(names_at(&run, run.main), "?");
	assert_non_null(strstr(remarks, "another build"));
	end(&run);
}

static void mini_debug_information_is_read(void **state)
{
	struct run run;

	assert_int_equal(sh("objcopy --only-keep-debug p mini && strip -g mini && xz -kf mini && "
	                    "strip -s -o small p && "
	                    "objcopy --add-section .gnu_debugdata=mini.xz small"),
	                 0);
	run = start("small");
	assert_string_equal(names_at(&run, run.hidden), "hidden");
	assert_string_equal(names_at(&run, run.main), "main");
	end(&run);
	assert_int_equal(sh("head -c 100 mini.xz >cut.xz && strip -s -o small p && "
	                    "objcopy --add-section .gnu_debugdata=cut.xz small"),
	                 0);
	run = start("small");
	assert_string_equal(names_at(&run, run.hidden), "?");
	assert_non_null(strstr(remarks, ".gnu_debugdata"));
	end(&run);
}

static void deleted_and_replaced_programs_keep_their_names(void **state)
{
	struct run run = { 0 };

	if (geteuid() != 0)
		skip(); /* /proc/PID/map_files needs CAP_SYS_ADMIN */
	assert_int_equal(sh("strip -g -o gone p"), 0);
	start_program(&run, "gone");
	assert_int_equal(sh("rm gone && gcc -O2 -Dhidden=lies -o gone p.c"), 0);
	start_naming(&run, (struct symbol_options){ 0 });
	assert_string_equal(names_at(&run, run.hidden), "hidden");
	end(&run);
	/* without the right to the mapped file: no name rather than the new file's */
	assert_int_equal(sh("strip -g -o gone2 p"), 0);
	memset(&run, 0, sizeof(run));
	start_program(&run, "gone2");
	assert_int_equal(sh("rm gone2 && gcc -O2 -Dhidden=lies -o gone2 p.c"), 0);
	setenv("MEMWHO_WITHOUT", "map_files", 1);
	start_naming(&run, (struct symbol_options){ 0 });
	unsetenv("MEMWHO_WITHOUT");
	assert_string_equal(names_at(&run, run.hidden), "?");
	assert_non_null(strstr(remarks, "deleted or replaced"));
	end(&run);
}

static struct elf_file *open_elf(const char *name)
{
	struct elf_file *elf;
	struct error err = { 0 };
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (elf_file_open(open(path, O_RDONLY | O_CLOEXEC), path, &elf, &err) < 0)
		fail_msg("%s", err.message);
	return elf;
}

/* The folder of build-ids, in another root: a link there may not lead out. */
static void debug_files_are_found_by_build_id(void **state)
{
	struct elf_file *elf, *debug = NULL;
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1], root_path[128];
	int root;

	assert_int_equal(sh("strip -s -o bare p && mkdir -p root/usr/lib/debug/.build-id"), 0);
	elf = open_elf("bare");
	elf_file_build_id_hex(elf, hex);
	snprintf(root_path, sizeof(root_path), "%s/root", dir);
	root = open(root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(debug_file_open(elf, "/bare", &root, 1, &debug), -ENOENT);
	assert_int_equal(
		sh("mkdir root/usr/lib/debug/.build-id/%.2s && "
	           "objcopy --only-keep-debug p root/usr/lib/debug/.build-id/%.2s/%s.debug",
	           hex, hex, hex + 2),
		0);
	assert_int_equal(debug_file_open(elf, "/bare", &root, 1, &debug), 0);
	assert_true(debug_file_has(debug, ".symtab"));
	debug = elf_file_close(debug);
	/* another build's file under this id */
	assert_int_equal(sh("gcc -O1 -g -Wl,--build-id -o q p.c && cp q "
	                    "root/usr/lib/debug/.build-id/%.2s/%s.debug",
	                    hex, hex + 2),
	                 0);
	assert_int_equal(debug_file_open(elf, "/bare", &root, 1, &debug), -ENOENT);
	/* a link out of the root */
	assert_int_equal(sh("objcopy --only-keep-debug p outside && ln -sf %s/outside "
	                    "root/usr/lib/debug/.build-id/%.2s/%s.debug",
	                    dir, hex, hex + 2),
	                 0);
	assert_int_equal(debug_file_open(elf, "/bare", &root, 1, &debug), -ENOENT);
	close(root);
	elf_file_close(elf);
}

static void hostile_links_lead_nowhere(void **state)
{
	static const char *const links[] = {
		"''",                       /* nothing */
		"'abcd'",                   /* no CRC */
		"'a\\0\\0\\0'",             /* no CRC either */
		"'../../x\\0CRC!'",         /* a path */
		"'unterminated name 1234'", /* no NUL */
	};
	struct elf_file *debug = NULL;
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		struct elf_file *elf;

		assert_int_equal(sh("printf %s >link && strip -s -o evil p && objcopy "
		                    "--add-section .gnu_debuglink=link evil",
		                    links[i]),
		                 0);
		elf = open_elf("evil");
		assert_int_equal(debug_file_open(elf, "/tmp/evil", &root, 1, &debug), -ENOENT);
		elf_file_close(elf);
	}
	close(root);
}

/*
 * debuginfod: its protocol is GET /buildid/ID/debuginfo, so any HTTP server will do.
 */

static pid_t serve(const char *command, int *port)
{
	cleanup_close int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	char text[512];
	char *argv[] = { (char *)"sh", (char *)"-c", text, NULL };
	pid_t pid;

	assert_int_equal(bind(s, (struct sockaddr *)&a, len), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	cleanup_close_(&s);
	s = -1;
	snprintf(text, sizeof(text), "cd %s && exec %s %d >/dev/null 2>&1", dir, command, *port);
	assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ), 0);
	for (int i = 0; i < 500; i++) {
		cleanup_close int c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(c, (struct sockaddr *)&a, len) == 0)
			return pid;
		usleep(10000);
	}
	fail_msg("no server on port %d", *port);
	return pid;
}

static void use_server(int port)
{
	char text[256];

	snprintf(text, sizeof(text), "http://127.0.0.1:%d", port);
	setenv("DEBUGINFOD_URLS", text, 1);
	snprintf(text, sizeof(text), "%s/cache", dir);
	setenv("DEBUGINFOD_CACHE_PATH", text, 1);
	assert_int_equal(sh("rm -rf cache"), 0);
}

static void servers_are_asked_only_when_named(void **state)
{
	struct elf_file *elf;
	struct run run = { 0 };
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1];
	pid_t server;
	int port;

	assert_int_equal(sh("gcc -O2 -g -Wl,--build-id=sha1 -Dexported=served -o sv p.c && "
	                    "strip -s -o fetched sv"),
	                 0);
	elf = open_elf("fetched");
	elf_file_build_id_hex(elf, hex);
	elf_file_close(elf);
	assert_int_equal(
		sh("mkdir -p buildid/%s && objcopy --only-keep-debug sv buildid/%s/debuginfo", hex,
	           hex),
		0);
	server = serve("python3 -m http.server --bind 127.0.0.1", &port);
	run = start("fetched");
	assert_string_equal(names_at(&run, run.exported), "?");
	end(&run);
	use_server(port);
	run = start("fetched");
	assert_string_equal(names_at(&run, run.exported), "served");
	end(&run);
	/* switched off */
	memset(&run, 0, sizeof(run));
	start_program(&run, "fetched");
	start_naming(&run, (struct symbol_options){ .no_debuginfod = true });
	assert_string_equal(names_at(&run, run.exported), "?");
	end(&run);
	/* what a server sends is checked too */
	assert_int_equal(
		sh("rm -rf cache && objcopy --only-keep-debug p buildid/%s/debuginfo", hex), 0);
	run = start("fetched");
	assert_string_equal(names_at(&run, run.exported), "?");
	assert_non_null(strstr(remarks, "debuginfod"));
	end(&run);
	unsetenv("DEBUGINFOD_URLS");
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

/* Takes connections and never answers. */
static void silent_servers_are_given_up(void **state)
{
	struct elf_file *elf = open_elf("fetched"), *debug = NULL;
	pid_t server;
	uint64_t start;
	struct fetch f;
	int port;

	put("silent.py", "import socket, sys, time\n"
	                 "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
	                 "c = []\n"
	                 "while True: c.append(s.accept())\n");
	server = serve("python3 silent.py", &port);
	use_server(port);
	f = fetch_start(false);
	f.spent_ns = (FETCH_SECONDS - 1) * 1000000000ull; /* of all there is, one second is left */
	start = clock_now_ns();
	assert_int_equal(fetch_debug(&f, elf, "fetched", &debug), -ENOENT);
	assert_true(clock_now_ns() - start < 8000000000ull);
	assert_true(f.off);
	assert_int_equal(fetch_debug(&f, elf, "fetched", &debug), -ENOENT);
	unsetenv("DEBUGINFOD_URLS");
	fetch_stop(&f);
	elf_file_close(elf);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
}

/* A program in a root of its own, which is gone when its names are asked for. */
static pid_t start_in_root(FILE **out, const char *overlay)
{
	char root[128];
	int fds[2];
	pid_t pid;

	snprintf(root, sizeof(root), "%s/jail", dir);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = syscall(SYS_clone, SIGCHLD | CLONE_NEWNS | CLONE_NEWPID, NULL, NULL, NULL, NULL);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], 1);
		if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
			_exit(127);
		if (overlay && mount("overlay", root, "overlay", MS_RDONLY, overlay))
			_exit(126);
		if (chroot(root) == 0 && chdir("/") == 0)
			execl("/app", "app", NULL);
		_exit(127);
	}
	close(fds[1]);
	*out = fdopen(fds[0], "r");
	return pid;
}

static void containers_are_named_from_their_own_root(void **state)
{
	struct run run = { 0 };
	struct error err = { 0 };

	if (geteuid() != 0)
		skip();
	assert_int_equal(sh("mkdir -p jail && gcc -O2 -g -static -Wl,--build-id -o app p.c && "
	                    "objcopy --only-keep-debug app jail/app.debug && "
	                    "strip -s -o jail/app app && cd jail && "
	                    "objcopy --add-gnu-debuglink=app.debug app"),
	                 0);
	run.pid = start_in_root(&run.out, NULL);
	assert_int_equal(fscanf(run.out, "%" SCNx64 "%" SCNx64 "%" SCNx64 "%" SCNx64, &run.hidden,
	                        &run.exported, &run.main, &run.sizeless),
	                 4);
	assert_int_equal(target_open(run.pid, &run.t, &err), 0);
	assert_int_equal(run.t->ns_pid, 1);
	assert_string_equal(run.t->exe, "/app"); /* as it sees itself */
	start_naming(&run, (struct symbol_options){ 0 });
	kill(run.pid, SIGKILL);
	waitpid(run.pid, NULL, 0);
	assert_string_equal(names_at(&run, run.main), "main");
	assert_string_equal(names_at(&run, run.hidden), "middle<hidden");
	end(&run);
}

/* On overlayfs, device and inode of /proc/PID/maps need not be those of stat():
 * the file is known again all the same, without map_files too. */
static void files_on_overlays_are_known_again(void **state)
{
	struct run run = { 0 };
	struct error err = { 0 };
	char options[256];

	if (geteuid() != 0)
		skip();
	assert_int_equal(sh("mkdir -p lower1 lower2 jail && gcc -O2 -static -o lower1/app p.c"), 0);
	snprintf(options, sizeof(options), "lowerdir=%s/lower1:%s/lower2", dir, dir);
	run.pid = start_in_root(&run.out, options);
	if (fscanf(run.out, "%" SCNx64 "%" SCNx64, &run.hidden, &run.exported) != 2) {
		end(&run);
		skip(); /* no overlayfs here */
	}
	assert_int_equal(target_open(run.pid, &run.t, &err), 0);
	setenv("MEMWHO_WITHOUT", "map_files", 1);
	start_naming(&run, (struct symbol_options){ 0 });
	unsetenv("MEMWHO_WITHOUT");
	assert_string_equal(names_at(&run, run.exported), "exported");
	end(&run);
}

/* As another user, on a process of its own: no map_files, and all the same. */
static void names_need_no_privilege(void **state)
{
	int status;
	pid_t child;

	if (geteuid() != 0)
		skip();
	assert_int_equal(sh("chmod 755 . && chmod 755 p"), 0);
	child = fork();
	if (!child) {
		struct run run;

		if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
			_exit(3);
		prctl(PR_SET_DUMPABLE, 1);
		run = start("p");
		_exit(strcmp(names_at(&run, run.main), "main") ||
		      strcmp(names_at(&run, run.hidden), "middle<hidden"));
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(debug_files_are_found_by_link),
		cmocka_unit_test(debug_files_are_found_by_build_id),
		cmocka_unit_test(another_builds_debug_file_is_refused),
		cmocka_unit_test(without_build_id_the_crc_decides),
		cmocka_unit_test(hostile_links_lead_nowhere),
		cmocka_unit_test(mini_debug_information_is_read),
		cmocka_unit_test(servers_are_asked_only_when_named),
		cmocka_unit_test(silent_servers_are_given_up),
		cmocka_unit_test(deleted_and_replaced_programs_keep_their_names),
		cmocka_unit_test(containers_are_named_from_their_own_root),
		cmocka_unit_test(files_on_overlays_are_known_again),
		cmocka_unit_test(names_need_no_privilege),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
