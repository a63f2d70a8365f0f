/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One page that needs nothing else: data as JSON, style and script inside. The
 * policy in its head forbids the browser to load anything from anywhere.
 */
#include "base/cleanup.h"
#include "page_css.h"
#include "page_html.h"
#include "page_js.h"
#include "render/escape.h"
#include "render/figures.h"
#include "render/formats.h"
#include "render/html_data.h"
#include "render/ladder_picture.h"

static void put_head(FILE *to, const char *title)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
	      "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
	      to);
	escape_xml(to, title, 500);
	fprintf(to, "</title>\n<style>\n%s</style>\n</head>\n<body>\n", page_css);
}

static int put_page(const struct tree *t, const struct render_options *o, FILE *to,
                    struct error *err)
{
	char title[FIGURES_BYTES];
	int r;

	put_head(to, figures_title(t->v, o, title, sizeof(title)));
	fprintf(to,
	        "%s<noscript>This page needs its script; the SVG picture does not.</noscript>\n",
	        page_html);
	/* json.h writes '<' as \u003c: nothing in it can end the element */
	fputs("<script type=\"application/json\" id=\"data\">", to);
	r = html_data_write(t, o, to, err);
	fprintf(to,
	        "</script>\n<script>\n(function () {\n\"use strict\";\n%s})();\n</script>\n"
	        "</body>\n</html>\n",
	        page_js);
	return r;
}

/* The page turns stacks round by itself: no VIEW_REVERSE. */
static int write_profile(const struct profile *p, const struct render_options *o, FILE *to,
                         struct error *err)
{
	cleanup(view_clear) struct view v = { 0 };
	cleanup(tree_clear) struct tree t = { 0 };
	int r = view_make(p, o, VIEW_ALL, &v, err);

	if (r == 0)
		r = tree_make(&v, true, &t, err);
	if (r == 0)
		r = put_page(&t, o, to, err);
	return r < 0 ? r : render_check(to, err);
}

int html_write(const struct profile *p, const struct render_options *o, FILE *to, struct error *err)
{
	return ladder_picture_write(p, o, to, write_profile, err);
}
