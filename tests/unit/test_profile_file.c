/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "profile/folded.h"
#include "profile/gzip.h"
#include "profile/heap_v2.h"
#include "profile/pprof.h"
#include "profile/profile_file.h"
#include "profile_check.h"

static struct profile *sample_profile(void)
{
	struct profile *p = check_heap_profile();
	uint32_t stack[] = { check_code(p, "site 01", "/bin/x", 1),
		             check_code(p, "main", "/bin/x", 2) };

	check_add(p, stack, 2, 1, 300);
	check_add(p, stack + 1, 1, 1, 12);
	return p;
}

/* Whatever the format, the bytes per stack are the same. */
static void check_parsed(const void *data, size_t len)
{
	cleanup(profile_freep) struct profile *p = NULL;
	cleanup_free char *text = NULL;
	size_t n;

	check_ok(profile_file_parse(data, len, &p, &err));
	check_written(&text, &n, folded_write(p, -1, to, &err));
	assert_string_equal(text, "main 12\nmain;site 01 300\n");
}

static void formats_are_told_apart(void **state)
{
	cleanup(profile_freep) struct profile *p = sample_profile();
	cleanup_free char *pprof = NULL, *folded = NULL, *stap = NULL, *heap = NULL;
	cleanup_free uint8_t *plain = NULL;
	size_t len, n;

	check_written(&pprof, &len, pprof_write(p, to, &err));
	check_parsed(pprof, len);
	check_ok(gzip_read(pprof, len, 1 << 20, &plain, &n, &err));
	check_parsed(plain, n);
	check_written(&folded, &len, folded_write(p, -1, to, &err));
	check_parsed(folded, len);
	check_written(&stap, &len, folded_write_stap(p, -1, to, &err));
	check_parsed(stap, len);
	check_written(&heap, &len, heap_v2_write(p, to, &err));
	check_parsed(heap, len);
}

static void other_files_are_refused(void **state)
{
	static const char *const texts[] = { "",
		                             "{\"stacks\":[]}",
		                             "<?xml version=\"1.0\"?>",
		                             "<!DOCTYPE html>",
		                             "Dear reader,\nthis is a text.\n",
		                             "\177ELF\x02\x01\x01" };
	struct profile *p = NULL;
	struct error e;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		e = (struct error){ 0 };
		assert_int_equal(profile_file_parse(texts[i], strlen(texts[i]), &p, &e), -EBADMSG);
		assert_true(e.message[0]);
	}
	assert_null(p);
}

static void errors_name_the_file(void **state)
{
	struct profile *p = NULL;
	struct error e;

	assert_int_equal(profile_file_read("/nonexistent/x.pb.gz", &p, &e), -ENOENT);
	assert_non_null(strstr(e.message, "/nonexistent/x.pb.gz"));
	assert_int_equal(profile_file_read("/proc/self", &p, &e), -EISDIR);
	assert_int_equal(profile_file_read("/dev/null", &p, &e), -EBADMSG);
	assert_non_null(strstr(e.message, "/dev/null"));
	assert_null(p);
}

static void a_pipe_is_read_to_its_end(void **state)
{
	cleanup(profile_freep) struct profile *p = NULL;
	char path[64];
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(write(fds[1], "main;a 5\n", 9), 9);
	close(fds[1]);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	check_ok(profile_file_read(path, &p, &err));
	close(fds[0]);
	assert_int_equal(profile_total(p, 0), 5);
}

static void an_endless_file_is_refused(void **state)
{
	struct profile *p = NULL;
	struct error e;

	assert_int_equal(profile_file_read("/dev/zero", &p, &e), -EFBIG);
	assert_null(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_told_apart),
		cmocka_unit_test(other_files_are_refused),
		cmocka_unit_test(errors_name_the_file),
		cmocka_unit_test(a_pipe_is_read_to_its_end),
		cmocka_unit_test(an_endless_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
