/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/image.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "target/image_internal.h"
#include "target/maps.h"
#include "target/pages.h"
#include "target/reader.h"

#define MAX_COPY (1ull << 42)

/* ---- opening ---- */

static void clear_copies(struct image *i)
{
	for (size_t k = 0; i->copies && k < i->n_segments; k++) {
		struct image_copy *c = &i->copies[k];

		if (c->bytes)
			munmap(c->bytes, i->segments[k].end - i->segments[k].start);
		free(c->state);
		if (c->fd >= 0)
			close(c->fd);
	}
	free(i->copies);
}

struct image *image_close(struct image *i)
{
	if (!i)
		return NULL;
	clear_copies(i);
	if (i->core)
		munmap((void *)i->core, i->core_bytes);
	elf_file_close(i->exe);
	for (size_t k = 0; k < i->n_files; k++)
		elf_file_close(i->files[k].elf);
	free(i->files);
	maps_clear(&i->maps);
	free(i->segments);
	free(i->threads);
	free(i->paths);
	free(i->exe_path);
	free(i->name);
	free(i);
	return NULL;
}

void image_closep(struct image **i)
{
	image_close(*i);
}

/* The kernel shows neighbours apart that differ in what was advised (madvise); what lies across two
 * of them, a large object, is one all the same. */
static bool are_one(const struct image *i, const struct image_segment *a,
                    const struct image_segment *b)
{
	return a->end == b->start && a->prot == b->prot && a->path[0] != '/' &&
	       strcmp(a->path, b->path) == 0 && a->bytes == a->end - a->start &&
	       (i->kind == IMAGE_PROCESS || a->core_offset + a->bytes == b->core_offset);
}

static void join_segments(struct image *i)
{
	size_t n = 0;

	for (size_t k = 0; k < i->n_segments; k++) {
		struct image_segment *last = n ? &i->segments[n - 1] : NULL;
		const struct image_segment *s = &i->segments[k];

		if (last && are_one(i, last, s)) {
			last->bytes += s->bytes;
			last->end = s->end;
		} else {
			i->segments[n++] = *s;
		}
	}
	i->n_segments = n;
}

static int make_copies(struct image *i, struct error *err)
{
	join_segments(i);
	i->copies = calloc(i->n_segments + 1, sizeof(*i->copies));
	if (!i->copies)
		return error_oom(err);
	for (size_t k = 0; k < i->n_segments; k++)
		i->copies[k].fd = -1;
	return 0;
}

static int map_core(struct image *i, int fd, struct error *err)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return error_sys(err, errno, "%s", i->name);
	if (!S_ISREG(st.st_mode))
		return error_set(err, ENOEXEC, "%s is not a core file", i->name);
	if (!st.st_size) {
		error_set(err, ENOEXEC, "%s is empty, not a core file", i->name);
		return error_hint(err, "was the disk full, or `ulimit -c` 0, when it was written?");
	}
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return error_sys(err, errno, "%s", i->name);
	i->core = p;
	i->core_bytes = (uint64_t)st.st_size;
	return 0;
}

int image_open_core(const char *path, const struct image_options *o, struct image **ret,
                    struct error *err)
{
	cleanup(image_closep) struct image *i = calloc(1, sizeof(*i));
	cleanup_close int fd = -1;
	int r;

	if (!i)
		return error_oom(err);
	i->kind = IMAGE_CORE;
	i->name = strdup(path);
	i->exe_path = o && o->exe ? strdup(o->exe) : NULL;
	i->sysroot = o ? o->sysroot : NULL;
	if (!i->name || (o && o->exe && !i->exe_path))
		return error_oom(err);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, errno, "%s", path);
	fd = image_unpack(take_fd(fd), path, err);
	if (fd < 0)
		return err->code;
	r = map_core(i, fd, err);
	if (r == 0)
		r = image_core_read(i, err);
	if (r == 0)
		r = make_copies(i, err);
	if (r < 0)
		return r;
	*ret = take_ptr(i);
	return 0;
}

