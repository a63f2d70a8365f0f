/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "target/elf_file.h"
#include "unwind/table.h"
#include "unwind/unwind.h"

/* This process's own modules. */
static struct unwind_module modules[64];
static size_t n_modules;

static int add_module(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *name = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct unwind_table *t = NULL;
	struct error err = { 0 };

	if (strstr(name, "vdso"))
		return 0;
	if (elf_file_open(open(name, O_RDONLY | O_CLOEXEC), name, &f, &err) < 0 ||
	    unwind_table_make(f, &t, &err) < 0)
		fail_msg("%s", err.message);
	assert_true(t->n_rows > 0);
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		uint64_t start = info->dlpi_addr + p->p_vaddr;

		if (p->p_type == PT_LOAD && p->p_flags & PF_X)
			modules[n_modules++] = (struct unwind_module){ start, start + p->p_memsz,
				                                       info->dlpi_addr, t };
	}
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct unwind_module *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

static int load_modules(void **state)
{
	dl_iterate_phdr(add_module, NULL);
	qsort(modules, n_modules, sizeof(*modules), by_start);
	return 0;
}

static int free_modules(void **state)
{
	/* each module has one executable segment */
	for (size_t i = 0; i < n_modules; i++)
		unwind_table_free((struct unwind_table *)modules[i].table);
	return 0;
}

static int read_self(void *arg, uint64_t addr, void *buf, size_t len)
{
	memcpy(buf, (const void *)addr, len);
	return 0;
}

/* Our walk and the C library's, from the same place. */
struct both {
	uint64_t ours[64];
	void *theirs[64];
	size_t n_ours, n_theirs;
	enum unwind_stop stop;
};

static void walk_from(struct both *b, const ucontext_t *c)
{
	const greg_t *g = c->uc_mcontext.gregs;
	struct unwind_regs regs = { g[REG_RIP], g[REG_RSP], g[REG_RBP] };

	b->n_ours = unwind_walk(modules, n_modules, regs, read_self, NULL, b->ours,
	                        ARRAY_SIZE(b->ours), &b->stop);
}

static __attribute__((noinline)) void walk_here(struct both *b)
{
	ucontext_t c;

	getcontext(&c);
	walk_from(b, &c);
	b->n_theirs = backtrace(b->theirs, ARRAY_SIZE(b->theirs));
}

/* The two calls in walk_here() stand at different addresses; all above agree. */
static void assert_same(const struct both *b)
{
	assert_int_equal(b->stop, UNWIND_STOP_END);
	assert_true(b->n_ours > 3);
	assert_int_equal(b->n_ours, b->n_theirs);
	for (size_t i = 1; i < b->n_ours; i++)
		assert_int_equal(b->ours[i], (uintptr_t)b->theirs[i]);
}

static void own_stack_is_backtraces(void **state)
{
	struct both b;

	walk_here(&b);
	assert_same(&b);
}

static int compare_walking(const void *x, const void *y, void *arg)
{
	struct both *b = arg;

	if (!b->n_ours)
		walk_here(b);
	return *(const int *)x - *(const int *)y;
}

static void a_librarys_frames_are_walked(void **state)
{
	int numbers[] = { 3, 1, 2 };
	struct both b = { 0 };

	qsort_r(numbers, 3, sizeof(int), compare_walking, &b);
	assert_same(&b);
}

static void *walk_in_thread(void *arg)
{
	walk_here(arg);
	return NULL;
}

static void a_threads_stack_is_whole(void **state)
{
	struct both b;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, walk_in_thread, &b), 0);
	pthread_join(t, NULL);
	assert_int_equal(b.stop, UNWIND_STOP_END);
	assert_int_equal(b.n_ours, b.n_theirs);
}

/* gcc realigns the stack with DRAP when there are arguments on it */
static __attribute__((noinline, target("avx"))) long realigned(struct both *b, long a2, long a3,
                                                               long a4, long a5, long a6, long a7)
{
	volatile char aligned[64] __attribute__((aligned(64))) = { 1 };
	volatile char *dynamic = __builtin_alloca(a2);

	dynamic[0] = aligned[0];
	walk_here(b);
	return dynamic[0] + aligned[1] + a7;
}

static void realigned_frames_are_walked(void **state)
{
	struct both b;

	assert_int_equal(realigned(&b, 40, 0, 0, 0, 0, 6), 7);
	assert_same(&b);
}

static __attribute__((noinline)) int far_frame(struct both *b)
{
	volatile char big[100000];

	big[0] = 1;
	walk_here(b);
	return big[0];
}

static void big_frames_are_walked(void **state)
{
	struct both b;

	assert_int_equal(far_frame(&b), 1);
	assert_same(&b);
}

static struct both in_handler;

static void handler(int signal)
{
	walk_here(&in_handler);
}

static void signal_frames_are_walked(void **state)
{
	static char alternate[65536];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };

	assert_int_equal(sigaltstack(&stack, NULL), 0);
	sigaction(SIGUSR1, &action, NULL);
	raise(SIGUSR1);
	assert_same(&in_handler);
}

