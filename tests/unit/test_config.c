/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "serve/config.h"
#include "serve/listen.h"

static void all_sections(void **state)
{
	static const char text[] = "# a comment\n"
				   "[serve]\n"
				   "listen = 127.0.0.1:8090   ; behind a value\n"
				   "max_seconds = 2m\n"
				   "slots=3\n"
				   "budget = 0.5%\n"
				   "allow_uid = 33, 1000\n"
				   "\n"
				   "[target \"api\"]\n"
				   "   exe = /usr/bin/api\n"
				   "record = always\n"
				   "[target \"db\"]\n"
				   "cgroup = /system.slice/db.service\n"
				   "[trigger \"growth\"]\n"
				   "target = api db\n"
				   "rule = growth 256M in 10m\n"
				   "cooldown = 1h\n"
				   "[push \"pyroscope\"]\n"
				   "kind = pyroscope\n"
				   "url = http://127.0.0.1:4040\n"
				   "labels = zone=a env=b=c\n";
	struct config c;
	struct error err = { 0 };

	if (config_parse("m.conf", text, strlen(text), &c, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(c.listen, "127.0.0.1:8090");
	assert_int_equal(c.max_seconds, 120);
	assert_int_equal(c.slots, 3);
	assert_float_equal(c.budget, 0.005, 1e-12);
	assert_int_equal(c.allow_uid.n, 2);
	assert_string_equal(c.allow_uid.items[1], "1000");
	assert_int_equal(c.n_targets, 2);
	assert_string_equal(c.targets[0].exe, "/usr/bin/api");
	assert_null(c.targets[0].spec);
	assert_int_equal(c.targets[0].record, CONFIG_ALWAYS);
	assert_string_equal(c.targets[1].spec, "cgroup:/system.slice/db.service");
	assert_int_equal(c.targets[1].record, CONFIG_DEMAND);
	assert_ptr_equal(config_find_target(&c, "db"), &c.targets[1]);
	assert_null(config_find_target(&c, "d"));
	assert_string_equal(c.triggers[0].rule, "growth 256M in 10m");
	assert_string_equal(c.triggers[0].capture, "auto");
	assert_int_equal(c.triggers[0].cooldown_s, 3600);
	assert_int_equal(c.triggers[0].targets.n, 2);
	assert_string_equal(c.pushes[0].labels.items[1], "env=b=c");
	config_clear(&c);
}

/* What is wrong is told with its line, and with what was probably meant. */
static void mistakes(void **state)
{
	static const struct {
		const char *text, *message, *hint;
	} cases[] = {
		{ "", "m:1: there is no section [serve]", "" },
		{ "[serve]\n\nslot = 2\n", "m:3: [serve] has no key 'slot'",
		  "did you mean slots?" },
		{ "[serve]\nslots = 2\nslots = 3\n", "m:3: slots is there twice", "" },
		{ "[serv]\n", "m:1: no section [serv]", "did you mean [serve]?" },
		{ "[serve]\n[serve]\n", "m:2: [serve] is there already, in line 1", "" },
		{ "slots = 2\n", "m:1: slots stands before the first section", "" },
		{ "[serve]\nslots\n", "m:2: neither `key = value` nor a section", "" },
		{ "[serve]\nslots = 0x2\n", "m:2: slots = 0x2: not a whole number", "" },
		{ "[serve]\nslots = 65\n", "m:2: slots = 65: from 1 to 64", "" },
		{ "[serve]\nslots = -1\n", "m:2: slots = -1: not a whole number", "" },
		{ "[serve]\nmax_seconds = 1x\n",
		  "m:2: max_seconds = 1x: not a time in whole seconds",
		  "times look like 13s, 2m, 1h, 7d" },
		{ "[serve]\nspool = here\n", "m:2: spool = here: not an absolute path", "" },
		{ "[serve]\nlisten = 0.0.0.0:80\n",
		  "m:1: listen = 0.0.0.0:80 is reached from other "
		  "machines",
		  "set token_file or tls_cert, tls_key and tls_client_ca, or listen on 127.0.0.1" },
		{ "[serve]\nlisten = [::]:80\n",
		  "m:1: listen = [::]:80 is reached from other machines", NULL },
		{ "[serve]\nlisten = host:80\n", "m:1: listen = host:80: host is not an address",
		  "addresses look like 127.0.0.1:8090 or [::1]:8090" },
		{ "[serve]\nlisten = 127.0.0.1:99999\n",
		  "m:1: listen = 127.0.0.1:99999: neither unix:/PATH nor ADDRESS:PORT", "" },
		{ "[serve]\nlisten = unix:x\n", "m:1: listen = unix:x: not an absolute path", "" },
		{ "[serve]\ntls_cert = /c\n",
		  "m:1: tls_cert, tls_key and tls_client_ca go together", "" },
		{ "[serve]\nallow_uid = root\n", "m:1: allow_uid: root is not a number", "" },
		{ "[serve]\n[target]\npid = 1\n", "m:2: a section looks like [target \"NAME\"]",
		  "" },
		{ "[serve]\n[target \"12\"]\n",
		  "m:2: name \"12\": only digits would be a process id", "" },
		{ "[serve]\n[target \"../x\"]\n",
		  "m:2: name \"../x\": only letters, digits and _ . - (no . in front)", "" },
		{ "[serve]\n[target \"a\"]\n", "m:2: target \"a\" needs one of pid, cgroup and exe",
		  "" },
		{ "[serve]\n[target \"a\"]\npid=1\nexe=/x\n",
		  "m:2: target \"a\" needs one of pid, cgroup and exe", "" },
		{ "[serve]\n[target \"a\"]\npid=0\n", "m:3: pid = 0: from 1 to 4194304", "" },
		{ "[serve]\n[target \"a\"]\npid=1\nrecord=allways\n",
		  "m:4: record = allways: no such choice", "choices: demand always" },
		{ "[serve]\n[target \"a\"]\npid=1\n[target \"a\"]\npid=2\n",
		  "m:4: there is a section \"a\" already", "" },
		{ "[serve]\n[target \"api\"]\npid=1\n[trigger \"g\"]\nrule=x\ntarget=apis\n",
		  "m:4: trigger \"g\": there is no [target \"apis\"]", "did you mean api?" },
		{ "[serve]\n[trigger \"g\"]\n", "m:2: trigger \"g\" has no rule", "" },
		{ "[serve]\n[push \"p\"]\nkind=parca\n", "m:2: push \"p\" has no url", "" },
		{ "[serve]\n[push \"p\"]\nkind=parca\nurl=ftp://x\n",
		  "m:4: url = ftp://x: not an http:// or https:// URL", "" },
		{ "[serve]\n[push \"p\"]\nkind=parca\nurl=http://x\nuser=u\n",
		  "m:2: push \"p\": user and password_file go together", "" },
		{ "[serve]\n[push \"p\"]\nkind=parca\nurl=http://x\nlabels==v\n",
		  "m:2: push \"p\": label '=v' is not KEY=VALUE", "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct config c = { 0 };
		struct error err = { 0 };
		int r = config_parse("m", cases[i].text, strlen(cases[i].text), &c, &err);

		if (r != -EINVAL)
			fail_msg("%s: %d", cases[i].text, r);
		assert_string_equal(err.message, cases[i].message);
		if (cases[i].hint)
			assert_string_equal(err.hint, cases[i].hint[0]
			                                      ? cases[i].hint
			                                      : "docs/serve.md has all keys");
		assert_null(c.path);
	}
}

static void long_lines_and_zero_bytes(void **state)
{
	char text[4096];
	struct config c;
	struct error err = { 0 };
	int n = snprintf(text, sizeof(text), "[serve]\nspool = /%01000d\n", 0);

	assert_int_equal(config_parse("m", text, n, &c, &err), -EINVAL);
	assert_non_null(strstr(err.message, "m:2: longer than "));
	assert_int_equal(config_parse("m", "[serve]\0\n", 9, &c, &err), -EINVAL);
	assert_string_equal(err.message, "m:1: a zero byte: this is no text");
	/* a mark of the byte order, and no end of the last line, are no mistakes */
	assert_int_equal(config_parse("m", "\xef\xbb\xbf[serve]\nslots=5", 18, &c, &err), 0);
	assert_int_equal(c.slots, 5);
	config_clear(&c);
}

static void a_thousand_targets(void **state)
{
	const size_t size = 200000;
	char *text = malloc(size);
	struct config c;
	struct error err = { 0 };
	size_t n = (size_t)snprintf(text, size, "[serve]\n");

	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, size - n, "[target \"t%d\"]\npid = %d\n", i, i + 2);
	if (config_parse("m", text, n, &c, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(c.n_targets, 1000);
	assert_string_equal(c.targets[999].spec, "1001");
	config_clear(&c);
	free(text);
}

static bool loops(const char *text)
{
	struct listen_address a;
	struct error err;

	assert_int_equal(listen_parse(text, &a, &err), 0);
	return listen_is_loopback(&a);
}

static void loopback(void **state)
{
	assert_true(loops("127.0.0.1:1"));
	assert_true(loops("localhost:1"));
	assert_true(loops("127.9.9.9:1"));
	assert_true(loops("[::1]:1"));
	assert_true(loops("[::ffff:127.0.0.1]:1"));
	assert_false(loops("128.0.0.1:1"));
	assert_false(loops("0.0.0.0:1"));
	assert_false(loops("[::]:1"));
	assert_false(loops("[::ffff:10.0.0.1]:1"));
	assert_false(loops("unix:/x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sections),
		cmocka_unit_test(mistakes),
		cmocka_unit_test(long_lines_and_zero_bytes),
		cmocka_unit_test(a_thousand_targets),
		cmocka_unit_test(loopback),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
