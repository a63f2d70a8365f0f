/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "alloc/agent_place.h"
#include "alloc/agent_still.h"
#include "base/array.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "inject/still.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

enum {
	PAGE = 4096,
	TRIES = 100, /* of some ms each: threads sleep in the kernel */
	/* of all standing still for one that comes late: doubled every so many tries, and at last
	 * as long as it takes */
	FIRST_PATIENCE_MS = 3,
	PATIENT_TRIES = 10,
	PATIENT_DOUBLINGS = 4,
	CODE = MAPS_READ | MAPS_EXEC,
	AWAY = MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
	HOME = MREMAP_MAYMOVE | MREMAP_FIXED,
	MAP_FLAGS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
	BREAKPOINT = 0xcc,
};

#define LOWEST    0x100000ull
#define HIGHEST   0x7fff00000000ull
#define LEAST_GAP (1ull << 20)

static const struct inject_call calls[] = {
	{ "mremap", SYS_mremap, { LOWEST, PAGE, PAGE, AWAY, LOWEST } },
	{ "mremap", SYS_mremap, { LOWEST, PAGE, PAGE, HOME, LOWEST } },
	{ "rt_sigprocmask", SYS_rt_sigprocmask, { 2 /* SIG_SETMASK */, LOWEST, LOWEST, 8 } },
};

const struct inject_call *agent_pages_calls(size_t *n)
{
	*n = ARRAY_SIZE(calls);
	return calls;
}

/* ---- which pages ---- */

struct pages {
	uint64_t at[AGENT_MAX_FUNCTIONS]; /* sorted, each once */
	size_t n;
};

