/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * What is read is written and read again: nothing may be lost. Names that were
 * cleaned can make two stacks one; from then on the text must stay the same.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "profile/folded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The text of @p, and what is read from it in *ret. */
static char *again(const struct profile *p, struct profile **ret)
{
	char *text = NULL;
	struct error err;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	check(to && folded_write_stap(p, -1, to, &err) == 0 && fclose(to) == 0);
	check(len == 0 || folded_read_stap(text, len, ret, &err) == 0);
	check(len == 0 || profile_total(*ret, 0) == profile_total(p, 0));
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(profile_freep) struct profile *p = NULL, *second = NULL, *third = NULL,
					      *last = NULL;
	cleanup_free char *text = NULL, *text2 = NULL, *text3 = NULL;
	struct error err;

	if (folded_read_stap((const char *)data, size, &p, &err) < 0)
		return 0;
	text = again(p, &second);
	if (!second) /* all values are 0 */
		return 0;
	text2 = again(second, &third);
	text3 = again(third, &last);
	check(strcmp(text2, text3) == 0);
	return 0;
}
