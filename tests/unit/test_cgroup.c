/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Paths of memory cgroups as container runtimes make them, and the rows of v1
 * and v2, from texts whose sums are known. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "map/cgroup.h"
#include "target/memory_cgroup.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char v1_mounts[] =
	"25 30 0:22 / /sys/fs/cgroup ro,nosuid shared:5 - tmpfs tmpfs ro,mode=755\n"
	"26 25 0:23 / /sys/fs/cgroup/unified rw,nosuid shared:6 - cgroup2 cgroup2 rw\n"
	"27 25 0:24 / /sys/fs/cgroup/systemd rw shared:7 - cgroup cgroup rw,xattr,name=systemd\n"
	"33 25 0:29 / /sys/fs/cgroup/cpuset rw shared:12 - cgroup cgroup rw,cpuset\n"
	"34 25 0:30 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory\n";
static const char v2_mounts[] =
	"24 30 0:21 / /sys rw shared:2 - sysfs sysfs rw\n"
	"26 24 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
/* Inside of a docker container with v1 and no cgroup namespace. */
static const char inside_mounts[] =
	"900 880 0:30 /docker/" ID
	" /sys/fs/cgroup/memory ro master:13 - cgroup cgroup rw,memory\n";

static void expect_place(const char *mounts, const char *text, bool v2, const char *path,
                         const char *dir)
{
	struct memory_cgroup c = { 0 };
	int r = memory_cgroup_parse(mounts, text, &c);

	if (r < 0)
		fail_msg("'%s': %d", text, r);
	assert_string_equal(c.path, path);
	assert_string_equal(c.dir, dir);
	assert_int_equal(c.is_v2, v2);
}

/* What runtimes and both cgroup drivers call a container's cgroup. */
static const char *const shapes[] = {
	"/docker/" ID,
	"/system.slice/docker-" ID ".scope",
	"/machine.slice/libpod-" ID ".scope",
	"/libpod_parent/libpod-" ID,
	"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" ID ".scope",
	"/default/" ID,
	"/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:" ID,
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod5f0c.slice/"
	"cri-containerd-" ID ".scope",
	"/kubepods/besteffort/pod5f0c1d2e-aaaa-bbbb-cccc-0123456789ab/" ID,
	"/kubepods.slice/kubepods-pod5f0c.slice/crio-" ID ".scope",
};

static void containers_of_both_versions(void **state)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		char v1[1024], v2[1024], dir[1024];
		struct memory_cgroup c = { 0 };

		snprintf(v1, sizeof(v1), "9:name=systemd:/x\n4:memory:%s\n0::/y\n", shapes[i]);
		snprintf(dir, sizeof(dir), "/sys/fs/cgroup/memory%s", shapes[i]);
		expect_place(v1_mounts, v1, false, shapes[i], dir);
		snprintf(v2, sizeof(v2), "0::%s\n", shapes[i]);
		snprintf(dir, sizeof(dir), "/sys/fs/cgroup%s", shapes[i]);
		expect_place(v2_mounts, v2, true, shapes[i], dir);

		/* a cgroup that the container made for itself belongs to it */
		snprintf(v2, sizeof(v2), "0::%s/init.scope/deep\n", shapes[i]);
		assert_int_equal(memory_cgroup_parse(v2_mounts, v2, &c), 0);
		assert_true(memory_cgroup_to_container(&c, "01234567"));
		assert_string_equal(c.path, shapes[i]);
		assert_string_equal(c.dir, dir);
		assert_false(memory_cgroup_to_container(&c, "1234567"));
		assert_string_equal(c.path, shapes[i]);
	}
}

static void no_container_is_made_up(void **state)
{
	static const char *const others[] = {
		"/user.slice/user-1000.slice/session-3.scope",
		"/machine.slice/libpod-conmon-" ID ".scope",
		"/system.slice/docker.service",
		"/docker",
		"/",
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		struct memory_cgroup c = { 0 };
		char text[1024];

		snprintf(text, sizeof(text), "0::%s\n", others[i]);
		assert_int_equal(memory_cgroup_parse(v2_mounts, text, &c), 0);
		assert_false(memory_cgroup_to_container(&c, ""));
		assert_string_equal(c.path, others[i]);
	}
}

static void a_container_in_a_container(void **state)
{
	struct memory_cgroup c = { 0 };

	assert_int_equal(
		memory_cgroup_parse(v2_mounts, "0::/docker/aaaa" ID "/docker/bbbb" ID "/x\n", &c),
		0);
	assert_true(memory_cgroup_to_container(&c, ""));
	assert_string_equal(c.path, "/docker/aaaa" ID "/docker/bbbb" ID);
	assert_true(memory_cgroup_to_container(&c, "aaaa01"));
	assert_string_equal(c.path, "/docker/aaaa" ID);
}

