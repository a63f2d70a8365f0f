/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/show.h"
#include "profile/ladder_rows.h"
#include "profile/profile_file.h"
#include "profile/transform.h"

/* What was typed is right, so it isn't -EINVAL: the files don't go together. */
static int not_summed(const char *first, const char *other, struct error *err)
{
	struct error why = *err;

	return error_set(err, EBADMSG, "%s and %s: %s", first, other, why.message);
}

/* Their samples could be added, their rows could not. */
static int no_ladders(const char *first, const char *other, struct error *err)
{
	error_set(err, EBADMSG, "%s and %s: ladders are not summed", first, other);
	return error_hint(err, "memwho diff compares two; memwho ladder PID PID sums while it "
	                       "reads");
}

static int read_all(const struct cli_args *args, struct profile **ret, struct error *err)
{
	cleanup(profile_freep) struct profile *sum = NULL;
	int r = 0;

	for (size_t i = 0; r == 0 && i < args->n_words; i++) {
		cleanup(profile_freep) struct profile *p = NULL;

		r = profile_file_read(args->words[i], &p, err);
		if (r == 0 && sum && (ladder_rows_is(sum) || ladder_rows_is(p))) {
			r = no_ladders(args->words[0], args->words[i], err);
		} else if (r == 0 && sum) {
			r = transform_merge(sum, p, err);
			if (r == -EINVAL)
				r = not_summed(args->words[0], args->words[i], err);
		} else if (r == 0) {
			sum = take_ptr(p);
		}
	}
	if (r == 0)
		*ret = take_ptr(sum);
	return r;
}

static int run(const struct cli_args *args, struct error *err)
{
	cleanup(profile_freep) struct profile *p = NULL;
	struct show show;
	int r;

	if (!args->n_words)
		return error_set(err, EINVAL, "render needs a FILE that was saved with -o");
	r = show_parse(args, &show, err);
	if (r == 0)
		r = read_all(args, &p, err);
	if (r == 0)
		r = show_profile(&show, p, err);
	return r < 0 ? r : CLI_DONE;
}

static const struct cli_option *const options[] = { options_output, options_view, options_common,
	                                            NULL };

const struct cli_command render_command = {
	.name = "render",
	.summary = "draw or convert a saved profile",
	.usage = "[OPTION...] FILE...",
	.details = "FILE is a profile in pprof, folded, stap or jemalloc heap_v2 format, told\n"
		   "apart by its content; /dev/stdin reads from a pipe. Several files are\n"
		   "summed up; the figures beside the samples are the first one's. Without -o\n"
		   "the result is a table. Only .pb.gz holds everything that was recorded.\n"
		   "\n"
		   "  memwho render held.pb.gz\n"
		   "  memwho render held.pb.gz --reverse --inverted -o who-calls-it.svg\n"
		   "  memwho render worker-*.pb.gz --by pid -o all.html\n"
		   "  memwho render jeprof.1.heap --format folded\n",
	.option_tables = options,
	.run = run,
};
