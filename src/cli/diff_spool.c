/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/diff_spool.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cli/cli.h"
#include "profile/profile_file.h"

#define FILE_END ".pb.gz"

/* A side: captures newest first, read when they are asked for. */
struct side {
	const char *folder; /* NULL: one profile, given */
	struct capture {
		char *name;
		struct profile *profile; /* NULL: not read yet */
		bool is_bad;
	} * captures;
	size_t n, cap;
};

enum { MOST_TRIED = 64, MAX_PATH = 4096, MAX_LISTED = 8 };

static void side_clear(struct side *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->captures[i].name);
		profile_free(s->captures[i].profile);
	}
	free(s->captures);
}

bool diff_spool_is(const char *word)
{
	struct stat st;

	/* only digits: a process, also for who stands in /proc */
	return word[strspn(word, "0123456789")] && stat(word, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- what is in a folder ---- */

static void closedirp(DIR **d)
{
	if (*d)
		closedir(*d);
}

static int add(struct side *s, const char *name, struct error *err)
{
	int r = array_reserve(&s->captures, &s->cap, s->n + 1, err);

	if (r < 0)
		return r;
	s->captures[s->n] = (struct capture){ .name = strdup(name) };
	return s->captures[s->n].name ? (s->n++, 0) : error_oom(err);
}

static bool is_capture(const char *name)
{
	size_t n = strlen(name), end = strlen(FILE_END);

	return n > end && name[0] != '.' && !strcmp(name + n - end, FILE_END);
}

/* Captures of @folder; where it has none, its folders' names go to @below. */
static int list(struct side *s, const char *folder, char *below, size_t size, size_t *n_below,
                struct error *err)
{
	cleanup(closedirp) DIR *d = opendir(folder);
	struct dirent *e;
	int r = 0;

	if (!d)
		return error_sys(err, errno, "%s", folder);
	while (r == 0 && (e = readdir(d))) {
		char path[MAX_PATH];

		if (is_capture(e->d_name)) {
			r = add(s, e->d_name, err);
			continue;
		}
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		if (e->d_name[0] == '.' || !diff_spool_is(path))
			continue;
		if ((*n_below)++ < MAX_LISTED)
			snprintf(below + strlen(below), size - strlen(below), "%s%s",
			         *n_below > 1 ? ", " : "", e->d_name);
	}
	return r;
}

/* The time is the name's begin; of one second the higher number is the newer one. */
static int newest_first(const void *a, const void *b)
{
	const char *x = ((const struct capture *)a)->name, *y = ((const struct capture *)b)->name;
	size_t time = strcspn(x, "-");
	int r = strncmp(y, x, time + 1);
	unsigned long long m, n;

	if (r)
		return r;
	m = strtoull(x + time + 1, NULL, 10);
	n = strtoull(y + time + 1, NULL, 10);
	return m > n ? -1 : m < n ? 1 : strcmp(x, y);
}

/* A folder of captures, or a spool with one target. @path is room for that target's. */
static int open_side(struct side *s, const char *folder, char path[MAX_PATH], struct error *err)
{
	char below[1024] = "";
	size_t n_below = 0, ignored = 0;
	int r = list(s, folder, below, sizeof(below), &n_below, err);

	snprintf(path, MAX_PATH, "%s", folder);
	if (r == 0 && !s->n && n_below == 1) {
		snprintf(path, MAX_PATH, "%s/%s", folder, below);
		r = list(s, path, below, sizeof(below), &ignored, err);
	}
	if (r < 0)
		return r;
	if (!s->n && n_below > 1) {
		error_set(err, EINVAL, "%s has captures of several targets: %s%s", folder, below,
		          n_below > MAX_LISTED ? " ..." : "");
		return error_hint(err, "%s/TARGET is one of them", folder);
	}
	if (!s->n)
		return error_set(err, ENOENT, "%s has no capture (*" FILE_END ")", folder);
	qsort(s->captures, s->n, sizeof(*s->captures), newest_first);
	s->folder = path;
	return 0;
}

static int give(struct side *s, const char *word, struct error *err)
{
	int r = add(s, word, err);

	return r < 0 ? r : profile_file_read(word, &s->captures[0].profile, err);
}

/* ---- which two ---- */

/* NULL: it cannot be read, or there are no more. */
static const struct profile *profile_of(struct side *s, size_t i)
{
	struct capture *c = i < s->n ? &s->captures[i] : NULL;
	struct error why;
	char path[2 * MAX_PATH];

	if (!c || c->is_bad)
		return NULL;
	if (c->profile)
		return c->profile;
	snprintf(path, sizeof(path), "%s/%s", s->folder, c->name);
	c->is_bad = profile_file_read(path, &c->profile, &why) < 0;
	if (c->is_bad)
		cli_say("%s is left out: %s", path, why.message);
	return c->profile;
}

static const char *build_of(const struct profile *p)
{
	const struct profile_module *m = profile_program(p);

	return m ? profile_text(p, m->build_id) : "";
}

static bool is_same_value(const struct profile *a, const struct profile *b)
{
	return !strcmp(profile_type_at(a, profile_default_type(a))->name,
	               profile_type_at(b, profile_default_type(b))->name);
}

struct pair {
	size_t before, after;
	bool found;
};

static bool go_together(const struct profile *b, const struct profile *a, bool same_build)
{
	return b && a && is_same_value(a, b) && (!same_build || !strcmp(build_of(a), build_of(b)));
}

/* The newest of both first: as few are read as can be. */
static struct pair find_pair(struct side *before, struct side *after, bool same_build)
{
	for (size_t sum = 0; sum <= 2 * MOST_TRIED; sum++) {
		for (size_t i = 0; i <= sum; i++) {
			if (i < MOST_TRIED && sum - i < MOST_TRIED &&
			    go_together(profile_of(before, i), profile_of(after, sum - i),
			                same_build))
				return (struct pair){ i, sum - i, true };
		}
	}
	return (struct pair){ 0 };
}

static void say_side(const char *which, const struct side *s, size_t i)
{
	const char *build = build_of(s->captures[i].profile);

	cli_say("%s: %s%s%s%s%s", which, s->folder ? s->folder : "", s->folder ? "/" : "",
	        s->captures[i].name, build[0] ? ", build " : "", build);
}

int diff_spool_read(const char *before, const char *after, struct profile **ret_before,
                    struct profile **ret_after, struct error *err)
{
	cleanup(side_clear) struct side b = { 0 };
	cleanup(side_clear) struct side a = { 0 };
	char before_path[MAX_PATH], after_path[MAX_PATH];
	struct pair pair;
	int r = diff_spool_is(before) ? open_side(&b, before, before_path, err)
	                              : give(&b, before, err);

	if (r == 0)
		r = diff_spool_is(after) ? open_side(&a, after, after_path, err)
		                         : give(&a, after, err);
	if (r < 0)
		return r;
	pair = find_pair(&b, &a, true);
	if (!pair.found) {
		pair = find_pair(&b, &a, false);
		if (pair.found)
			cli_say("no two captures of one build: functions are matched by name");
	}
	if (!pair.found)
		return error_set(err, EBADMSG, "no two captures of %s and %s have the same value",
		                 before, after);
	say_side("before", &b, pair.before);
	say_side("after", &a, pair.after);
	*ret_before = take_ptr(b.captures[pair.before].profile);
	*ret_after = take_ptr(a.captures[pair.after].profile);
	return 0;
}