static int take_maps(struct image *i, struct error *err)
{
	int r = maps_read(i->target, &i->maps, err);

	if (r == 0)
		r = array_reserve(&i->segments, &i->cap_segments, i->maps.n_items + 1, err);
	for (size_t k = 0; r == 0 && k < i->maps.n_items; k++) {
		const struct mapping *m = &i->maps.items[k];

		if (m->start > INT64_MAX) /* [vsyscall] */
			continue;
		i->segments[i->n_segments++] = (struct image_segment){
			.start = m->start,
			.end = m->end,
			.prot = m->prot,
			.path = m->name,
			.file_offset = m->offset,
			.bytes = m->end - m->start,
		};
	}
	return r;
}

int image_open_process(const struct target *t, const struct image_thread *threads, size_t n,
                       struct image **ret, struct error *err)
{
	cleanup(image_closep) struct image *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return error_oom(err);
	i->kind = IMAGE_PROCESS;
	i->target = t;
	i->pid = t->pid;
	memcpy(i->comm, t->comm, sizeof(i->comm) - 1);
	i->name = strdup(t->comm);
	i->threads = calloc(n + 1, sizeof(*i->threads));
	if (!i->name || !i->threads)
		return error_oom(err);
	if (n)
		memcpy(i->threads, threads, n * sizeof(*threads));
	i->n_threads = n;
	r = take_maps(i, err);
	if (r == 0)
		r = make_copies(i, err);
	if (r < 0)
		return r;
	*ret = take_ptr(i);
	return 0;
}

/* ---- what it is ---- */

enum image_kind image_kind(const struct image *i)
{
	return i->kind;
}

const char *image_name(const struct image *i)
{
	return i->name;
}

pid_t image_pid(const struct image *i)
{
	return i->pid;
}

const char *image_comm(const struct image *i)
{
	return i->comm;
}

const struct target *image_target(const struct image *i)
{
	return i->kind == IMAGE_PROCESS ? i->target : NULL;
}

int image_signal(const struct image *i)
{
	return i->signal;
}

size_t image_n_segments(const struct image *i)
{
	return i->n_segments;
}

const struct image_segment *image_segment(const struct image *i, size_t n)
{
	return &i->segments[n];
}

size_t image_n_threads(const struct image *i)
{
	return i->n_threads;
}

struct image_thread image_thread_of(pid_t tid, const struct user_regs_struct *regs)
{
	struct image_thread t = {
		.tid = tid,
		.pc = registers_pc(regs),
		.sp = registers_sp(regs),
		.bp = registers_frame(regs),
		.tls = registers_tls(regs),
	};

	registers_by_dwarf(regs, t.regs);
	return t;
}

const struct image_thread *image_thread(const struct image *i, size_t n)
{
	return &i->threads[n];
}

uint64_t image_missing(const struct image *i)
{
	return i->missing;
}

uint64_t image_copied(const struct image *i)
{
	return i->copied;
}

static bool is_in(const struct image_segment *s, uint64_t addr)
{
	return addr >= s->start && addr < s->end;
}

const struct image_segment *image_find(const struct image *i, uint64_t addr)
{
	size_t at;

	if (i->last < i->n_segments && is_in(&i->segments[i->last], addr))
		return &i->segments[i->last];
	at = partition_point(i->n_segments, k, i->segments[k].end <= addr);
	if (at == i->n_segments || !is_in(&i->segments[at], addr))
		return NULL;
	((struct image *)i)->last = at; /* a cache */
	return &i->segments[at];
}

/* ---- bytes that are copied when they are asked for ---- */

static int prepare_copy(struct image *i, size_t k)
{
	struct image_copy *c = &i->copies[k];
	uint64_t bytes = i->segments[k].end - i->segments[k].start;
	void *p;

	if (c->bytes)
		return 0;
	if (bytes > MAX_COPY) /* what only a damaged header says */
		return -EFBIG;
	c->state = calloc((bytes + IMAGE_CHUNK - 1) / IMAGE_CHUNK, 1);
	if (!c->state)
		return -ENOMEM;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
	         -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	c->bytes = p;
	return 0;
}

