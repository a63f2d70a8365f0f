/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <link.h>

#include "base/cleanup.h"
#include "target/elf_file.h"
#include "unwind/cache.h"
#include "unwind/table.h"

static char home[64], folder[96], file[256];

static void libc_path(char *path, size_t size)
{
	for (struct link_map *m = _r_debug.r_map; m; m = m->l_next)
		if (strstr(m->l_name, "libc.so") || strstr(m->l_name, "libc-"))
			snprintf(path, size, "%s", m->l_name);
}

static struct unwind_table *table(bool cached)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct unwind_table *t = NULL;
	struct error err = { 0 };
	char path[4096] = "";

	libc_path(path, sizeof(path));
	assert_int_equal(elf_file_open(open(path, O_RDONLY | O_CLOEXEC), path, &f, &err), 0);
	assert_int_equal((cached ? unwind_table_cached : unwind_table_make)(f, &t, &err), 0);
	assert_true(t->n_rows > 1000);
	return t;
}

/* Whatever the cache holds, the table is the right one. */
static void assert_right(void)
{
	cleanup(unwind_table_freep) struct unwind_table *t = table(true), *truth = table(false);

	assert_int_equal(t->n_rows, truth->n_rows);
	assert_int_equal(t->n_index, truth->n_index);
	assert_int_equal(t->n_fdes, truth->n_fdes);
	assert_int_equal(t->n_dropped, truth->n_dropped);
	assert_memory_equal(t->rows, truth->rows, t->n_rows * sizeof(*t->rows));
	assert_memory_equal(t->index, truth->index, t->n_index * sizeof(*t->index));
}

/* Number of files in the folder; the last one's path in file[]. */
static size_t files(void)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	size_t n = 0;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.') {
			n++;
			snprintf(file, sizeof(file), "%s/%.140s", folder, e->d_name);
		}
	if (dir)
		closedir(dir);
	return n;
}

static int make_home(void **state)
{
	snprintf(home, sizeof(home), "/tmp/unwind-cache-XXXXXX");
	if (!mkdtemp(home))
		return -1;
	snprintf(folder, sizeof(folder), "%s/memwho", home);
	unsetenv("MEMWHO_CACHE");
	unsetenv("MEMWHO_WITHOUT");
	return setenv("XDG_CACHE_HOME", home, 1);
}

static int remove_home(void **state)
{
	while (files())
		unlink(file);
	rmdir(folder);
	return rmdir(home);
}

static ino_t inode(void)
{
	struct stat st;

	assert_int_equal(stat(file, &st), 0);
	return st.st_ino;
}

static void tables_are_kept_for_their_owner(void **state)
{
	struct stat st;
	ino_t first;

	assert_right();
	assert_int_equal(files(), 1);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(stat(folder, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	first = inode();
	assert_right();
	assert_int_equal(files(), 1);
	assert_int_equal(inode(), first); /* read, not written again */
}

static void damage(off_t at)
{
	cleanup_close int fd = open(file, O_RDWR | O_CLOEXEC);
	uint8_t b;

	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= 0x10;
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
}

static void damaged_files_are_made_anew(void **state)
{
	static const off_t places[] = { 0,  8,  12, 16, 24, 32, 40,   48,
		                        56, 64, 72, 80, 88, 96, 1000, 50001 };

	assert_right();
	assert_int_equal(files(), 1);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		ino_t before = inode();

		damage(places[i]);
		assert_right();
		assert_int_not_equal(inode(), before);
	}
	for (off_t len = 0; len < 200; len += 33) {
		assert_int_equal(truncate(file, len), 0);
		assert_right();
	}
	assert_int_equal(files(), 1);
}

static void what_others_can_write_is_not_read(void **state)
{
	ino_t before;

	assert_right();
	assert_int_equal(files(), 1);
	before = inode();
	assert_int_equal(chmod(file, 0666), 0);
	assert_right();
	assert_int_not_equal(inode(), before);
	if (geteuid() == 0) {
		before = inode();
		assert_int_equal(chown(file, 65534, -1), 0);
		assert_right();
		assert_int_not_equal(inode(), before);
	}
	/* a folder of that kind is not used at all */
	unlink(file);
	assert_int_equal(chmod(folder, 0777), 0);
	assert_right();
	assert_int_equal(files(), 0);
}

static void it_can_be_switched_off(void **state)
{
	setenv("MEMWHO_CACHE", "off", 1);
	assert_right();
	assert_int_equal(files(), 0);
	unsetenv("MEMWHO_CACHE");
	setenv("XDG_CACHE_HOME", "/proc/none/such", 1);
	assert_right();
	setenv("XDG_CACHE_HOME", home, 1);
	assert_int_equal(files(), 0);
}

static void make_file(const char *name, size_t bytes, time_t used)
{
	char path[256];
	struct timespec times[2] = { { used, 0 }, { used, 0 } };

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	assert_int_equal(truncate(path, bytes), 0);
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void the_oldest_go_first(void **state)
{
	cleanup_close int fd = -1;

	assert_int_equal(mkdir(folder, 0700), 0);
	make_file("b.unwind", 400, 3000);
	make_file("a.unwind", 300, 1000);
	make_file("c.unwind", 400, 2000);
	make_file("other", 5000, 500);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cache_trim(fd, 1100);
	assert_int_equal(files(), 4);
	cache_trim(fd, 800);
	assert_int_equal(files(), 3);
	assert_int_equal(faccessat(fd, "a.unwind", F_OK, 0), -1);
	cache_trim(fd, 799);
	assert_int_equal(files(), 2);
	assert_int_equal(faccessat(fd, "b.unwind", F_OK, 0), 0);
	assert_int_equal(faccessat(fd, "other", F_OK, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tables_are_kept_for_their_owner, make_home,
		                                remove_home),
		cmocka_unit_test_setup_teardown(damaged_files_are_made_anew, make_home,
		                                remove_home),
		cmocka_unit_test_setup_teardown(what_others_can_write_is_not_read, make_home,
		                                remove_home),
		cmocka_unit_test_setup_teardown(it_can_be_switched_off, make_home, remove_home),
		cmocka_unit_test_setup_teardown(the_oldest_go_first, make_home, remove_home),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
