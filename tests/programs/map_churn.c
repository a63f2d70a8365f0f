/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * The oracle of memwho map: random operations on the address space by many
 * threads, and the program's own record of who made each page.
 *
 *	map_churn THREADS OPERATIONS SEED RECORD [CHILDREN]
 *
 * It prints "ready", waits for a line, works, writes RECORD.PID (lines "START
 * END SITE TID", hexadecimal addresses; SITE is a function on the stack of
 * whoever made the pages), prints "done", and waits for another line. With
 * CHILDREN that many children are forked when the threads have stopped, which
 * work on alone and write records of their own; another one is forked and left
 * waiting while all threads are at work (its pages are not recorded).
 *
 * A page is entered after the call that made it has returned, and taken out
 * before the call that gives it back: the kernel cannot give it to another
 * thread in between, so no lock is needed.
 */

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	MAX_THREADS = 64,
	MAX_BLOCKS = 256,
	WINDOW_PAGES = 512, /* of a thread: fixed places */
	STACK_PAGES = 1024, /* of a thread: for MAP_GROWSDOWN */
	N_SITES = 6,
	N_SEGMENTS = 6,
	SEGMENT_PAGES = 5,
	NOBODY = 0,
};

#define WINDOWS    0x100000000000UL
#define PER_THREAD ((uint64_t)(WINDOW_PAGES + 2 * STACK_PAGES) * PAGE)
#define NEAR_BYTES (40UL << 30) /* below the first place that the kernel chooses */
#define HEAP_BYTES (64UL << 20)

struct area {
	uint64_t start, end;
	uint32_t *owner; /* of each page: thread's index << 8 | site + 1 */
};

struct block {
	uint64_t start;
	size_t pages;
};

struct thread {
	pthread_t id;
	unsigned index;
	uint64_t random;
	uint64_t operations;
	struct block blocks[MAX_BLOCKS];
	size_t n_blocks;
	uint64_t segments[8]; /* attached at; 0: free */
	uint64_t stack;       /* lowest page of the growing one; 0: none */
};

static struct area near, windows, heap;
static struct thread threads[MAX_THREADS];
static unsigned n_threads, n_children;
static pid_t tids[MAX_THREADS];
static int file_fd, segment_ids[N_SEGMENTS];
static pthread_barrier_t begin, end;
static const char *record_path;
static uint64_t heap_end;

/* ---- who asks ---- */

/* The empty statement keeps the call from being the last thing, which would
 * take the function off the stack. */
#define SITE(n)                                                                                    \
	__attribute__((noinline)) static long churn_site_##n(long nr, long a, long b, long c,      \
	                                                     long d, long e, long f)               \
	{                                                                                          \
		long r = syscall(nr, a, b, c, d, e, f);                                            \
                                                                                                   \
		__asm__ volatile("" ::: "memory");                                                 \
		return r;                                                                          \
	}
SITE(0)
SITE(1)
SITE(2)
SITE(3)
SITE(4)
SITE(5)

static long (*const sites[N_SITES])(long, long, long, long, long, long, long) = {
	churn_site_0, churn_site_1, churn_site_2, churn_site_3, churn_site_4, churn_site_5,
};

static uint64_t pick(struct thread *t, uint64_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return (t->random >> 11) % below;
}

/* ---- the record ---- */

static uint32_t *owner_of(uint64_t address)
{
	const struct area *all[] = { &near, &windows, &heap };

	for (size_t i = 0; i < 3; i++) {
		if (address >= all[i]->start && address < all[i]->end)
			return &all[i]->owner[(address - all[i]->start) / PAGE];
	}
	fprintf(stderr, "map_churn: %lx is in no area\n", (unsigned long)address);
	abort();
}

static void enter(struct thread *t, uint64_t start, size_t pages, unsigned site)
{
	for (size_t i = 0; i < pages; i++)
		__atomic_store_n(owner_of(start + i * PAGE), t->index << 8 | (site + 1),
		                 __ATOMIC_RELAXED);
}

static void take_out(uint64_t start, size_t pages)
{
	for (size_t i = 0; i < pages; i++)
		__atomic_store_n(owner_of(start + i * PAGE), NOBODY, __ATOMIC_RELAXED);
}