static void the_view_from_inside(void **state)
{
	struct memory_cgroup c = { 0 };

	/* with a cgroup namespace the container is the root */
	expect_place(v2_mounts, "0::/\n", true, "/", "/sys/fs/cgroup");
	expect_place(v2_mounts, "0::/init.scope\n", true, "/init.scope",
	             "/sys/fs/cgroup/init.scope");
	/* without one only a part of the hierarchy is mounted */
	expect_place(inside_mounts, "4:memory:/docker/" ID "\n", false, "/docker/" ID,
	             "/sys/fs/cgroup/memory");
	expect_place(inside_mounts, "4:memory:/docker/" ID "/x\n", false, "/docker/" ID "/x",
	             "/sys/fs/cgroup/memory/x");
	/* outside of what is mounted or of our namespace */
	assert_int_equal(memory_cgroup_parse(inside_mounts, "4:memory:/docker/other\n", &c),
	                 -ENOENT);
	assert_int_equal(memory_cgroup_parse(inside_mounts, "4:memory:/docker/" ID "x\n", &c),
	                 -ENOENT);
	assert_int_equal(memory_cgroup_parse(v2_mounts, "0::/../other\n", &c), -ENOENT);
	assert_int_equal(memory_cgroup_parse(v2_mounts, "0::/..\n", &c), -ENOENT);
	expect_place(v2_mounts, "0::/..x\n", true, "/..x", "/sys/fs/cgroup/..x");
}

static void odd_texts(void **state)
{
	static const char *const texts[] = { "",     "\n",         "0",        "0:",
		                             "0::",  "memory",     "4:memory", "4:memoryx:/a\n",
		                             "::::", "4:memory:\n" };
	struct memory_cgroup c = { 0 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		memory_cgroup_parse(v2_mounts, texts[i], &c);
		assert_int_equal(memory_cgroup_parse("", texts[i], &c), -ENOENT);
	}
	/* the controller among others, and a v1 hierarchy that is not mounted */
	expect_place("1 2 0:3 / /cg rw - cgroup cgroup rw,cpu,memory\n", "4:cpu,memory:/a\n", false,
	             "/a", "/cg/a");
	assert_int_equal(memory_cgroup_parse(v2_mounts, "4:memory:/a\n0::/b\n", &c), -ENOENT);
	assert_int_equal(memory_cgroup_parse("1 2 0:3 / /cg rw - cgroup cgroup rw,memoryx\n",
	                                     "4:memory:/a\n", &c),
	                 -ENOENT);
}

static void up_and_together(void **state)
{
	struct memory_cgroup a = { 0 }, b = { 0 };

	assert_int_equal(memory_cgroup_parse(v2_mounts, "0::/a/one/x\n", &a), 0);
	assert_int_equal(memory_cgroup_parse(v2_mounts, "0::/a/one-more\n", &b), 0);
	memory_cgroup_join(&a, &b);
	assert_string_equal(a.path, "/a");
	assert_string_equal(a.dir, "/sys/fs/cgroup/a");
	assert_true(memory_cgroup_up(&a));
	assert_string_equal(a.path, "/");
	assert_string_equal(a.dir, "/sys/fs/cgroup");
	assert_false(memory_cgroup_up(&a));
	memory_cgroup_join(&a, &b);
	assert_string_equal(a.dir, "/sys/fs/cgroup");
}

static const struct cgroup_row *find(const struct cgroup *c, const char *name)
{
	for (size_t i = 0; i < c->n_rows; i++) {
		if (!strcmp(c->rows[i].name, name))
			return &c->rows[i];
	}
	return NULL;
}

static void expect_row(const struct cgroup *c, const char *name, int64_t bytes, int64_t back)
{
	const struct cgroup_row *r = find(c, name);

	if (!r)
		fail_msg("no row %s", name);
	assert_int_equal(r->bytes, bytes);
	assert_int_equal(r->reclaimable_bytes, back);
	assert_true(r->evidence[0]);
}

static void expect_sum(const struct cgroup *c)
{
	int64_t sum = 0;

	for (size_t i = 0; i < c->n_rows; i++)
		sum += c->rows[i].bytes;
	assert_int_equal(sum, (int64_t)c->current_bytes);
}

static void rows_of_v1(void **state)
{
	struct cgroup c = { .processes = { .n = 1, .n_threads = 51, .page_table_bytes = 8654848 } };
	struct cgroup_texts t = {
		.stat = "cache 1\nrss 2\nshmem 3\ntotal_cache 176181248\ntotal_rss 72880128\n"
			"total_shmem 73400320\ntotal_swap 4096\ntotal_inactive_file 102000000\n"
			"total_active_file 780928\nactive_file 7\n",
		.current = "286244864\n",
		.kernel = "37060608\n",
	};
	struct error err = { 0 };

	assert_int_equal(cgroup_divide(&t, &c, &err), 0);
	expect_row(&c, "anon", 72880128, 0);
	expect_row(&c, "file cache", 102780928, 102780928);
	expect_row(&c, "shmem", 73400320, 0);
	expect_row(&c, "kernel stacks", 835584, 0);
	expect_row(&c, "page tables", 8654848, 0);
	expect_row(&c, "other kernel", 37060608 - 835584 - 8654848, 0);
	expect_row(&c, "not accounted", 122880, 0);
	assert_int_equal(c.swap_bytes, 4096);
	expect_sum(&c);

	/* a hierarchy whose figures are its own; no kernel counter */
	t.is_flat = true;
	t.kernel = NULL;
	t.current = "100\n";
	assert_int_equal(cgroup_divide(&t, &c, &err), 0);
	expect_row(&c, "anon", 2, 0);
	expect_row(&c, "file cache", -2, 7);
	assert_null(find(&c, "other kernel"));
	assert_non_null(strstr(find(&c, "not accounted")->evidence, "kernel memory"));
	expect_sum(&c);
}