static int by_address(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* A jump lies in one page (agent_patch.h). */
static void list_pages(const struct agent_table *table, struct pages *ret)
{
	size_t n = 0;

	ret->n = table->n_functions < AGENT_MAX_FUNCTIONS ? table->n_functions
	                                                  : AGENT_MAX_FUNCTIONS;
	for (size_t i = 0; i < ret->n; i++)
		ret->at[i] = table->functions[i].patch_at / PAGE * PAGE;
	if (ret->n)
		qsort(ret->at, ret->n, sizeof(ret->at[0]), by_address);
	for (size_t i = 0; i < ret->n; i++) {
		if (!n || ret->at[n - 1] != ret->at[i])
			ret->at[n++] = ret->at[i];
	}
	ret->n = n;
}

/* One page of them, and where its mappings are. */
struct page {
	const struct target *t;
	uint64_t home, copy, aside;
	struct maps_moved_page file;
};

static struct page page_at(const struct target *t, const struct agent_table *table,
                           const struct pages *p, size_t k)
{
	return (struct page){ .t = t,
		              .home = p->at[k],
		              .copy = table->pages_at + (1 + k) * PAGE,
		              .aside = table->pages_at + (1 + p->n + k) * PAGE };
}

static bool is_code_of_file(const struct mapping *m)
{
	return m && m->inode && m->prot == CODE;
}

static bool is_our_own(const struct mapping *m)
{
	return m && !m->inode && !m->name[0] && m->prot == CODE;
}

static uint64_t offset_of(const struct mapping *m, uint64_t at)
{
	return m->offset + (at - m->start);
}

static bool is_same_file(const struct mapping *m, uint64_t at, const struct maps_moved_page *file)
{
	return is_code_of_file(m) && m->inode == file->inode && m->dev_major == file->dev_major &&
	       m->dev_minor == file->dev_minor && offset_of(m, at) == file->offset;
}

static void note_file(struct maps_moved_page *ret, const struct mapping *m, uint64_t at)
{
	ret->offset = offset_of(m, at);
	ret->inode = m->inode;
	ret->dev_major = m->dev_major;
	ret->dev_minor = m->dev_minor;
}

bool agent_pages_has(const struct maps *maps, const struct agent_table *table, uint64_t at)
{
	struct pages p;

	if (!table->pages_at || !is_our_own(maps_find(maps, at)))
		return false;
	list_pages(table, &p);
	for (size_t k = 0; k < p.n; k++) {
		if (p.at[k] == at / PAGE * PAGE)
			return is_code_of_file(maps_find(maps, page_at(NULL, table, &p, k).aside));
	}
	return false;
}

/* ---- calls ---- */

static int call(struct inject *in, const char *what, long number, const uint64_t args[6],
                int64_t expected, struct error *err)
{
	int64_t value = -1;
	int r = inject_syscall(in, number, args, &value, err);

	if (r < 0 || value == expected)
		return r;
	if (value < 0 && value > -4096)
		return error_sys(err, (int)-value, "the target's %s for copies of pages", what);
	return error_set(err, ENOTSUP, "the target's %s for copies of pages was not done as asked",
	                 what);
}

static int unmap(struct inject *in, uint64_t at, uint64_t bytes, struct error *err)
{
	const uint64_t args[6] = { at, bytes };

	return call(in, "munmap", SYS_munmap, args, 0, err);
}

static unsigned patience_ms(unsigned i)
{
	const unsigned doublings = i / PATIENT_TRIES;

	return doublings >= PATIENT_DOUBLINGS ? 0 : FIRST_PATIENCE_MS << doublings;
}

/* As often as threads are in the way. */
static int call_still(struct inject *in, const struct inject_call *made, const int64_t *expected,
                      size_t n, int (*may)(void *arg, struct error *err), struct page *p,
                      struct error *err)
{
	int64_t value = -1;
	int r = -EAGAIN;

	for (unsigned i = 0; r == -EAGAIN && i < TRIES; i++) {
		if (i)
			nanosleep(&(struct timespec){ 0, (1 + random() % 5) * 1000000 }, NULL);
		r = still_calls(in, made, expected, n, patience_ms(i), may, p, &value, err);
	}
	if (r < 0 || value == expected[n - 1])
		return r;
	if (value == -EINVAL)
		return error_set(err, ENOTSUP,
		                 "the kernel does not move a page of a file's code; Linux 5.13 "
		                 "does");
	return error_sys(err, value < 0 && value > -4096 ? (int)-value : EIO,
	                 "the target's mremap of a page of code");
}

static int note(struct inject *in, uint64_t base, size_t offset, const void *bytes, size_t n,
                struct error *err)
{
	return inject_write(in, base + AGENT_TABLE_AT + offset, bytes, n, err);
}

static int note_place(struct inject *in, uint64_t base, uint64_t at, struct error *err)
{
	return note(in, base, offsetof(struct agent_table, pages_at), &at, sizeof(at), err);
}

/* ---- there ---- */

/* What the file has; another's uprobes are left out and counted, and nothing else may differ. */
static int read_page(const struct target *t, const struct mapping *m, uint64_t at,
                     uint8_t bytes[PAGE], size_t *n_uprobes, struct error *err)
{
	cleanup_close int fd = -1;
	uint8_t memory[PAGE];
	ssize_t got;
	int r = maps_open_file(t, m, &fd, err);

	if (r < 0)
		return r;
	got = pread(fd, bytes, PAGE, (off_t)offset_of(m, at));
	if (got <= 0)
		return error_set(err, ENOTSUP, "the page at 0x%" PRIx64 " of %s cannot be read", at,
		                 m->name);
	memset(bytes + got, 0, PAGE - (size_t)got);
	if (agent_place_read(t, at, memory, PAGE) != PAGE)
		return error_set(err, ENOTSUP, "the page at 0x%" PRIx64 " cannot be read", at);
	for (size_t i = 0; i < PAGE; i++) {
		if (memory[i] == bytes[i])
			continue;
		++*n_uprobes;
		if (memory[i] != BREAKPOINT)
			return error_set(err, ENOTSUP,
			                 "the page at 0x%" PRIx64 " is not what %s has there; "
			                 "something has changed it already",
			                 at, m->name);
	}
	return 0;
}

/* The middle of the widest gap, above the code if there is one: who looks for a module by its
 * first mapping finds the right one, then. */
static uint64_t choose(const struct maps *maps, uint64_t above, uint64_t bytes)
{
	const uint64_t lows[] = { above, LOWEST };

	for (size_t i = 0; i < ARRAY_SIZE(lows); i++) {
		uint64_t n, start = maps_gap(maps, lows[i], HIGHEST, &n);

		if (start && n >= bytes + LEAST_GAP)
			return (start + (n - bytes) / 2) / PAGE * PAGE;
	}
	return 0;
}

static int make(struct inject *in, const struct target *t, uint64_t base, const struct pages *p,
                struct agent_table *table, struct error *err)
{
	const uint8_t none[sizeof(table->pages)] = { 0 };
	const uint64_t magic = AGENT_MAGIC;
	uint64_t args[6] = { 0, (1 + 2 * p->n) * PAGE, PROT_READ | PROT_EXEC, MAP_FLAGS, -1, 0 };
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read_raw(t, &maps, err);

	if (r < 0)
		return r;
	args[0] = choose(&maps, p->at[p->n - 1], args[1]);
	if (!args[0])
		return error_set(err, ENOMEM, "no room for copies of pages in the target");
	/* place last: as long as it is 0, nothing else counts */
	r = note(in, base, offsetof(struct agent_table, pages), none, sizeof(none), err);
	if (r == 0)
		r = note_place(in, base, args[0], err);
	if (r == 0)
		r = agent_still_note(in, base, AGENT_PLACE_UNCLEAN, err);
	if (r == 0)
		r = call(in, "mmap", SYS_mmap, args, (int64_t)args[0], err);
	if (r == 0)
		r = inject_write(in, args[0], &magic, sizeof(magic), err);
	table->pages_at = args[0];
	return r;
}

/* They all stand still: is it still the file's? */
static int is_as_planned(void *arg, struct error *err)
{
	const struct page *p = arg;
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read_raw(p->t, &maps, err);

	if (r < 0 ||
	    (is_same_file(maps_find(&maps, p->home), p->home, &p->file) &&
	     is_our_own(maps_find(&maps, p->copy)) && is_our_own(maps_find(&maps, p->aside))))
		return r;
	return error_set(err, EBUSY, "somebody changes the allocator's mappings");
}

static int take_page(struct inject *in, struct page *p, struct error *err)
{
	const struct inject_call made[] = {
		{ "mremap", SYS_mremap, { p->home, PAGE, PAGE, AWAY, p->aside } },
		{ "mremap", SYS_mremap, { p->copy, PAGE, PAGE, AWAY, p->home } },
	};
	const int64_t expected[] = { (int64_t)p->aside, (int64_t)p->home };

	return call_still(in, made, expected, ARRAY_SIZE(made), is_as_planned, p, err);
}

static int remember(struct maps_moved *v, const struct page *p, const char *name, struct error *err)
{
	struct maps_moved_page *one = &v->pages[v->n];

	*one = p->file;
	one->at = p->home;
	one->name = strdup(name);
	if (!one->name)
		return error_oom(err);
	v->n++;
	return 0;
}

/* All is read and compared before anything is changed. */
static int read_all(const struct target *t, const struct pages *p, uint8_t (*bytes)[PAGE],
                    struct maps_moved *ret, size_t *n_uprobes, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read_raw(t, &maps, err);

	for (size_t k = 0; r == 0 && k < p->n; k++) {
		const struct mapping *m = maps_find(&maps, p->at[k]);
		struct page one = { .home = p->at[k] };

		if (!is_code_of_file(m))
			return error_set(err, ENOTSUP, "code at 0x%" PRIx64 " is of no file",
			                 p->at[k]);
		note_file(&one.file, m, p->at[k]);
		r = remember(ret, &one, m->name, err);
		if (r == 0)
			r = read_page(t, m, p->at[k], bytes[k], n_uprobes, err);
	}
	return r;
}

int agent_pages_take(struct inject *in, const struct target *t, uint64_t base,
                     struct agent_table *table, struct maps_moved *ret, struct error *err)
{
	cleanup_free uint8_t(*bytes)[PAGE] = NULL;
	struct pages p;
	size_t n_uprobes = 0;
	int r;

	list_pages(table, &p);
	bytes = malloc((p.n + 1) * sizeof(*bytes));
	ret->pages = calloc(p.n + 1, sizeof(*ret->pages));
	if (!bytes || !ret->pages)
		return error_oom(err);
	r = read_all(t, &p, bytes, ret, &n_uprobes, err);
	if (r == 0 && n_uprobes)
		log_note(LOG_WARN,
		         "%zu breakpoints of others (uprobes) in %zu pages of code do not fire in "
		         "process %d until the recording ends (--patch page)",
		         n_uprobes, p.n, (int)t->pid);
	if (r == 0)
		r = make(in, t, base, &p, table, err);
	for (size_t k = 0; r == 0 && k < p.n; k++)
		r = inject_write(in, page_at(t, table, &p, k).copy, bytes[k], PAGE, err);
	for (size_t k = 0; r == 0 && k < p.n; k++) {
		struct page one = page_at(t, table, &p, k);

		one.file = ret->pages[k];
		r = take_page(in, &one, err);
	}
	ret->start = page_at(t, table, &p, 0).aside;
	ret->end = ret->start + p.n * PAGE;
	return r;
}

/* ---- and back ---- */

/* Is the copy as the file has it? Or has the file's page come there by itself, as when a
 * memwho was killed between the two moves? */
static int is_to_go_home(void *arg, struct error *err)
{
	const struct page *p = arg;
	cleanup(maps_clear) struct maps maps = { 0 };
	uint8_t copy[PAGE], file[PAGE];
	const struct mapping *m;
	int r = maps_read_raw(p->t, &maps, err);

	if (r < 0)
		return r;
	if (!is_same_file(maps_find(&maps, p->aside), p->aside, &p->file))
		return error_set(err, EBUSY, "somebody changes the allocator's mappings");
	m = maps_find(&maps, p->home);
	if (is_same_file(m, p->home, &p->file))
		return 0;
	if (!is_our_own(m))
		return error_set(err, ENOENT, "the library is gone");
	if (agent_place_read(p->t, p->home, copy, PAGE) != PAGE ||
	    agent_place_read(p->t, p->aside, file, PAGE) != PAGE)
		return error_set(err, EIO, "a page of code cannot be read");
	for (size_t i = 0; i < PAGE; i++) {
		if (copy[i] != file[i] && file[i] != BREAKPOINT)
			return error_set(err, EBUSY,
			                 "somebody has changed the allocator's code at 0x%" PRIx64
			                 ": this page stays a copy",
			                 p->home + i);
	}
	return 0;
}

/* 1: what is left of it aside is to be unmapped. */
static int put_home(struct inject *in, uint64_t base, struct page *p, size_t k, struct error *err)
{
	const struct inject_call made = { "mremap",
		                          SYS_mremap,
		                          { p->aside, PAGE, PAGE, HOME, p->home } };
	const int64_t expected = (int64_t)p->home;
	const uint8_t begun = 1;
	int r = is_to_go_home(p, err);

	/* from now on what is found aside is not ours any more, if it is not the file's */
	if (r == 0)
		r = note(in, base, offsetof(struct agent_table, pages) + k, &begun, 1, err);
	if (r == 0)
		r = call_still(in, &made, &expected, 1, is_to_go_home, p, err);
	return r == -ENOENT ? 1 : r;
}

static int drop_page(struct inject *in, uint64_t base, const struct agent_table *table,
                     struct page *p, size_t k, struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	const struct mapping *m;
	int r = maps_read_raw(p->t, &maps, err);

	if (r < 0)
		return r;
	m = maps_find(&maps, p->aside);
	if (is_code_of_file(m)) {
		note_file(&p->file, m, p->aside);
		r = put_home(in, base, p, k, err);
		return r == 1 ? unmap(in, p->aside, PAGE, err) : r;
	}
	return is_our_own(m) && !table->pages[k] ? unmap(in, p->aside, PAGE, err) : 0;
}

/* Or was it never made, or was it all done but the last note? */
static bool is_ours(const struct target *t, uint64_t at, const struct pages *p)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	const struct mapping *m;
	struct error unused;
	uint64_t magic = 0;

	if (maps_read_raw(t, &maps, &unused) < 0)
		return false;
	m = maps_find(&maps, at);
	return is_our_own(m) && m->start == at && m->end >= at + (1 + p->n) * PAGE &&
	       agent_place_read(t, at, &magic, sizeof(magic)) == sizeof(magic) &&
	       (!magic || magic == AGENT_MAGIC);
}

int agent_pages_drop(struct inject *in, const struct target *t, uint64_t base,
                     const struct agent_table *table, struct error *err)
{
	struct pages p;
	int r = 0;

	if (!table->pages_at)
		return 0;
	list_pages(table, &p);
	if (!is_ours(t, table->pages_at, &p))
		return note_place(in, base, 0, err);
	for (size_t k = 0; r == 0 && k < p.n; k++) {
		struct page one = page_at(t, table, &p, k);

		r = drop_page(in, base, table, &one, k, err);
	}
	/* what the copies left has been mapped all the time */
	if (r == 0)
		r = unmap(in, table->pages_at, (1 + p.n) * PAGE, err);
	return r < 0 ? r : note_place(in, base, 0, err);
}
