/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "serve/http_text.h"

#include <stdlib.h>

int http_text_begin(struct http_text *t, struct error *err)
{
	t->to = open_memstream(&t->text, &t->len);
	return t->to ? 0 : error_oom(err);
}

void http_text_clear(struct http_text *t)
{
	if (t->to)
		fclose(t->to);
	free(t->text);
	*t = (struct http_text){ 0 };
}