/* The file behind a segment, if it is sure to be the one. */
static int file_of(struct image *i, size_t k)
{
	const struct image_segment *s = &i->segments[k];
	struct image_copy *c = &i->copies[k];
	struct error unused;
	uint64_t bias;

	if (c->file_tried)
		return c->fd;
	c->file_tried = true;
	if (i->kind == IMAGE_PROCESS) {
		const struct mapping *m = maps_find(&i->maps, s->start);

		if (!m || !m->inode || maps_open_file(i->target, m, &c->fd, &unused) < 0)
			c->fd = -1;
		return c->fd;
	}
	/* of a core's files only the program, and libraries that were asked for, are checked */
	for (size_t n = 0; n < i->n_files && c->fd < 0; n++) {
		if (i->files[n].is_proven && !strcmp(i->files[n].path, s->path))
			c->fd = fcntl(elf_file_fd(i->files[n].elf), F_DUPFD_CLOEXEC, 3);
	}
	if (c->fd >= 0)
		return c->fd;
	if (image_exe(i, &bias, &unused)) {
		const struct image_segment *e = image_find(i, elf_file_entry(i->exe) + bias);
		bool is_exe = e &&
		              (s->path == e->path || (s->path[0] && strcmp(s->path, e->path) == 0));

		if (is_exe)
			c->fd = fcntl(elf_file_fd(i->exe), F_DUPFD_CLOEXEC, 3);
	}
	return c->fd;
}

/* Bytes of the file; behind its end there are zeros. False: no such file. */
static bool fill_from_file(struct image *i, size_t k, uint64_t at, uint64_t n)
{
	const struct image_segment *s = &i->segments[k];
	uint8_t *to = i->copies[k].bytes + at;
	int fd = file_of(i, k);

	if (fd < 0)
		return false;
	for (uint64_t done = 0; done < n;) {
		ssize_t r = pread(fd, to + done, n - done, (off_t)(s->file_offset + at + done));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return false;
		if (r == 0)
			break;
		done += (uint64_t)r;
	}
	return true;
}

/* What the process itself has: its own pages over the file's. */
static bool fill_from_process(struct image *i, size_t k, uint64_t at, uint64_t n)
{
	const uint64_t start = i->segments[k].start + at, end = start + n;
	const struct mapping *m = maps_find(&i->maps, start);
	struct pages_count count;
	struct error unused;
	uint64_t from = start, a, b;

	if (pages_count(i->target, start, end, &count, &unused) < 0 || count.swap_bytes)
		return false;
	if (m && m->inode && !fill_from_file(i, k, at, n))
		return false;
	while (from < end && reader_present(i->target, from, end, &a, &b) == 1) {
		if (reader_fill(i->target, a, i->copies[k].bytes + (a - i->segments[k].start),
		                b - a, NULL) < 0)
			return false;
		from = b;
	}
	return true;
}

/* The part of a core's segment that is in the core, over the file's. */
static bool fill_from_core(struct image *i, size_t k, uint64_t at, uint64_t n)
{
	const struct image_segment *s = &i->segments[k];
	uint64_t have = s->bytes > at ? s->bytes - at : 0;

	if (have < n && !fill_from_file(i, k, at, n))
		return false;
	if (have)
		memcpy(i->copies[k].bytes + at, i->core + i->segments[k].core_offset + at,
		       have < n ? have : n);
	return true;
}

static bool fill_chunk(struct image *i, size_t k, uint64_t chunk)
{
	const struct image_segment *s = &i->segments[k];
	uint64_t at = chunk * IMAGE_CHUNK, n = s->end - s->start - at;
	bool filled;

	if (n > IMAGE_CHUNK)
		n = IMAGE_CHUNK;
	filled = i->kind == IMAGE_PROCESS ? fill_from_process(i, k, at, n)
	                                  : fill_from_core(i, k, at, n);
	i->copies[k].state[chunk] = filled ? IMAGE_READ : IMAGE_ABSENT;
	i->copied += filled ? n : 0;
	return filled;
}

