/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/ladder_internal.h"

/* Files of tmpfs and hugetlbfs are memory, wherever they are mounted. */

enum { MOUNTINFO_MAX_BYTES = 16 << 20 };

/* "36 35 98:0 /root /mount options [tags] - type source options" (proc_pid_mountinfo(5)) */
static int read_line(struct ladder_work *w, const char *line, struct error *err)
{
	const char *type = strstr(line, " - ");
	unsigned major, minor;
	bool is_huge;
	int r;

	if (!type || sscanf(line, "%*u %*u %u:%u", &major, &minor) != 2)
		return 0;
	is_huge = !strncmp(type + 3, "hugetlbfs ", 10);
	if (!is_huge && strncmp(type + 3, "tmpfs ", 6) != 0)
		return 0;
	r = array_reserve(&w->mounts, &w->cap_mounts, w->n_mounts + 1, err);
	if (r == 0)
		w->mounts[w->n_mounts++] = (struct ladder_mount){ major, minor, is_huge };
	return r;
}

static bool is_shared_file(const struct mapping *m)
{
	return m->inode && m->name[0] == '/' && (m->prot & MAPS_SHARED);
}

static bool is_needed(const struct maps *maps)
{
	for (size_t i = 0; i < maps->n_items; i++) {
		if (is_shared_file(&maps->items[i]))
			return true;
	}
	return false;
}

int ladder_mounts_read(struct ladder_work *w, struct error *err)
{
	cleanup_free char *text = NULL;
	char *line, *end;
	int r = 0;

	if (!is_needed(&w->maps))
		return 0;
	r = target_proc_file(w->t, "mountinfo", MOUNTINFO_MAX_BYTES, &text, NULL, err);
	if (r < 0) /* a process that has left all namespaces; a file stays a file then */
		return target_alive(w->t) < 0 ? r : 0;
	for (line = text; r == 0 && (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		r = read_line(w, line, err);
	}
	return r;
}

const struct ladder_mount *ladder_mounts_find(const struct ladder_work *w, const struct mapping *m)
{
	for (size_t i = 0; is_shared_file(m) && i < w->n_mounts; i++) {
		if (w->mounts[i].dev_major == m->dev_major &&
		    w->mounts[i].dev_minor == m->dev_minor)
			return &w->mounts[i];
	}
	return NULL;
}
