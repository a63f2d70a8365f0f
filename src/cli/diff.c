/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/diff_spool.h"
#include "cli/live_ladder.h"
#include "cli/show.h"
#include "cli/targets.h"
#include "profile/ladder_diff.h"
#include "profile/profile_file.h"
#include "profile/transform.h"
#include "refs/refs.h"
#include "refs/refs_file.h"

/* A file that is there is that file; anything else is a process. */
static bool is_file(const char *word)
{
	struct stat st;

	return stat(word, &st) == 0 && !S_ISDIR(st.st_mode);
}

static int read_process(const char *word, struct profile **ret, struct error *err)
{
	const struct ladder_options options = { 0 };
	cleanup(targets_clear) struct targets pids = { 0 };
	char *words[] = { (char *)word };
	int r = targets_add(&pids, words, 1, false, err);

	return r < 0 ? r : live_ladder_read(pids.items, pids.n, &options, true, ret, err);
}

/* A saved reference graph: what each root keeps. */
static int read_graph(const char *path, struct profile **ret, struct error *err)
{
	const struct refs_options options = { .is_plain = true };
	cleanup(object_graph_clear) struct object_graph g = { 0 };
	int r = refs_file_load(path, &g, err);

	return r < 0 ? r : refs_profile(&g, &options, ret, err);
}

/* Neither a file nor a process: the reason that fits what was typed. */
static int read_word(const char *word, struct profile **ret, struct error *err)
{
	struct error ignored;
	int r;

	if (is_file(word))
		return refs_file_is(word) ? read_graph(word, ret, err)
		                          : profile_file_read(word, ret, err);
	r = read_process(word, ret, err);
	if (r < 0 && (strchr(word, '/') || strchr(word, '.')) && !strchr(word, ':') &&
	    profile_file_read(word, ret, &ignored) < 0) {
		*err = ignored;
		return err->code;
	}
	return r;
}

/* Labels and inlining are settled before the two meet: a diff has neither
 * process ids nor object counts to group by. */
static int settle(struct profile **p, const struct render_options *o, struct error *err)
{
	const struct transform_options before = { .by = o->by, .no_inline = o->no_inline };
	cleanup(profile_freep) struct profile *old = NULL;

	if (ladder_rows_is(*p) || !(before.by || before.no_inline))
		return 0;
	old = take_ptr(*p);
	return transform_apply(old, &before, p, err);
}

static int read_both(const char *const words[2], struct profile **before, struct profile **after,
                     struct error *err)
{
	int r;

	if (diff_spool_is(words[0]) || diff_spool_is(words[1]))
		return diff_spool_read(words[0], words[1], before, after, err);
	r = read_word(words[0], before, err);
	return r < 0 ? r : read_word(words[1], after, err);
}

/* --type names what is compared, or which side of the result is shown. */
static bool is_side(const char *type)
{
	return strcmp(type, "before") == 0 || strcmp(type, "after") == 0 ||
	       strcmp(type, "delta") == 0;
}

static int unlike(const char *const words[2], bool first_is_ladder, struct error *err)
{
	error_set(err, EBADMSG, "%s is a ladder and %s is none", words[first_is_ladder ? 0 : 1],
	          words[first_is_ladder ? 1 : 0]);
	return error_hint(err, "compare two ladders (processes, or memwho PID -o x.json), or two "
	                       "profiles of one kind");
}

static int compare(const struct cli_args *args, struct show *show, struct profile **ret,
                   struct error *err)
{
	cleanup(profile_freep) struct profile *before = NULL, *after = NULL;
	const char *const words[2] = { args->words[0], args->words[1] };
	const char *type = NULL;
	int r = read_both(words, &before, &after, err);

	if (r == 0)
		r = settle(&before, &show->options, err);
	if (r == 0)
		r = settle(&after, &show->options, err);
	if (r < 0)
		return r;
	if (ladder_rows_is(before) != ladder_rows_is(after))
		return unlike(words, ladder_rows_is(before), err);
	show->options.by = NULL;
	show->options.no_inline = false;
	show->options.is_diff = true;
	if (show->type_name && !is_side(show->type_name)) {
		type = show->type_name;
		show->type_name = NULL;
	}
	return ladder_rows_is(before) ? ladder_diff_profile(before, after, type, ret, err)
	                              : transform_diff(before, after, type, ret, err);
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct show show;
	int r;

	if (args->n_words != 2)
		return error_set(err, EINVAL,
		                 "diff needs two FILEs or two processes: before and after");
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
	.summary = "what differs between two profiles, or two processes",
	.usage = "[OPTION...] BEFORE AFTER",
	.details =
		"BEFORE and AFTER are saved profiles, as render reads them. Functions are\n"
		"matched by name, code without a name by its place in its module, so that a\n"
		"restarted or rebuilt program compares. --type names the value to compare.\n"
		"\n"
		"A folder is a spool of memwho serve, or a target's in it, perhaps of another\n"
		"machine: the newest captures of the same build are compared.\n"
		"\n"
		"Or they are ladders: running processes (a PID, a name, pidfile:PATH ...) and\n"
		"what memwho PID -o x.json saved, here or on another machine. Then the result is\n"
		"what differs by owner, and the settings that explain it.\n"
		"\n"
		"  memwho alloc 4711 -d 10s -o before.pb.gz\n"
		"  memwho alloc 4711 -d 10s -o after.pb.gz\n"
		"  memwho diff before.pb.gz after.pb.gz\n"
		"  memwho diff before.pb.gz after.pb.gz -o grew.svg\n"
		"  memwho diff 4711 on-the-host.json\n"
		"  memwho diff host1/spool/api host2/spool/api\n",
	.option_tables = options,
	.run = run,
};
