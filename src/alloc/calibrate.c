/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/calibrate.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "target/target.h"

/* Two functions that begin, as most do, with an instruction that the kernel
 * emulates. The first gives an "address" back, the second takes it. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".type calibrate_alloc_, @function\n"
        "calibrate_alloc_:\n"
        ".cfi_startproc\n"
        "	push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        "	mov %rdi, %rax\n"
        "	pop %rbp\n"
        ".cfi_def_cfa_offset 8\n"
        "	ret\n"
        ".cfi_endproc\n"
        ".size calibrate_alloc_, .-calibrate_alloc_\n"
        ".type calibrate_free_, @function\n"
        "calibrate_free_:\n"
        ".cfi_startproc\n"
        "	push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        "	pop %rbp\n"
        ".cfi_def_cfa_offset 8\n"
        "	ret\n"
        ".cfi_endproc\n"
        ".size calibrate_free_, .-calibrate_free_\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".type calibrate_alloc_, %function\n"
        "calibrate_alloc_:\n"
        ".cfi_startproc\n"
        "	nop\n"
        "	ret\n"
        ".cfi_endproc\n"
        ".size calibrate_alloc_, .-calibrate_alloc_\n"
        ".type calibrate_free_, %function\n"
        "calibrate_free_:\n"
        ".cfi_startproc\n"
        "	nop\n"
        "	ret\n"
        ".cfi_endproc\n"
        ".size calibrate_free_, .-calibrate_free_\n");
#else
#error "write calibrate_alloc_ and calibrate_free_ for this machine"
#endif
extern char calibrate_alloc_[] __attribute__((visibility("hidden")));
extern char calibrate_free_[] __attribute__((visibility("hidden")));

enum {
	ROUNDS = 1500,
	SHALLOW = 2,
	DEEP = 34, /* frames more than SHALLOW's: 32 */
	BLOCK = 64,
};

/* An order to the child. */
struct order {
	bool allocate;
	int depth;
};

typedef unsigned long (*alloc_function)(unsigned long);
typedef void (*free_function)(unsigned long);

static unsigned long thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (unsigned long)ts.tv_sec * 1000000000UL + (unsigned long)ts.tv_nsec;
}

static unsigned long work(bool allocate)
{
	unsigned long start = thread_cpu_ns();

	for (unsigned long i = 1; i <= ROUNDS; i++) {
		unsigned long block = i * BLOCK;

		if (allocate)
			block = ((alloc_function)(void *)calibrate_alloc_)(block);
		((free_function)(void *)calibrate_free_)(block);
	}
	return thread_cpu_ns() - start;
}

__attribute__((noinline)) static unsigned long descend(int depth, bool allocate)
{
	unsigned long ns = depth ? descend(depth - 1, allocate) : work(allocate);

	__asm__ volatile("" : "+r"(ns)); /* no tail call: every level is a frame */
	return ns;
}

_Noreturn static void serve_orders(int in, int out)
{
	struct order o;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &o, sizeof(o)) == sizeof(o)) {
		unsigned long ns = descend(o.depth, o.allocate);

		if (write(out, &ns, sizeof(ns)) != sizeof(ns))
			break;
	}
	_exit(0);
}

struct child {
	pid_t pid;
	int orders, answers;
};

static int start_child(struct child *c, struct error *err)
{
	int orders[2], answers[2];

	if (pipe(orders) < 0)
		return error_sys(err, errno, "pipe");
	if (pipe(answers) < 0) {
		close(orders[0]);
		close(orders[1]);
		return error_sys(err, errno, "pipe");
	}
	c->pid = fork();
	if (c->pid == 0) {
		close(orders[1]);
		close(answers[0]);
		serve_orders(orders[0], answers[1]);
	}
	close(orders[0]);
	close(answers[1]);
	c->orders = orders[1];
	c->answers = answers[0];
	return c->pid < 0 ? error_sys(err, errno, "fork") : 0;
}

static void stop_child(struct child *c)
{
	if (c->orders >= 0)
		close(c->orders);
	if (c->answers >= 0)
		close(c->answers);
	if (c->pid > 0) {
		kill(c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
	}
}

/* ns of one round. */
static int measure(const struct child *c, bool allocate, int depth, double *ret, struct error *err)
{
	struct order o = { allocate, depth };
	unsigned long ns, best = 0;

	/* the least of three: what disturbs only ever adds */
	for (int i = 0; i < 3; i++) {
		if (write(c->orders, &o, sizeof(o)) != sizeof(o) ||
		    read(c->answers, &ns, sizeof(ns)) != sizeof(ns))
			return error_set(err, EPIPE, "the calibration's process has died");
		if (!best || ns < best)
			best = ns;
	}
	*ret = (double)best / ROUNDS;
	return 0;
}

/* Where memwho's own code is, as a target's. */
struct self {
	struct symbol_space *space;
	struct target *target;
	u64 bias;
	struct elf_file *elf;
};

static int find_self(struct self *s, struct error *err)
{
	const struct symbol_mapping *m = symbol_space_find(s->space, (uintptr_t)calibrate_alloc_);

	if (!m || !m->module || !symbol_module_elf(m->module))
		return error_set(err, ENOENT, "memwho cannot find its own code");
	s->bias = m->bias;
	s->elf = symbol_module_elf(m->module);
	return 0;
}

/* What the child's stacks can be in: memwho itself and its libc, nothing of the many libraries that
 * other commands want, whose tables would take the target's room. */
static int add_own_modules(struct modules *m, const struct self *s, struct error *err)
{
	const uintptr_t here[] = { (uintptr_t)calibrate_alloc_, (uintptr_t)fork };
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(here); i++) {
		const struct symbol_mapping *in = symbol_space_find(s->space, here[i]);

		r = in ? modules_add(m, in->module, err) : 0;
	}
	return r;
}

