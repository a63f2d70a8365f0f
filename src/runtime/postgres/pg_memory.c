/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/postgres/pg_memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/search.h"
#include "target/maps.h"
#include "target/reader.h"

enum {
	PAGE = 4096,
	STEP = 64 * PAGE, /* tried as a whole before page by page */
};
static const uint64_t max_copy_bytes = 256 << 20, max_stopped_copy_bytes = 16 << 20;

enum pg_page {
	PG_PAGE_UNKNOWN, /* not asked for: read it from the target, when there is one */
	PG_PAGE_HERE,
	PG_PAGE_ABSENT,
};

static void piece_clear(struct pg_piece *p)
{
	free(p->bytes);
	free(p->present);
	*p = (struct pg_piece){ 0 };
}

static void clear_pieces(struct pg_memory *m)
{
	for (size_t i = 0; i < m->n_pieces; i++)
		piece_clear(&m->pieces[i]);
	m->n_pieces = 0;
}

void pg_memory_clear(struct pg_memory *m)
{
	clear_pieces(m);
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
		memset(p->present + from / PAGE, PG_PAGE_HERE, len / PAGE);
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

/* A look again at the same process mostly finds the same ranges: memory that is there already
 * takes a copy in half the time. */
static bool has_pieces_of(const struct pg_memory *m, const struct maps *maps)
{
	size_t n = 0;

	for (size_t i = 0; i < maps->n_items; i++) {
		const struct mapping *map = &maps->items[i];

		if (!is_heap(map))
			continue;
		if (n == m->n_pieces || m->pieces[n].start != map->start ||
		    m->pieces[n].end != map->end)
			return false;
		n++;
	}
	return n == m->n_pieces;
}

static int new_pieces(struct pg_memory *m, const struct maps *maps, struct error *err)
{
	struct pg_piece *unused;
	int r = 0;

	clear_pieces(m);
	for (size_t i = 0; i < maps->n_items && r == 0; i++)
		if (is_heap(&maps->items[i]))
			r = piece_new(m, maps->items[i].start, maps->items[i].end, &unused, err);
	return r;
}

/* Empty pieces for all private writable memory, none if that is more than @max. */
static int make_pieces(const struct target *t, struct pg_memory *m, uint64_t max, uint64_t *total,
                       struct error *err)
{
	cleanup(maps_clear) struct maps maps = { 0 };
	int r = maps_read(t, &maps, err);

	m->target = t;
	m->copied_bytes = 0;
	m->on_demand = false;
	*total = 0;
	for (size_t i = 0; i < maps.n_items && r == 0; i++)
		*total += is_heap(&maps.items[i]) ? maps.items[i].end - maps.items[i].start : 0;
	if (r == 0 && *total > max)
		clear_pieces(m);
	else if (r == 0 && has_pieces_of(m, &maps))
		for (size_t i = 0; i < m->n_pieces; i++)
			memset(m->pieces[i].present, PG_PAGE_UNKNOWN,
			       (m->pieces[i].end - m->pieces[i].start) / PAGE);
	else if (r == 0)
		r = new_pieces(m, &maps, err);
	if (r < 0)
		return r;
	maps_clear(&m->maps);
	m->maps = maps;
	maps = (struct maps){ 0 };
	return 0;
}

static int copy_pieces(const struct target *t, struct pg_memory *m, struct error *err)
{
	for (size_t i = 0; i < m->n_pieces; i++)
		if (copy_piece(t, &m->pieces[i], &m->copied_bytes) == -ESRCH)
			return error_set(err, ESRCH, "process %d has gone", (int)t->pid);
	return 0;
}

int pg_memory_copy(const struct target *t, struct pg_memory *m, struct error *err)
{
	uint64_t total;
	int r = make_pieces(t, m, max_copy_bytes, &total, err);

	return r < 0 ? r : copy_pieces(t, m, err);
}

int pg_memory_copy_stopped(const struct target *t, struct pg_memory *m, struct error *err)
{
	uint64_t total;
	int r = make_pieces(t, m, UINT64_MAX, &total, err);

	if (r < 0)
		return r;
	m->on_demand = total > max_stopped_copy_bytes;
	return m->on_demand ? 0 : copy_pieces(t, m, err);
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
	memset(p->present, PG_PAGE_HERE, size / PAGE);
	return 0;
}

/* The piece that [addr, addr + len) is in; NULL: none. */
static struct pg_piece *find_piece(const struct pg_memory *m, uint64_t addr, size_t len)
{
	size_t at = partition_point(m->n_pieces, i, m->pieces[i].end <= addr);

	if (at == m->n_pieces || addr < m->pieces[at].start || len > m->pieces[at].end - addr)
		return NULL;
	return &m->pieces[at];
}

static bool is_here(const struct pg_piece *p, uint64_t addr, size_t len)
{
	for (uint64_t page = (addr - p->start) / PAGE, last = (addr + len - 1 - p->start) / PAGE;
	     page <= last; page++)
		if (p->present[page] != PG_PAGE_HERE)
			return false;
	return true;
}

/* Bring in the part of STEP bytes around @page; what is not there is not asked for again. */
static void bring_in_part(struct pg_memory *m, struct pg_piece *p, uint64_t page)
{
	const uint64_t size = p->end - p->start, from = page * PAGE / STEP * STEP;
	const size_t len = size - from < STEP ? size - from : STEP;

	if (copy_run(m->target, p, from, len) == 0) {
		m->copied_bytes += len;
		return;
	}
	for (size_t at = from; at < from + len; at += PAGE) {
		if (copy_run(m->target, p, at, PAGE) == 0)
			m->copied_bytes += PAGE;
		else
			p->present[at / PAGE] = PG_PAGE_ABSENT;
	}
}

static void bring_in(struct pg_memory *m, struct pg_piece *p, uint64_t addr, size_t len)
{
	for (uint64_t page = (addr - p->start) / PAGE, last = (addr + len - 1 - p->start) / PAGE;
	     page <= last; page++)
		if (p->present[page] == PG_PAGE_UNKNOWN)
			bring_in_part(m, p, page);
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
	struct pg_piece *p;
	int r;

	if (!len || addr + len < addr)
		return -EFAULT;
	p = find_piece(m, addr, len);
	if (p && m->on_demand)
		bring_in(m, p, addr, len);
	if (p && is_here(p, addr, len)) {
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