static void open_area(struct area *a, uint64_t start, uint64_t bytes)
{
	a->start = start;
	a->end = start + bytes;
	a->owner = mmap(NULL, bytes / PAGE * sizeof(*a->owner), PROT_READ | PROT_WRITE,
	                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->owner == MAP_FAILED)
		abort();
}

static void write_area(FILE *f, const struct area *a)
{
	size_t n = (a->end - a->start) / PAGE;

	for (size_t i = 0; i < n;) {
		uint32_t owner = a->owner[i];
		size_t k = i;

		while (k < n && a->owner[k] == owner)
			k++;
		if (owner)
			fprintf(f, "%lx %lx churn_site_%u %d\n",
			        (unsigned long)(a->start + i * PAGE),
			        (unsigned long)(a->start + k * PAGE), (owner & 0xff) - 1,
			        tids[owner >> 8]);
		i = k;
	}
}

static void write_record(void)
{
	static char buffer[1 << 16];
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s.%d", record_path, getpid());
	f = fopen(path, "w");
	if (!f)
		abort();
	setvbuf(f, buffer, _IOFBF, sizeof(buffer));
	write_area(f, &near);
	write_area(f, &windows);
	write_area(f, &heap);
	if (fclose(f))
		abort();
}

/* ---- operations ---- */

static uint64_t window_of(const struct thread *t)
{
	return WINDOWS + t->index * PER_THREAD;
}

static void forget_block(struct thread *t, size_t i)
{
	t->blocks[i] = t->blocks[--t->n_blocks];
}

static void remember_block(struct thread *t, uint64_t start, size_t pages)
{
	if (t->n_blocks == MAX_BLOCKS) {
		struct block b = t->blocks[0];

		forget_block(t, 0);
		take_out(b.start, b.pages);
		churn_site_0(SYS_munmap, b.start, b.pages * PAGE, 0, 0, 0, 0);
	}
	t->blocks[t->n_blocks++] = (struct block){ start, pages };
}

static void op_mmap(struct thread *t)
{
	size_t pages = pick(t, 16) + 1;
	unsigned site = pick(t, N_SITES);
	int shared = pick(t, 8) ? MAP_PRIVATE : MAP_SHARED;
	long at = sites[site](SYS_mmap, 0, pages * PAGE - pick(t, 100), PROT_READ | PROT_WRITE,
	                      shared | MAP_ANONYMOUS, -1, 0);

	if (at == -1)
		return;
	enter(t, at, pages, site);
	remember_block(t, at, pages);
}

/* A part of a block; what is left of it stays known by its ends. */
static void op_munmap(struct thread *t)
{
	size_t i, from, n;
	struct block b;

	if (!t->n_blocks)
		return;
	i = pick(t, t->n_blocks);
	b = t->blocks[i];
	from = pick(t, b.pages);
	n = pick(t, b.pages - from) + 1;
	forget_block(t, i);
	take_out(b.start + from * PAGE, n);
	sites[pick(t, N_SITES)](SYS_munmap, b.start + from * PAGE, n * PAGE, 0, 0, 0, 0);
	if (from)
		remember_block(t, b.start, from);
	if (from + n < b.pages)
		remember_block(t, b.start + (from + n) * PAGE, b.pages - from - n);
}

static void op_fixed(struct thread *t)
{
	size_t from = pick(t, WINDOW_PAGES), n = pick(t, 40) + 1;
	unsigned site = pick(t, N_SITES);
	uint64_t at = window_of(t) + from * PAGE;
	bool file = pick(t, 4) == 0;

	n = from + n > WINDOW_PAGES ? WINDOW_PAGES - from : n;
	if (sites[site](SYS_mmap, at, n * PAGE, pick(t, 2) ? PROT_READ : PROT_NONE,
	                MAP_FIXED | MAP_PRIVATE | (file ? 0 : MAP_ANONYMOUS), file ? file_fd : -1,
	                0) != -1)
		enter(t, at, n, site);
}

static void op_unmap_window(struct thread *t)
{
	size_t from = pick(t, WINDOW_PAGES), n = pick(t, 20) + 1;
	uint64_t at = window_of(t) + from * PAGE;

	n = from + n > WINDOW_PAGES ? WINDOW_PAGES - from : n;
	take_out(at, n);
	sites[pick(t, N_SITES)](SYS_munmap, at, n * PAGE, 0, 0, 0, 0);
}

