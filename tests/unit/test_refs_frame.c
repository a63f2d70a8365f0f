/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "refs/refs_frame.h"

static void is(const char *text, const char *name, const char *module)
{
	char buf[256];

	refs_frame_short(text, buf, sizeof(buf));
	assert_string_equal(buf, name);
	refs_frame_module(text, buf, sizeof(buf));
	assert_string_equal(buf, module);
}

static void packages_are_modules(void **state)
{
	(void)state;
	is(".clusters map[string]*main.cluster", ".clusters map[string]*main.cluster", "main");
	is(".sl *github.com/nats-io/nats-server/v2/server.Sublist", ".sl *server.Sublist",
	   "github.com/nats-io/nats-server/v2/server");
	is("map[github.com/a/b.K]example.org/c.d/e.V", "map[b.K]e.V", "github.com/a/b");
	is("goroutines of github.com/x/y.(*T).run (created by main.main)",
	   "goroutines of y.(*T).run (created by main.main)", "github.com/x/y");
	is("main.gList *main.host", "main.gList *main.host", "main");
}

static void others_have_their_type(void **state)
{
	(void)state;
	is("[\xe2\x80\xa6] []uint8", "[\xe2\x80\xa6] []uint8", "[]uint8");
	is("[\xe2\x80\xa6].buf []uint8", "[\xe2\x80\xa6].buf []uint8", "[]uint8");
	is("[\xe2\x80\xa6].next *main.node", "[\xe2\x80\xa6].next *main.node", "main");
	is(".buf []uint8", ".buf []uint8", "[]uint8");
	is("[unknown type]", "[unknown type]", "[unknown type]");
	is("shared by main.a, main.b", "shared by main.a, main.b", "shared");
	is("_G.peek function /srv/app/main.lua:12", "_G.peek function main.lua:12", "_G");
	is("[\xe2\x80\xa6] table", "[\xe2\x80\xa6] table", "table");
}

static void odd_texts_stay(void **state)
{
	char tiny[4];

	(void)state;
	is("", "", "");
	is("/", "/", "/");
	is("a / b", "a / b", "b");
	is("a/", "a/", "a/");
	is("...", "...", "...");
	refs_frame_short("main.long", tiny, sizeof(tiny));
	assert_string_equal(tiny, "mai");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packages_are_modules),
		cmocka_unit_test(others_have_their_type),
		cmocka_unit_test(odd_texts_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
