/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "render/render.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "render/formats.h"
#include "render/output.h"

const struct render_format render_formats[] = {
	{ "table", ".txt", "text for a terminal: top stacks and the report", false, table_write },
	{ "svg", ".svg", "flame graph: zoom, search, hover; needs only a browser", false,
	  flame_write },
	{ "html", ".html", "flame graph, tables and sandwich view in one page", false, html_write },
	{ "json", ".json", "stacks and report for scripts (docs/json.md)", false,
	  profile_json_write },
	{ "folded", ".folded", "one line a stack, root first, for flamegraph.pl", false,
	  plain_write_folded },
	{ "stap", ".stap", "SystemTap's stacks, for stackcollapse-stap.pl", false,
	  plain_write_stap },
	{ "pprof", ".pb.gz", "gzipped pprof: what memwho and go tool pprof read", true,
	  plain_write_pprof },
	{ "heap", ".heap", "jemalloc's heap_v2, for jeprof", false, plain_write_heap },
	{ "speedscope", ".speedscope.json", "for speedscope", false, speedscope_write },
};
const size_t render_n_formats = ARRAY_SIZE(render_formats);

const struct render_format *render_find(const char *name)
{
	if (!strcmp(name, "txt"))
		name = "table";
	for (size_t i = 0; i < render_n_formats; i++) {
		if (!strcmp(render_formats[i].name, name))
			return &render_formats[i];
	}
	return NULL;
}

static bool ends_in(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

/* The longest suffix wins: x.speedscope.json is not plain JSON. */
const struct render_format *render_find_file(const char *path)
{
	const struct render_format *best = NULL;

	for (size_t i = 0; i < render_n_formats; i++) {
		const struct render_format *f = &render_formats[i];

		if (ends_in(path, f->suffix) && (!best || strlen(f->suffix) > strlen(best->suffix)))
			best = f;
	}
	return best;
}

/* stdio remembers that a write failed, not why. The next one fails for the same
 * reason and says it; should it not fail, the output is short all the same. */
static int failed_why(FILE *to)
{
	int fd = fileno(to);

	return fd >= 0 && write(fd, "\n", 1) < 0 ? errno : EIO;
}

int render_check(FILE *to, struct error *err)
{
	errno = 0;
	if (fflush(to) == 0 && !ferror(to))
		return 0;
	return error_sys(err, errno ? errno : failed_why(to), "cannot write");
}

int render_can_write(const char *path, struct error *err)
{
	cleanup(output_discard) struct output out = { 0 };
	struct stat st;

	if (!strcmp(path, "-"))
		return 0;
	if (stat(path, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return output_open(path, &out, err);
	return access(path, W_OK) < 0 ? error_sys(err, errno, "%s: cannot write", path) : 0;
}

int render_to_file(const struct profile *p, const struct render_format *format,
                   const struct render_options *o, const char *path, struct error *err)
{
	cleanup(output_discard) struct output out = { 0 };
	int r = output_open(path, &out, err);

	if (r < 0)
		return r;
	r = format->write(p, o, out.to, err);
	if (r == 0)
		r = output_commit(&out, err);
	return r < 0 ? error_context(err, "%s", out.name) : 0;
}
