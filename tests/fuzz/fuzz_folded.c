/* SPDX-License-Identifier: GPL-2.0-or-later */

/* What is read is written and read again: it must be the same text then. */

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

static char *written(const struct profile *p)
{
	char *text = NULL;
	struct error err;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	check(to && folded_write(p, -1, to, &err) == 0 && fclose(to) == 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(profile_freep) struct profile *p = NULL, *again = NULL;
	cleanup_free char *text = NULL, *text_again = NULL;
	struct error err;

	if (folded_read((const char *)data, size, &p, &err) < 0)
		return 0;
	text = written(p);
	if (!text[0]) /* all values are 0 */
		return 0;
	check(folded_read(text, strlen(text), &again, &err) == 0);
	check(profile_total(again, 0) == profile_total(p, 0));
	text_again = written(again);
	check(strcmp(text, text_again) == 0);
	return 0;
}