static int read_nothing(void *arg, uint64_t addr, void *buf, size_t len)
{
	return -EFAULT;
}

/* Stack without end: every word of it is the same return address. */
static int read_circle(void *arg, uint64_t addr, void *buf, size_t len)
{
	memcpy(buf, arg, len < 8 ? len : 8);
	return 0;
}

static void stops_are_told_apart(void **state)
{
	struct unwind_row rows[] = { { 0, 8, 0, UNWIND_RSP }, { 64, 0, 0, UNWIND_NONE } };
	uint32_t index[] = { 0 };
	struct unwind_table t = { 0x1000, 0x1100, rows, 2, index, 1, 1, 0 };
	struct unwind_module m = { 0x501000, 0x501100, 0x500000, &t };
	struct unwind_regs regs = { 0x501010, 0x7000, 0 };
	uint64_t pcs[8], back = 0x501020, zero = 0, outside = 0x601020, gap = 0x501081;
	enum unwind_stop stop;

	assert_int_equal(unwind_walk(&m, 1, regs, read_nothing, NULL, pcs, 8, &stop), 1);
	assert_int_equal(stop, UNWIND_STOP_BAD_STACK);
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &back, pcs, 8, &stop), 8);
	assert_int_equal(stop, UNWIND_STOP_DEEP);
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &zero, pcs, 8, &stop), 1);
	assert_int_equal(stop, UNWIND_STOP_END);
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &outside, pcs, 8, &stop), 2);
	assert_int_equal(stop, UNWIND_STOP_NO_MODULE);
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &gap, pcs, 8, &stop), 2);
	assert_int_equal(stop, UNWIND_STOP_NO_TABLE);
	m.table = NULL;
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &back, pcs, 8, &stop), 1);
	assert_int_equal(stop, UNWIND_STOP_NO_TABLE);
}

static void leaf_and_return_addresses_are_looked_up_differently(void **state)
{
	/* a call that does not return is its function's last instruction: the
	 * address behind it belongs to the next function */
	struct unwind_row rows[] = { { 0, 16, 0, UNWIND_RSP }, { 32, 8, 0, UNWIND_END } };
	uint32_t index[] = { 0 };
	struct unwind_table t = { 0x1000, 0x1100, rows, 2, index, 1, 1, 0 };
	struct unwind_module m = { 0x1000, 0x1100, 0, &t };
	struct unwind_regs regs = { 0x1020, 0x7000, 0 };
	uint64_t pcs[4], back = 0x1020;
	enum unwind_stop stop;

	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &back, pcs, 4, &stop), 1);
	regs.pc = 0x101f;
	assert_int_equal(unwind_walk(&m, 1, regs, read_circle, &back, pcs, 4, &stop), 4);
	assert_int_equal(stop, UNWIND_STOP_DEEP);
}

/* What the loader reads is enough: no section says where .eh_frame is or how
 * long. */
static void section_headers_are_not_needed(void **state)
{
	cleanup(unwind_table_freep) struct unwind_table *bare = NULL;
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	const struct unwind_table *whole = NULL;
	int fd = memfd_create("bare", MFD_CLOEXEC), from = -1;
	Elf64_Ehdr h;
	Dl_info info;
	struct error err = { 0 };

	assert_true(dladdr((void *)(uintptr_t)qsort_r, &info));
	from = open(info.dli_fname, O_RDONLY | O_CLOEXEC);
	assert_true(sendfile(fd, from, NULL, 1 << 30) > 100000);
	close(from);
	assert_int_equal(pread(fd, &h, sizeof(h), 0), sizeof(h));
	h.e_shoff = h.e_shnum = h.e_shstrndx = 0;
	assert_int_equal(pwrite(fd, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(elf_file_open(fd, "bare", &f, &err), 0);
	assert_int_equal(unwind_table_make(f, &bare, &err), 0);
	for (size_t i = 0; i < n_modules; i++)
		if (modules[i].bias == (uintptr_t)info.dli_fbase)
			whole = modules[i].table;
	assert_non_null(whole);
	assert_int_equal(bare->n_rows, whole->n_rows);
	assert_int_equal(bare->n_fdes, whole->n_fdes);
	assert_memory_equal(bare->rows, whole->rows, bare->n_rows * sizeof(*bare->rows));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_stack_is_backtraces),
		cmocka_unit_test(a_librarys_frames_are_walked),
		cmocka_unit_test(a_threads_stack_is_whole),
		cmocka_unit_test(realigned_frames_are_walked),
		cmocka_unit_test(big_frames_are_walked),
		cmocka_unit_test(signal_frames_are_walked),
		cmocka_unit_test(stops_are_told_apart),
		cmocka_unit_test(section_headers_are_not_needed),
		cmocka_unit_test(leaf_and_return_addresses_are_looked_up_differently),
	};

	return cmocka_run_group_tests(tests, load_modules, free_modules);
}
