/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "target/maps_moved.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/search.h"

enum { PAGE = 4096 };

void maps_moved_clear(struct maps_moved *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->pages[i].name);
	free(v->pages);
	*v = (struct maps_moved){ 0 };
}

/* The first of @v's pages in @m, if all of @m are of them. */
static const struct maps_moved_page *page_of(const struct mapping *m, const struct maps_moved *v)
{
	const size_t first = partition_point(v->n, i, v->pages[i].at < m->start);
	size_t i = first;

	if (m->inode || m->name[0] || m->prot != (MAPS_READ | MAPS_EXEC))
		return NULL;
	for (uint64_t at = m->start; at < m->end; at += PAGE, i++) {
		if (i == v->n || v->pages[i].at != at)
			return NULL;
	}
	return &v->pages[first];
}

static bool goes_on(const struct mapping *a, const struct mapping *b)
{
	return a->end == b->start && a->offset + (a->end - a->start) == b->offset && a->inode &&
	       a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor && a->prot == b->prot && a->deleted == b->deleted &&
	       !strcmp(a->name, b->name);
}

static int put_back(struct mapping *m, const struct maps_moved_page *p, struct error *err)
{
	char *name = strdup(p->name);

	if (!name)
		return error_oom(err);
	free(m->name);
	m->name = name;
	m->offset = p->offset;
	m->inode = p->inode;
	m->dev_major = p->dev_major;
	m->dev_minor = p->dev_minor;
	return 0;
}

int maps_moved_put_back(struct maps *m, const struct maps_moved *v, struct error *err)
{
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < m->n_items; i++) {
		struct mapping *one = &m->items[i];
		const bool moved = one->inode && one->start >= v->start && one->end <= v->end;
		const struct maps_moved_page *page = r == 0 ? page_of(one, v) : NULL;

		if (page)
			r = put_back(one, page, err);
		if (moved) {
			free(one->name);
		} else if (n && goes_on(&m->items[n - 1], one)) {
			m->items[n - 1].end = one->end;
			free(one->name);
		} else {
			m->items[n++] = *one;
		}
	}
	m->n_items = n;
	return r;
}