static const void *copied_at(struct image *i, size_t k, uint64_t at, size_t len)
{
	struct image_copy *c = &i->copies[k];

	if (prepare_copy(i, k) < 0)
		return NULL;
	for (uint64_t chunk = at / IMAGE_CHUNK; chunk <= (at + len - 1) / IMAGE_CHUNK; chunk++) {
		if (c->state[chunk] == IMAGE_ABSENT ||
		    (c->state[chunk] == IMAGE_UNREAD && !fill_chunk(i, k, chunk)))
			return NULL;
	}
	return c->bytes + at;
}

const void *image_at(struct image *i, uint64_t addr, size_t len)
{
	const struct image_segment *s = image_find(i, addr);
	size_t k;
	uint64_t at;

	if (!s || !len || len > s->end - addr)
		return NULL;
	k = (size_t)(s - i->segments);
	at = addr - s->start;
	if (i->kind == IMAGE_CORE && at <= s->bytes && len <= s->bytes - at)
		return i->core + i->segments[k].core_offset + at;
	return copied_at(i, k, at, len);
}

int image_read(struct image *i, uint64_t addr, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len) {
		const struct image_segment *s = image_find(i, addr);
		size_t piece = len;
		const void *from;

		if (!s)
			return -EFAULT;
		if (piece > s->end - addr)
			piece = s->end - addr;
		from = image_at(i, addr, piece);
		if (!from)
			return -ENODATA;
		memcpy(to, from, piece);
		to += piece;
		addr += piece;
		len -= piece;
	}
	return 0;
}

/* Pages that were not touched yet are zeros; one that is swapped out is not there. */
static int copy_sparse(struct image *i, uint64_t addr, void *buf, size_t len)
{
	struct pages_count count;
	struct error unused;

	if (pages_count(i->target, addr, addr + len, &count, &unused) < 0 || count.swap_bytes)
		return -ENODATA;
	if (count.resident_bytes || count.zero_bytes)
		return reader_fill(i->target, addr, buf, len, NULL);
	memset(buf, 0, len);
	return 0;
}

int image_copy(struct image *i, uint64_t addr, void *buf, size_t len)
{
	const struct image_segment *s = image_find(i, addr);
	int r;

	if (i->kind != IMAGE_PROCESS || !s || len > s->end - addr || s->path[0] == '/')
		return image_read(i, addr, buf, len);
	r = reader_try(i->target, addr, buf, len);
	if (r == 0)
		i->copied += len;
	else if (r == -ENODATA)
		r = copy_sparse(i, addr, buf, len);
	return r == 0 ? 0 : -ENODATA;
}

uint64_t image_uint64(struct image *i, uint64_t addr)
{
	uint64_t v;

	return image_read(i, addr, &v, sizeof(v)) == 0 ? v : 0;
}

uint32_t image_uint32(struct image *i, uint64_t addr)
{
	uint32_t v;

	return image_read(i, addr, &v, sizeof(v)) == 0 ? v : 0;
}

/* ---- the program ---- */

static int open_process_exe(struct image *i, struct error *err)
{
	const struct mapping *m = NULL;
	int fd = -1, r;

	for (size_t k = 0; k < i->maps.n_items && !m; k++) {
		if ((i->maps.items[k].prot & MAPS_EXEC) && i->target->exe[0] &&
		    strcmp(i->maps.items[k].name, i->target->exe) == 0)
			m = &i->maps.items[k];
	}
	if (!m)
		return error_set(err, ENOENT, "the program of process %d is not mapped",
		                 (int)i->pid);
	r = maps_open_file(i->target, m, &fd, err);
	if (r == 0)
		r = elf_file_open(fd, m->name, &i->exe, err);
	if (r == 0 && !elf_file_bias(i->exe, m->start, m->offset, &i->exe_bias)) {
		i->exe = elf_file_close(i->exe);
		r = error_set(err, EBADMSG, "%s is not what process %d has mapped", m->name,
		              (int)i->pid);
	}
	return r;
}

struct elf_file *image_exe(struct image *i, uint64_t *bias, struct error *err)
{
	int r = 0;

	if (!i->exe)
		r = i->kind == IMAGE_CORE ? image_exe_open(i, err) : open_process_exe(i, err);
	if (r < 0)
		return NULL;
	*bias = i->exe_bias;
	return i->exe;
}