static int publish_self(struct engine_bpf *e, struct modules *m, const struct self *s, pid_t pid,
                        struct error *err)
{
	cleanup_free struct stack_span *spans = NULL;
	size_t n;
	int r = add_own_modules(m, s, err);

	if (r == 0)
		r = modules_load(m, engine_bpf_tables(e), err);
	if (r == 0)
		r = modules_spans(m, s->space, &spans, &n, err);
	if (r < 0)
		return r;
	return engine_bpf_set_process(e, STACK_MAX_PROCESSES - 1, pid, spans, n, NULL, 0, err);
}

static int attach(struct engine_bpf *e, const struct self *s, pid_t pid, enum engine_bpf_probe kind,
                  const char *function, u32 plan, struct engine_bpf_links *to, struct error *err)
{
	struct engine_bpf_point point = { .kind = kind, .fd = elf_file_fd(s->elf), .plan = plan };

	if (!elf_file_offset(s->elf, (uintptr_t)function - s->bias, &point.offset))
		return error_set(err, ENOENT, "memwho cannot find its own code");
	return engine_bpf_links_attach(e, ENGINE_BPF_MULTI, pid, STACK_MAX_PROCESSES - 1, 0, &point,
	                               1, to, err);
}

/* RET PTR IMM64 SIZE END */
static const struct plan_code alloc_plan = {
	.role = PLAN_ALLOC,
	.n = 5,
	.uops = { { .op = PLAN_RET },
	          { .op = PLAN_PTR },
	          { .op = PLAN_IMM, .imm = BLOCK },
	          { .op = PLAN_SIZE },
	          { .op = PLAN_END } },
};
/* ARG0 PTR END */
static const struct plan_code free_plan = {
	.role = PLAN_FREE,
	.n = 3,
	.uops = { { .op = PLAN_ARG }, { .op = PLAN_PTR }, { .op = PLAN_END } },
};

static int measure_counting(struct engine_bpf *e, const struct self *s, const struct child *c,
                            u32 plan, double *ret, struct error *err)
{
	cleanup(engine_bpf_links_detach) struct engine_bpf_links links = { 0 };
	int r = attach(e, s, c->pid, ENGINE_BPF_COUNT, calibrate_free_, plan, &links, err);

	return r < 0 ? r : measure(c, false, SHALLOW, ret, err);
}

static int measure_recording(struct engine_bpf *e, const struct self *s, const struct child *c,
                             u32 plan_alloc, u32 plan_free, struct calibrate_costs *ret,
                             struct error *err)
{
	cleanup(engine_bpf_links_detach) struct engine_bpf_links links = { 0 };
	double entry = 0, shallow = 0, deep = 0;
	int r;

	r = attach(e, s, c->pid, ENGINE_BPF_ENTRY, calibrate_free_, plan_free, &links, err);
	if (r == 0)
		r = measure(c, false, SHALLOW, &entry, err);
	if (r == 0)
		r = attach(e, s, c->pid, ENGINE_BPF_RETURN, calibrate_alloc_, plan_alloc, &links,
		           err);
	if (r == 0)
		r = attach(e, s, c->pid, ENGINE_BPF_ENTRY, calibrate_alloc_, plan_alloc, &links,
		           err);
	if (r == 0)
		r = measure(c, true, SHALLOW, &shallow, err);
	if (r == 0)
		r = measure(c, true, DEEP, &deep, err);
	if (r < 0)
		return r;
	ret->entry = entry;
	ret->frame = deep > shallow ? (deep - shallow) / (DEEP - SHALLOW) : 0;
	/* the child's own frames: main and what lies above descend(), about ten */
	ret->allocation = shallow - entry - ret->frame * (SHALLOW + 10);
	if (ret->allocation < entry)
		ret->allocation = entry;
	return 0;
}

static int run_with_child(struct engine_bpf *e, struct modules *m, struct symbol_pool *pool,
                          const struct child *c, struct calibrate_costs *ret, struct error *err)
{
	cleanup(target_closep) struct target *target = NULL;
	cleanup(symbol_space_freep) struct symbol_space *space = NULL;
	struct calibrate_costs costs = { 0 };
	u32 plan_alloc, plan_free;
	struct self self;
	int r = target_open(c->pid, &target, err);

	if (r == 0)
		r = symbol_space_new(pool, target, &space, err);
	if (r < 0)
		return r;
	self = (struct self){ .space = space, .target = target };
	r = find_self(&self, err);
	if (r == 0)
		r = publish_self(e, m, &self, c->pid, err);
	if (r == 0)
		r = engine_bpf_add_plan(e, &alloc_plan, &plan_alloc, err);
	if (r == 0)
		r = engine_bpf_add_plan(e, &free_plan, &plan_free, err);
	if (r == 0)
		r = measure_counting(e, &self, c, plan_free, &costs.count, err);
	if (r == 0)
		r = measure_recording(e, &self, c, plan_alloc, plan_free, &costs, err);
	if (r == 0)
		*ret = costs;
	return r;
}

int calibrate_run(struct engine_bpf *e, struct modules *m, struct symbol_pool *pool,
                  struct calibrate_costs *ret, struct error *err)
{
	struct child child = { -1, -1, -1 };
	int r = start_child(&child, err);

	if (r == 0)
		r = run_with_child(e, m, pool, &child, ret, err);
	engine_bpf_end_process(e, STACK_MAX_PROCESSES - 1);
	stop_child(&child);
	return r < 0 ? error_context(err, "measuring what a probe costs") : 0;
}
