/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/go/go_names.h"

static void shown_as(const char *type, const char *name, bool part)
{
	char buf[256];
	bool is_part;

	assert_true(go_names_shown(type, buf, sizeof(buf), &is_part));
	assert_string_equal(buf, name);
	assert_int_equal(is_part, part);
}

static void not_changed(const char *type)
{
	char buf[256];
	bool is_part;

	assert_false(go_names_shown(type, buf, sizeof(buf), &is_part));
}

static void maps_are_maps(void **state)
{
	(void)state;
	shown_as("map<string,*main.T>", "map[string]*main.T", false);
	shown_as("hash<int,[]uint8>", "map[int][]uint8", false);
	shown_as("map<struct { a, b int },main.P[int,string]>",
	         "map[struct { a, b int }]main.P[int,string]", false);
	shown_as("map<main.P[int,string],chan<- int>", "map[main.P[int,string]]chan<- int", false);
	shown_as("hchan<<-chan int>", "chan <-chan int", false);
	shown_as("hchan<func(int, string)>", "chan func(int, string)", false);
}

static void their_insides_are_parts(void **state)
{
	(void)state;
	shown_as("table<string,int>", "map[string]int", true);
	shown_as("*table<string,int>", "map[string]int", true);
	shown_as("[]*table<string,int>", "map[string]int", true);
	shown_as("noalg.map.group[string]*main.T", "map[string]*main.T", true);
	shown_as("[]noalg.map.group[[2]int]bool", "map[[2]int]bool", true);
	shown_as("[]bucket<string,int>", "map[string]int", true);
	shown_as("map.bucket[string]int", "map[string]int", true);
}

static void others_stay(void **state)
{
	char buf[8];
	bool is_part;

	(void)state;
	not_changed("");
	not_changed("*");
	not_changed("[]");
	not_changed("main.T");
	not_changed("map[string]int");
	not_changed("[]*main.table");
	not_changed("map<string>");
	not_changed("map<string,int");
	not_changed("hchan<");
	not_changed("*map<string,int>");
	assert_false(go_names_shown("map<string,int>", buf, sizeof(buf), &is_part));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_maps),
		cmocka_unit_test(their_insides_are_parts),
		cmocka_unit_test(others_stay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
