/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "target/maps.h"
#include "target/reader.h"

enum {
	PAGE = 4096,
	STEP = 64 * PAGE, /* tried as a whole before page by page */
};
static const uint64_t max_copy_bytes = 256 << 20;

static void piece_clear(struct pg_piece *p)
{
	free(p->bytes);
	free(p->present);
	*p = (struct pg_piece){ 0 };
}

void pg_memory_clear(struct pg_memory *m)
{
	for (size_t i = 0; i < m->n_pieces; i++)
		piece_clear(&m->pieces[i]);
	free(m->pieces);
	for (size_t i = 0; i < m->n_files; i++)
		if (m->files[i].fd >= 0)
			close(m->files[i].fd);
	free(m->files);
	maps_clear(&m->maps);
	*m = (struct pg_memory){ 0 };
}

static int piece_new(struct pg_memory *m, uint64_t start, uint64_t end, struct pg_piece **ret,
                     struct error *err)
{
	cleanup(piece_clear) struct pg_piece p = { .start = start, .end = end };
	int r = array_reserve(&m->pieces, &m->cap_pieces, m->n_pieces + 1, err);

	if (r < 0)
		return r;
	p.bytes = malloc(end - start);
	p.present = calloc((end - start) / PAGE, 1);
	if (!p.bytes || !p.present)
		return error_oom(err);
	*ret = &m->pieces[m->n_pieces++];
	**ret = p;
	p = (struct pg_piece){ 0 };
	return 0;
}

static bool is_heap(const struct mapping *map)
{
	const unsigned rw = MAPS_READ | MAPS_WRITE;

	return (map->prot & (rw | MAPS_SHARED)) == rw && !map->inode && map->end > map->start &&
	       strcmp(map->name, "[stack]") != 0;
}

/* Copy [from, from + len) of the piece; 0 or the error of the first page. */
static int copy_run(const struct target *t, struct pg_piece *p, uint64_t from, size_t len)
{
	int r = reader_try(t, p->start + from, p->bytes + from, len);

	if (r == 0)
		memset(p->present + from / PAGE, 1, len / PAGE);
	return r;
}

static int copy_piece(const struct target *t, struct pg_piece *p, uint64_t *copied)
{
	uint64_t size = p->end - p->start;

	for (uint64_t at = 0; at < size; at += STEP) {
		size_t len = size - at < STEP ? size - at : STEP;

		if (copy_run(t, p, at, len) == 0) {
			*copied += len;
			continue;
		}
		for (size_t i = 0; i < len; i += PAGE) {
			int r = copy_run(t, p, at + i, PAGE);

			if (r == -ESRCH)
				return r;
			*copied += r == 0 ? PAGE : 0;
		}
	}
	return 0;
}

int pg_memory_copy(const struct target *t, struct pg_memory *m, struct error *err)
{
	const struct maps *maps = &m->maps;
	uint64_t total = 0;
	int r;

	pg_memory_clear(m);
	m->target = t;
	r = maps_read(t, &m->maps, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < maps->n_items; i++)
		total += is_heap(&maps->items[i]) ? maps->items[i].end - maps->items[i].start : 0;
	if (total > max_copy_bytes)
		return 0;
	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *map = &maps->items[i];
		struct pg_piece *p;

		if (!is_heap(map))
			continue;
		r = piece_new(m, map->start, map->end, &p, err);
		if (r == 0 && copy_piece(t, p, &m->copied_bytes) == -ESRCH)
			r = error_set(err, ESRCH, "process %d has gone", (int)t->pid);
		if (r < 0)
			return r;
	}
	return 0;
}

int pg_memory_add(struct pg_memory *m, uint64_t start, const void *bytes, size_t len,
                  struct error *err)
{
	uint64_t size = (len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	struct pg_piece *p;
	int r = piece_new(m, start, start + size, &p, err);

	if (r < 0)
		return r;
	memset(p->bytes, 0, size);
	memcpy(p->bytes, bytes, len);
	memset(p->present, 1, size / PAGE);
	return 0;
}

/* The piece that has all of [addr, addr + len) present; NULL: none. */
static const struct pg_piece *find_piece(const struct pg_memory *m, uint64_t addr, size_t len)
{
	size_t lo = 0, hi = m->n_pieces;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->pieces[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == m->n_pieces || addr < m->pieces[lo].start || len > m->pieces[lo].end - addr)
		return NULL;
	for (uint64_t page = (addr - m->pieces[lo].start) / PAGE,
	              last = (addr + len - 1 - m->pieces[lo].start) / PAGE;
	     page <= last; page++)
		if (!m->pieces[lo].present[page])
			return NULL;
	return &m->pieces[lo];
}

static int file_of(struct pg_memory *m, const struct mapping *map)
{
	struct pg_file f = { map->inode, map->dev_major, map->dev_minor, -1 };
	struct error ignored;

	for (size_t i = 0; i < m->n_files; i++)
		if (m->files[i].inode == f.inode && m->files[i].dev_major == f.dev_major &&
		    m->files[i].dev_minor == f.dev_minor)
			return m->files[i].fd;
	if (array_reserve(&m->files, &m->cap_files, m->n_files + 1, &ignored) < 0)
		return -1;
	if (maps_open_file(m->target, map, &f.fd, &ignored) < 0)
		f.fd = -1;
	m->files[m->n_files++] = f;
	return f.fd;
}

/* A page that is not present in a read-only file mapping holds the file's bytes. */
static int read_file_page(struct pg_memory *m, uint64_t addr, void *buf, size_t len)
{
	const struct mapping *map = maps_find(&m->maps, addr);
	int fd;

	if (!map || !map->inode || (map->prot & MAPS_WRITE) || len > map->end - addr)
		return -ENODATA;
	fd = file_of(m, map);
	if (fd < 0 ||
	    pread(fd, buf, len, (off_t)(map->offset + (addr - map->start))) != (ssize_t)len)
		return -ENODATA;
	return 0;
}

int pg_memory_read(struct pg_memory *m, uint64_t addr, void *buf, size_t len)
{
	const struct pg_piece *p;
	int r;

	if (!len || addr + len < addr)
		return -EFAULT;
	p = find_piece(m, addr, len);
	if (p) {
		memcpy(buf, p->bytes + (addr - p->start), len);
		return 0;
	}
	if (!m->target)
		return -EFAULT;
	r = reader_try(m->target, addr, buf, len);
	return r == -ENODATA ? read_file_page(m, addr, buf, len) : r;
}

uint64_t pg_memory_word(struct pg_memory *m, uint64_t addr)
{
	uint64_t v;

	return pg_memory_read(m, addr, &v, sizeof(v)) == 0 ? v : 0;
}

void pg_memory_string(struct pg_memory *m, uint64_t addr, char *buf, size_t size)
{
	size_t got = 0;

	while (addr && got + 1 < size) {
		size_t len = PAGE - ((addr + got) & (PAGE - 1)); /* the next page may be missing */

		if (len > size - 1 - got)
			len = size - 1 - got;
		if (pg_memory_read(m, addr + got, buf + got, len) < 0)
			break;
		if (memchr(buf + got, '\0', len)) {
			got += strlen(buf + got);
			break;
		}
		got += len;
	}
	buf[got] = '\0';
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = ' ';
}
