/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "profile/profile_file.h"
#include "profile/transform.h"

/* Labels and inlining are settled before the two meet: a diff has neither
 * process ids nor object counts to group by. */
static int read_side(const char *path, const struct render_options *o, struct profile **ret,
                     struct error *err)
{
	const struct transform_options before = { .by = o->by, .no_inline = o->no_inline };
	cleanup(profile_freep) struct profile *p = NULL;
	int r = profile_file_read(path, &p, err);

	if (r == 0 && (before.by || before.no_inline))
		return transform_apply(p, &before, ret, err);
	if (r == 0)
		*ret = take_ptr(p);
	return r;
}

/* --type names what is compared, or which side of the result is shown. */
static bool is_side(const char *type)
{
	return strcmp(type, "before") == 0 || strcmp(type, "after") == 0 ||
	       strcmp(type, "delta") == 0;
}

static int compare(const struct cli_args *args, struct show *show, struct profile **ret,
                   struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL, *after = NULL;
	const char *type = NULL;
	int r = read_side(args->words[0], &show->options, &before, err);

	if (r == 0)
		r = read_side(args->words[1], &show->options, &after, err);
	if (r < 0)
		return r;
	show->options.by = NULL;
	show->options.no_inline = false;
	show->options.is_diff = true;
	if (show->type_name && !is_side(show->type_name)) {
		type = show->type_name;
		show->type_name = NULL;
	}
	return transform_diff(before, after, type, ret, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct show show;
	int r;

	if (args->n_words != 2)
		return error_set(err, EINVAL, "diff needs two FILEs: before and after");
	r = show_parse(args, &show, err);
	if (r == 0)
		r = compare(args, &show, &p, err);
	if (r == 0)
		r = show_profile(&show, p, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option *const options[] = { options_output, options_view, options_common,
	                                            NULL };

const struct cli_command diff_command = {
	.name = "diff",
	.summary = "what grew and what shrank between two profiles",
	.usage = "[OPTION...] BEFORE AFTER",
	.details = "BEFORE and AFTER are saved profiles, as render reads them. Functions are\n"
		   "matched by name, code without a name by its place in its module, so that a\n"
		   "restarted or rebuilt program compares. --type names the value to compare.\n"
		   "\n"
		   "  memwho alloc 4711 -d 10s -o before.pb.gz\n"
		   "  memwho alloc 4711 -d 10s -o after.pb.gz\n"
		   "  memwho diff before.pb.gz after.pb.gz\n"
		   "  memwho diff before.pb.gz after.pb.gz -o grew.svg\n",
	.option_tables = options,
	.run = run,
};