static bool is_mapped(uint64_t at)
{
	unsigned char in_core;

	return mincore((void *)at, PAGE, &in_core) == 0;
}

static void copy_owners(uint32_t *to, uint64_t start, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = *owner_of(start + i * PAGE);
}

static void put_owners(const uint32_t *from, uint64_t start, size_t n)
{
	for (size_t i = 0; i < n; i++)
		*owner_of(start + i * PAGE) = from[i];
}

/* A block grows or shrinks, wherever the kernel likes. */
static void op_mremap(struct thread *t)
{
	size_t i, pages = pick(t, 24) + 1;
	unsigned site = pick(t, N_SITES);
	uint32_t owners[64];
	struct block b;
	long at;

	if (!t->n_blocks)
		return;
	i = pick(t, t->n_blocks);
	b = t->blocks[i];
	copy_owners(owners, b.start, b.pages);
	take_out(b.start, b.pages);
	at = sites[site](SYS_mremap, b.start, b.pages * PAGE, pages * PAGE, MREMAP_MAYMOVE, 0, 0);
	if (at == -1) {
		put_owners(owners, b.start, b.pages);
		return;
	}
	forget_block(t, i);
	put_owners(owners, at, b.pages < pages ? b.pages : pages);
	if (pages > b.pages)
		enter(t, at + b.pages * PAGE, pages - b.pages, site);
	remember_block(t, at, pages);
}

/* Into the window, over whatever is there. */
static void op_mremap_fixed(struct thread *t)
{
	size_t i, from = pick(t, WINDOW_PAGES - 64);
	unsigned site = pick(t, N_SITES);
	uint64_t to = window_of(t) + from * PAGE;
	bool stays = pick(t, 2);
	uint32_t owners[64];
	struct block b;

	if (!t->n_blocks)
		return;
	i = pick(t, t->n_blocks);
	b = t->blocks[i];
	copy_owners(owners, b.start, b.pages);
	if (!stays)
		take_out(b.start, b.pages);
	if (sites[site](SYS_mremap, b.start, b.pages * PAGE, b.pages * PAGE,
	                MREMAP_MAYMOVE | MREMAP_FIXED | (stays ? MREMAP_DONTUNMAP : 0), to,
	                0) == -1) {
		put_owners(owners, b.start, b.pages);
		/* what was there may be gone all the same */
		for (size_t k = 0; k < b.pages; k++) {
			if (!is_mapped(to + k * PAGE))
				take_out(to + k * PAGE, 1);
		}
		return;
	}
	if (stays) {
		enter(t, to, b.pages, site);
	} else {
		put_owners(owners, to, b.pages);
		forget_block(t, i);
	}
}

static void op_protect(struct thread *t)
{
	uint64_t at = window_of(t) + pick(t, WINDOW_PAGES) * PAGE;

	sites[pick(t, N_SITES)](SYS_mprotect, at, (pick(t, 10) + 1) * PAGE,
	                        pick(t, 2) ? PROT_READ : PROT_READ | PROT_WRITE, 0, 0, 0);
}

static void op_advise(struct thread *t)
{
	if (t->n_blocks) {
		const struct block *b = &t->blocks[pick(t, t->n_blocks)];

		sites[pick(t, N_SITES)](SYS_madvise, b->start, b->pages * PAGE, MADV_DONTNEED, 0, 0,
		                        0);
	}
}

