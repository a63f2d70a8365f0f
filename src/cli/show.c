/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/show.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/nearest.h"
#include "profile/transform.h"

static int by_name(const char *name, const struct render_format **ret, struct error *err)
{
	struct nearest near = nearest_to(name);
	char list[256] = "";
	size_t used = 0;

	*ret = render_find(name);
	if (*ret)
		return 0;
	for (size_t i = 0; i < render_n_formats; i++) {
		nearest_offer(&near, render_formats[i].name);
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s",
			                         i ? ", " : "", render_formats[i].name);
	}
	error_set(err, EINVAL, "no format '%s'", name);
	if (near.name)
		return error_hint(err, "did you mean %s? all: %s", near.name, list);
	return error_hint(err, "formats: %s", list);
}

static int by_ending(const char *path, const struct render_format **ret, struct error *err)
{
	char list[256] = "";
	size_t used = 0;

	*ret = render_find_file(path);
	if (*ret)
		return 0;
	for (size_t i = 0; i < render_n_formats && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, " %s",
		                         render_formats[i].suffix);
	error_set(err, EINVAL, "no format has the ending of %s", path);
	return error_hint(err, "name the format with --format, or use one of%s", list);
}

static int choose_format(const struct cli_args *args, struct show *s, struct error *err)
{
	const char *name = cli_value(args, "format");
	bool json = cli_flag(args, "json");

	if (json && name && strcmp(name, "json") != 0)
		return error_set(err, EINVAL, "--json and --format %s exclude each other", name);
	if (json || name)
		return by_name(json ? "json" : name, &s->format, err);
	if (strcmp(s->path, "-") != 0)
		return by_ending(s->path, &s->format, err);
	return by_name("table", &s->format, err);
}

enum { MOST = 1000000 };

static int number(const struct cli_args *args, const char *name, int *ret, struct error *err)
{
	unsigned long long v = (unsigned long long)*ret;
	int r = cli_number(args, name, &v, err);

	if (r < 0)
		return r;
	if (v > MOST)
		return error_set(err, EINVAL, "--%s %llu: too large", name, v);
	*ret = (int)v;
	return 0;
}

/* A regexp that does not compile is told now, not after the recording. */
static int regexp(const struct cli_args *args, const char *name, const char **ret,
                  struct error *err)
{
	const char *text = cli_value(args, name);
	char why[128];
	regex_t compiled;
	int r;

	*ret = text;
	if (!text)
		return 0;
	r = regcomp(&compiled, text, REG_EXTENDED | REG_NOSUB);
	if (r) {
		regerror(r, &compiled, why, sizeof(why));
		return error_set(err, EINVAL, "--%s %s: %s", name, text, why);
	}
	regfree(&compiled);
	return 0;
}

static int min_width(const struct cli_args *args, double *ret, struct error *err)
{
	const char *text = cli_value(args, "min-width");
	char *end;

	*ret = -1;
	if (!text)
		return 0;
	*ret = strtod(text, &end);
	if (end == text || *end || !(*ret >= 0 && *ret <= 1000))
		return error_set(err, EINVAL, "--min-width %s: not a number of pixels", text);
	return 0;
}

static int terminal_columns(void)
{
	struct winsize size;

	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return 0;
}

static bool wants_colour(const struct show *s)
{
	const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return !strcmp(s->path, "-") && isatty(STDOUT_FILENO) && !(no && no[0]) &&
	       !(terminal && !strcmp(terminal, "dumb"));
}

static int view(const struct cli_args *args, struct show *s, struct error *err)
{
	struct render_options *o = &s->options;
	int r;

	o->type = -1; /* --type needs the profile: show_profile() */
	s->type_name = cli_value(args, "type");
	o->reverse = cli_flag(args, "reverse");
	o->inverted = cli_flag(args, "inverted");
	o->no_inline = cli_flag(args, "no-inline");
	o->title = cli_value(args, "title");
	o->by = cli_value(args, "by");
	o->colour = wants_colour(s);
	o->columns = !strcmp(s->path, "-") ? terminal_columns() : 0;
	r = regexp(args, "focus", &o->focus, err);
	if (r == 0)
		r = regexp(args, "ignore", &o->ignore, err);
	if (r == 0)
		r = min_width(args, &o->min_width, err);
	if (r == 0)
		r = number(args, "columns", &o->columns, err);
	if (r == 0)
		r = number(args, "rows", &o->rows, err);
	/* none asked for is nobody's wish: all */
	if (cli_flag(args, "all") || (cli_value(args, "rows") && !o->rows))
		o->rows = MOST;
	return r;
}

int show_parse(const struct cli_args *args, struct show *ret, struct error *err)
{
	const char *path = cli_value(args, "output");
	struct show s = { .path = path ? path : "-" };
	int r;

	if (!s.path[0])
		return error_set(err, EINVAL, "--output: an empty file name");
	r = choose_format(args, &s, err);
	if (r == 0)
		r = view(args, &s, err);
	if (r < 0)
		return r;
	if (s.format->binary && !strcmp(s.path, "-") && isatty(STDOUT_FILENO)) {
		error_set(err, EINVAL, "%s is binary and not for a terminal", s.format->name);
		return error_hint(err, "write it to a file with -o FILE%s", s.format->suffix);
	}
	*ret = s;
	return 0;
}

static int find_type(const struct profile *p, const char *name, int *ret, struct error *err)
{
	char list[PROFILE_MAX_TYPES * 66] = "";
	size_t used = 0;

	*ret = profile_find_type(p, name);
	if (*ret >= 0)
		return 0;
	for (size_t i = 0; i < profile_n_types(p) && used < sizeof(list); i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
		                         profile_type_at(p, i)->name);
	error_set(err, EINVAL, "the profile has no values named '%s'", name);
	return error_hint(err, "it has %s", list);
}

/* --type churn: what was allocated and freed again. */
static int show_churn(const struct show *s, const struct profile *p, struct error *err)
{
	cleanup(profile_freep) struct profile *churn = NULL;
	int r = transform_churn(p, &churn, err);

	return r < 0 ? r : render_to_file(churn, s->format, &s->options, s->path, err);
}

int show_profile(const struct show *s, const struct profile *p, struct error *err)
{
	struct render_options o = s->options;
	int r = 0;

	if (s->type_name && !strcmp(s->type_name, SHOW_CHURN))
		return show_churn(s, p, err);
	if (s->type_name)
		r = find_type(p, s->type_name, &o.type, err);
	return r < 0 ? r : render_to_file(p, s->format, &o, s->path, err);
}
