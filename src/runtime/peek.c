/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/peek.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "target/reader.h"

/* What a heap of 1 GiB has of records of its spans fits in; memory is only taken by what is read.
 */
enum { PAGE = 4096, N_PAGES = 4096 };

struct peek_page {
	uint64_t addr;
	enum { PAGE_UNKNOWN, PAGE_HERE, PAGE_ABSENT } state;
};

static int open_cache(struct peek *p, struct error *err)
{
	p->pages = calloc(N_PAGES, sizeof(*p->pages));
	p->bytes = malloc((size_t)N_PAGES * PAGE);
	if (p->pages && p->bytes)
		return 0;
	peek_close(p);
	return error_oom(err);
}

int peek_open(struct peek *p, const struct target *t, struct error *err)
{
	*p = (struct peek){ .target = t };
	return open_cache(p, err);
}

int peek_open_image(struct peek *p, struct image *i, struct error *err)
{
	*p = (struct peek){ .image = i };
	return open_cache(p, err);
}

int peek_open_pieces(struct peek *p, const struct peek_piece *pieces, size_t n, struct error *err)
{
	*p = (struct peek){ .pieces = pieces, .n_pieces = n };
	return open_cache(p, err);
}

void peek_close(struct peek *p)
{
	free(p->pages);
	free(p->bytes);
	*p = (struct peek){ 0 };
}

void peek_forget(struct peek *p)
{
	for (size_t i = 0; i < N_PAGES; i++)
		p->pages[i].state = PAGE_UNKNOWN;
}

/* Bytes of [addr, addr + len) that pieces have; others in @buf become zeros. */
static uint64_t copy_pieces(const struct peek *p, uint64_t addr, uint8_t *buf, size_t len)
{
	uint64_t got = 0;

	memset(buf, 0, len);
	for (size_t i = 0; i < p->n_pieces; i++) {
		const struct peek_piece *q = &p->pieces[i];
		uint64_t from = q->start > addr ? q->start : addr;
		uint64_t to = q->end < addr + len ? q->end : addr + len;

		if (from >= to)
			continue;
		memcpy(buf + (from - addr), q->bytes + (from - q->start), to - from);
		got += to - from;
	}
	return got;
}

/* As much of [addr, addr + len) as the image has: a segment's part at once, or, where some of it
 * is not there, page by page. */
static uint64_t copy_image(struct image *i, uint64_t addr, uint8_t *buf, size_t len)
{
	uint64_t got = 0;

	while (len) {
		const struct image_segment *s = image_find(i, addr);
		const size_t page = PAGE - addr % PAGE;
		size_t piece = !s ? page : s->end - addr;

		if (piece > len)
			piece = len;
		if (s && image_copy(i, addr, buf, piece) == 0) {
			got += piece;
		} else {
			piece = piece < page ? piece : page;
			if (s && image_copy(i, addr, buf, piece) == 0)
				got += piece;
			else
				memset(buf, 0, piece);
		}
		buf += piece;
		addr += piece;
		len -= piece;
	}
	return got;
}

static uint8_t *bytes_of(const struct peek *p, const struct peek_page *page)
{
	return p->bytes + (size_t)(page - p->pages) * PAGE;
}

static void load(struct peek *p, struct peek_page *page)
{
	uint8_t *bytes = bytes_of(p, page);
	int r;

	if (p->image) {
		r = image_copy(p->image, page->addr, bytes, PAGE);
	} else if (!p->target) {
		r = copy_pieces(p, page->addr, bytes, PAGE) == PAGE ? 0 : -ENODATA;
	} else {
		r = reader_try(p->target, page->addr, bytes, PAGE);
		if (r == -ESRCH || r == -EPERM || r == -EACCES || r == -ENOTSUP)
			p->gone = r;
	}
	page->state = r == 0 ? PAGE_HERE : PAGE_ABSENT;
}

static const uint8_t *find_page(struct peek *p, uint64_t addr)
{
	struct peek_page *page = &p->pages[addr / PAGE % N_PAGES];

	if (page->state == PAGE_UNKNOWN || page->addr != addr) {
		page->addr = addr;
		load(p, page);
	}
	return page->state == PAGE_HERE ? bytes_of(p, page) : NULL;
}

bool peek_read(struct peek *p, uint64_t addr, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (addr + len < addr || addr + len > INT64_MAX)
		return false;
	while (len) {
		const uint8_t *page = find_page(p, addr / PAGE * PAGE);
		size_t piece = PAGE - addr % PAGE;

		if (!page)
			return false;
		if (piece > len)
			piece = len;
		memcpy(to, page + addr % PAGE, piece);
		to += piece;
		addr += piece;
		len -= piece;
	}
	return true;
}

uint64_t peek_word(struct peek *p, uint64_t addr)
{
	uint64_t word;

	return peek_read(p, addr, &word, sizeof(word)) ? word : 0;
}

uint64_t peek_fill(struct peek *p, uint64_t addr, void *buf, size_t len)
{
	uint64_t missing = 0;
	int r;

	if (p->image)
		return addr + len < addr ? 0 : copy_image(p->image, addr, buf, len);
	if (!p->target)
		return addr + len < addr ? 0 : copy_pieces(p, addr, buf, len);
	r = reader_fill(p->target, addr, buf, len, &missing);
	if (r < 0) {
		if (r != -EFAULT)
			p->gone = r;
		memset(buf, 0, len);
		return 0;
	}
	return len - missing;
}

static bool present_piece(const struct peek *p, uint64_t start, uint64_t end, uint64_t *ret_start,
                          uint64_t *ret_end)
{
	for (size_t i = 0; i < p->n_pieces; i++) {
		const struct peek_piece *q = &p->pieces[i];
		uint64_t from = q->start > start ? q->start : start;
		uint64_t to = q->end < end ? q->end : end;

		if (from < to) {
			*ret_start = from;
			*ret_end = to;
			return true;
		}
	}
	return false;
}

/* What is mapped, as far as one segment goes. */
static bool present_image(const struct peek *p, uint64_t start, uint64_t end, uint64_t *ret_start,
                          uint64_t *ret_end)
{
	for (size_t k = 0; k < image_n_segments(p->image); k++) {
		const struct image_segment *s = image_segment(p->image, k);

		if (s->end <= start || s->start >= end)
			continue;
		*ret_start = s->start > start ? s->start : start;
		*ret_end = s->end < end ? s->end : end;
		return true;
	}
	return false;
}

bool peek_present(struct peek *p, uint64_t start, uint64_t end, uint64_t *ret_start,
                  uint64_t *ret_end)
{
	const struct target *t = p->image ? image_target(p->image) : p->target;
	int r;

	if (start >= end)
		return false;
	if (!t)
		return p->image ? present_image(p, start, end, ret_start, ret_end)
		                : present_piece(p, start, end, ret_start, ret_end);
	r = reader_present(t, start, end, ret_start, ret_end);
	if (r < 0 && r != -EINVAL)
		p->gone = r;
	return r == 1;
}
