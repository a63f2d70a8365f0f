/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>

#include "base/json.h"
#include "base/kernel.h"
#include "build_info.h"
#include "cli/cli.h"
#include "config.h"

static void json_kernel(struct json *j)
{
	struct kernel_facts facts;

	kernel_facts(&facts);
	json_key(j, "kernel");
	json_string(j, facts.release);
	json_key(j, "machine");
	json_string(j, facts.machine);
	json_key(j, "kernel_features");
	json_object(j);
	for (size_t i = 0; i < KERNEL_N_FEATURES; i++) {
		json_key(j, kernel_feature_name(i));
		if (facts.features[i] == KERNEL_UNKNOWN)
			json_null(j);
		else
			json_bool(j, facts.features[i] == KERNEL_YES);
	}
	json_object_end(j);
}

static int run(const struct cli_args *args, struct error *err)
{
	struct json j = json_on(stdout);

	if (!cli_flag(args, "json")) {
		printf("memwho %s (%s)\n", VERSION, BUILD_COMMIT);
		return CLI_DONE;
	}
	json_object(&j);
	json_key(&j, "version");
	json_string(&j, VERSION);
	json_key(&j, "commit");
	json_string(&j, BUILD_COMMIT);
	json_key(&j, "compiler");
	json_string(&j, COMPILER);
	json_key(&j, "libraries");
	json_string(&j, LIBRARIES);
	json_kernel(&j);
	json_object_end(&j);
	putchar('\n');
	return CLI_DONE;
}

static const struct cli_option own[] = {
	{ 0, "json", NULL, "build and kernel features, for bug reports" },
	{ 0 },
};
static const struct cli_option *const tables[] = { own, options_common, NULL };

const struct cli_command version_command = {
	.name = "version",
	.summary = "show which build this is, and what this kernel offers",
	.usage = "[--json]",
	.details = "",
	.option_tables = tables,
	.run = run,
};
