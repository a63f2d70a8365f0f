/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "map/ladder_internal.h"

enum { SMAPS_MAX_BYTES = 1 << 30 };

/* "Pss:   12 kB" (proc_pid_smaps(5)). */
static void read_figure(const char *line, struct ladder_smaps *to)
{
	static const char *const keys[] = { "Rss:", "Pss:", "Locked:" };
	uint64_t *const values[] = { &to->resident_bytes, &to->pss_bytes, &to->locked_bytes };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t len = strlen(keys[i]);

		if (!strncmp(line, keys[i], len))
			*values[i] = strtoull(line + len, NULL, 10) * 1024;
	}
}

static int read_line(struct ladder_work *w, const char *line, struct error *err)
{
	int r;

	if (isupper((unsigned char)line[0])) {
		if (w->n_smaps)
			read_figure(line, &w->smaps[w->n_smaps - 1]);
		return 0;
	}
	r = array_reserve(&w->smaps, &w->cap_smaps, w->n_smaps + 1, err);
	if (r == 0)
		w->smaps[w->n_smaps++] = (struct ladder_smaps){ .start = strtoull(line, NULL, 16) };
	return r;
}

/* Names with newlines don't trouble us: the kernel escapes them. */
int ladder_smaps_read(struct ladder_work *w, struct error *err)
{
	cleanup_free char *text = NULL;
	int r = target_proc_file(w->t, "smaps", SMAPS_MAX_BYTES, &text, NULL, err);
	char *line = text, *end;

	w->n_smaps = 0;
	for (; r == 0 && line && *line; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		*end = '\0';
		r = read_line(w, line, err);
	}
	return r;
}

static int by_start(const void *key, const void *item)
{
	uint64_t a = *(const uint64_t *)key, b = ((const struct ladder_smaps *)item)->start;

	return (a > b) - (a < b);
}

const struct ladder_smaps *ladder_smaps_find(const struct ladder_work *w, uint64_t start)
{
	return bsearch(&start, w->smaps, w->n_smaps, sizeof(*w->smaps), by_start);
}