static void op_attach(struct thread *t)
{
	unsigned site = pick(t, N_SITES), k = pick(t, 8);
	long at;

	if (t->segments[k])
		return;
	at = sites[site](SYS_shmat, segment_ids[pick(t, N_SEGMENTS)], 0, 0, 0, 0, 0);
	if (at == -1)
		return;
	enter(t, at, SEGMENT_PAGES, site);
	t->segments[k] = at;
	if (pick(t, 3) == 0) { /* a hole: it is detached in two pieces */
		uint64_t hole = at + (1 + pick(t, SEGMENT_PAGES - 2)) * PAGE;

		/* a fixed mapping, so that nobody else can come in there */
		if (churn_site_1(SYS_mmap, hole, PAGE, PROT_READ,
		                 MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != -1) {
			enter(t, hole, 1, 1);
			remember_block(t, hole, 1);
		}
	}
}

static void op_detach(struct thread *t)
{
	unsigned k = pick(t, 8);
	uint64_t at = t->segments[k];
	uint32_t owners[SEGMENT_PAGES];

	if (!at)
		return;
	t->segments[k] = 0;
	copy_owners(owners, at, SEGMENT_PAGES);
	for (size_t i = 0; i < SEGMENT_PAGES; i++) {
		bool hole = false;

		for (size_t b = 0; b < t->n_blocks; b++)
			hole |= t->blocks[b].start == at + i * PAGE;
		if (!hole && owners[i] == owners[0])
			take_out(at + i * PAGE, 1);
		else if (!hole) /* the hole has been given back, and may be another's */
			continue;
	}
	sites[pick(t, N_SITES)](SYS_shmdt, at, 0, 0, 0, 0, 0);
}

/* A stack: grows by being touched below its lowest page. */
static void op_stack(struct thread *t)
{
	uint64_t top = window_of(t) + (WINDOW_PAGES + 2 * STACK_PAGES - 1) * (uint64_t)PAGE;
	unsigned site = pick(t, N_SITES);

	if (!t->stack) {
		if (sites[site](SYS_mmap, top, PAGE, PROT_READ | PROT_WRITE,
		                MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1,
		                0) == -1)
			return;
		enter(t, top, 1, site);
		t->stack = top;
	} else if (top - t->stack < (STACK_PAGES / 2) * PAGE && pick(t, 50)) {
		t->stack -= PAGE;
		*(volatile char *)t->stack = 1;
		*owner_of(t->stack) = *owner_of(top);
	} else {
		take_out(t->stack, (top - t->stack) / PAGE + 1);
		sites[site](SYS_munmap, t->stack, top + PAGE - t->stack, 0, 0, 0, 0);
		t->stack = 0;
	}
}

static void op_brk(struct thread *t)
{
	unsigned site = pick(t, N_SITES);
	uint64_t to = heap.start + pick(t, 64) * PAGE + pick(t, 2) * 100, was = heap_end;
	uint64_t old_top = (was + PAGE - 1) & -(uint64_t)PAGE,
		 top = (to + PAGE - 1) & -(uint64_t)PAGE;

	if (t->index) /* one of them only */
		return;
	if (top < old_top)
		take_out(top, (old_top - top) / PAGE);
	if ((uint64_t)sites[site](SYS_brk, to, 0, 0, 0, 0, 0) != to)
		abort();
	if (top > old_top)
		enter(t, old_top, (top - old_top) / PAGE, site);
	heap_end = to;
}

static void op_fail(struct thread *t)
{
	uint64_t w = window_of(t);

	switch (pick(t, 6)) {
	case 0: sites[0](SYS_munmap, w + 1, PAGE, 0, 0, 0, 0); break;
	case 1: sites[1](SYS_munmap, w, 0, 0, 0, 0, 0); break;
	case 2: sites[2](SYS_mremap, 0x7000, PAGE, 2 * PAGE, MREMAP_MAYMOVE, 0, 0); break;
	case 3: sites[3](SYS_mmap, w, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); break;
	case 4: sites[4](SYS_mmap, w, PAGE, PROT_READ, MAP_FIXED | MAP_PRIVATE, 1000, 0); break;
	case 5: /* it is not there: or else it would have to be entered */
		if (*owner_of(w))
			sites[5](SYS_mmap, w, PAGE, PROT_READ,
			         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		break;
	}
}

static void (*const operations[])(struct thread *t) = {
	op_mmap,   op_mmap,   op_mmap,         op_mmap,    op_munmap, op_munmap,
	op_munmap, op_munmap, op_fixed,        op_fixed,   op_fixed,  op_unmap_window,
	op_mremap, op_mremap, op_mremap_fixed, op_protect, op_advise, op_attach,
	op_detach, op_stack,  op_brk,          op_fail,
};

static void work(struct thread *t)
{
	for (uint64_t i = 0; i < t->operations; i++)
		operations[pick(t, sizeof(operations) / sizeof(operations[0]))](t);
}

static void *run(void *arg)
{
	struct thread *t = arg;

	tids[t->index] = gettid();
	pthread_barrier_wait(&begin);
	work(t);
	pthread_barrier_wait(&end);
	for (;;)
		pause();
	return NULL;
}

/* ---- processes ---- */

static void say(const char *word)
{
	size_t n = strlen(word);

	if (write(STDOUT_FILENO, word, n) != (ssize_t)n)
		_exit(1);
}

static void wait_for_line(void)
{
	char c = 0;

	while (c != '\n') {
		if (read(STDIN_FILENO, &c, 1) != 1)
			_exit(0);
	}
}

/* Its one thread goes on where the parent's stopped, under its own number. */
static _Noreturn void child(unsigned index, uint64_t operations_each)
{
	struct thread *t = &threads[0];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	tids[MAX_THREADS - 1] = gettid();
	t->index = MAX_THREADS - 1;
	t->n_blocks = 0; /* the parent's stay as they are */
	memset(t->segments, 0, sizeof(t->segments));
	t->stack = 0;
	t->random ^= (index + 1) * 0x9e3779b97f4a7c15;
	t->operations = operations_each;
	work(t);
	write_record();
	say("child\n");
	for (;;)
		pause();
}

static pid_t fork_waiting(void)
{
	pid_t pid = fork();

	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (pid == 0)
		pause();
	return pid;
}

static void open_everything(void)
{
	char *probe;

	file_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < N_SEGMENTS; i++) {
		segment_ids[i] = shmget(IPC_PRIVATE, SEGMENT_PAGES * PAGE, 0600);
		/* it lives as long as somebody has it attached */
		if (segment_ids[i] < 0 || shmat(segment_ids[i], NULL, 0) == (void *)-1)
			abort();
		shmctl(segment_ids[i], IPC_RMID, NULL);
	}
	open_area(&windows, WINDOWS, PER_THREAD * MAX_THREADS);
	heap_end = syscall(SYS_brk, 0);
	heap_end = (heap_end + PAGE - 1) & -(uint64_t)PAGE;
	if ((uint64_t)syscall(SYS_brk, heap_end) != heap_end)
		abort();
	open_area(&heap, heap_end, HEAP_BYTES);
	probe = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	open_area(&near, ((uint64_t)probe & -(uint64_t)PAGE) - NEAR_BYTES,
	          NEAR_BYTES + (8UL << 30));
}

int main(int argc, char **argv)
{
	uint64_t total, seed;
	pid_t children[16];
	size_t n = 0;

	if (argc < 5)
		return 2;
	n_threads = atoi(argv[1]);
	total = strtoull(argv[2], NULL, 10);
	seed = strtoull(argv[3], NULL, 10);
	record_path = argv[4];
	n_children = argc > 5 ? atoi(argv[5]) : 0;
	if (!n_threads || n_threads >= MAX_THREADS || n_children > 8)
		return 2;
	mallopt(M_MMAP_THRESHOLD, 0); /* brk is ours */
	pthread_barrier_init(&begin, NULL, n_threads + 1);
	pthread_barrier_init(&end, NULL, n_threads + 1);
	for (unsigned i = 0; i < n_threads; i++) {
		threads[i].index = i;
		threads[i].random = (seed + i + 1) * 0x9e3779b97f4a7c15;
		threads[i].operations = total / n_threads;
	}
	open_everything();
	for (unsigned i = 0; i < n_threads; i++)
		pthread_create(&threads[i].id, NULL, run, &threads[i]);
	say("ready\n");
	wait_for_line();
	pthread_barrier_wait(&begin);
	if (n_children)
		children[n++] = fork_waiting();
	pthread_barrier_wait(&end);
	for (unsigned i = 0; i < n_children; i++) {
		children[n] = fork();
		if (children[n] == 0)
			child(i, total / n_threads / 4);
		n++;
	}
	write_record();
	say("done\n");
	wait_for_line();
	for (size_t i = 0; i < n; i++) {
		kill(children[i], SIGKILL);
		waitpid(children[i], NULL, 0);
	}
	return 0;
}