static const char v2_stat[] =
	"anon 62914560\nfile 148897792\nkernel 9437184\nkernel_stack 131072\npagetables 524288\n"
	"sec_pagetables 4096\npercpu 65536\nsock 12288\nvmalloc 8192\nshmem 41943040\nzswap 1024\n"
	"file_mapped 1\nswapcached 0\ninactive_file 100000000\nactive_file 6954752\n"
	"slab_reclaimable 3000000\nslab_unreclaimable 2000000\nslab 5000000\n";

static void rows_of_v2(void **state)
{
	struct cgroup c = { .place.is_v2 = true };
	struct cgroup_texts t = { .stat = v2_stat, .current = "221300000\n" };
	struct error err = { 0 };

	assert_int_equal(cgroup_divide(&t, &c, &err), 0);
	expect_row(&c, "anon", 62914560, 0);
	expect_row(&c, "file cache", 148897792 - 41943040, 106954752);
	expect_row(&c, "shmem", 41943040, 0);
	expect_row(&c, "sock", 12288, 0);
	expect_row(&c, "kernel stacks", 131072, 0);
	expect_row(&c, "page tables", 528384, 0);
	expect_row(&c, "slab", 5000000, 3000000);
	expect_row(&c, "percpu", 65536, 0);
	expect_row(&c, "zswap", 1024, 0);
	expect_row(&c, "other kernel", 9437184 - 131072 - 528384 - 65536 - 8192 - 1024 - 5000000,
	           0);
	expect_row(&c, "not accounted", 221300000 - 62914560 - 148897792 - 9437184 - 12288, 0);
	assert_int_equal(c.inactive_file_bytes, 100000000);
	expect_sum(&c);
}

/* Linux before 5.18 has no line "kernel". */
static void rows_of_an_old_v2(void **state)
{
	struct cgroup c = { .place.is_v2 = true };
	struct cgroup_texts t = { .stat = "anon 100\nfile 50\nshmem 10\nkernel_stack 16\n"
		                          "slab 20\nslab_reclaimable 5\nsock 0\n",
		                  .current = "170\n" };
	struct error err = { 0 };

	assert_int_equal(cgroup_divide(&t, &c, &err), 0);
	assert_null(find(&c, "other kernel"));
	expect_row(&c, "not accounted", -16, 0); /* the counters are newer than the charge */
	assert_non_null(strstr(find(&c, "not accounted")->evidence, "other kernel memory"));
	expect_sum(&c);
}

static void texts_that_are_none(void **state)
{
	struct cgroup c = { .place.is_v2 = true };
	struct error err = { 0 };

	assert_int_equal(cgroup_divide(&(struct cgroup_texts){ .stat = v2_stat }, &c, &err),
	                 -EINVAL);
	assert_int_equal(cgroup_divide(&(struct cgroup_texts){ .stat = "rss 5\n", .current = "1" },
	                               &c, &err),
	                 -EINVAL);
	assert_non_null(strstr(err.message, "anon"));
}

/* What this machine has for ourselves, where it has anything. */
static void our_own(void **state)
{
	static struct memory_cgroup place;
	static struct cgroup c;
	struct error err = { 0 };
	pid_t self = getpid();

	if (cgroup_find(NULL, 0, &self, 1, &place, &err) != 1)
		skip();
	assert_int_equal(cgroup_read(&place, &c, &err), 0);
	assert_true(c.processes.n >= 1 && c.processes.anon_bytes > 0);
	assert_true(c.current_bytes > 0 && find(&c, "anon") && find(&c, "file cache"));
	expect_sum(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers_of_both_versions),
		cmocka_unit_test(no_container_is_made_up),
		cmocka_unit_test(a_container_in_a_container),
		cmocka_unit_test(the_view_from_inside),
		cmocka_unit_test(odd_texts),
		cmocka_unit_test(up_and_together),
		cmocka_unit_test(rows_of_v1),
		cmocka_unit_test(rows_of_v2),
		cmocka_unit_test(rows_of_an_old_v2),
		cmocka_unit_test(texts_that_are_none),
		cmocka_unit_test(our_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
