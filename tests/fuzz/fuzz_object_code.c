/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Archives, object files and known builds' text. What is read can be written and read again,
 * with as much in it. */

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "symbol/object_archive.h"
#include "symbol/object_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* What the text says of sections is as it was; names may hold what a line cannot. */
static void write_and_read(const struct object_build *b)
{
	cleanup(object_build_clear) struct object_build again = { 0 };
	cleanup_free char *text = NULL;
	size_t len;
	FILE *to = open_memstream(&text, &len);
	struct error err;

	check(to && object_text_write(b, to, &err) == 0 && fclose(to) == 0);
	if (object_text_read(&again, text, len, &err) < 0)
		return;
	check(again.n_sections == b->n_sections);
	for (size_t i = 0; i < b->n_sections; i++) {
		check(again.sections[i].size == b->sections[i].size);
		check(again.sections[i].unmasked == b->sections[i].unmasked);
		check(!memcmp(again.sections[i].hash, b->sections[i].hash,
		              sizeof(b->sections[i].hash)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup(object_build_clear) struct object_build archive = { 0 }, text = { 0 };
	struct error err;

	if (object_archive_read(&archive, data, size, NULL, &err) == 0)
		write_and_read(&archive);
	if (object_text_read(&text, (const char *)data, size, &err) == 0)
		write_and_read(&text);
	return 0;
}
