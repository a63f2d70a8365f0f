/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "profile/report.h"

static void figures_are_replaced_in_place(void **state)
{
	cleanup(report_clear) struct report r = { 0 };
	struct error err;

	assert_int_equal(report_text(&r, "engine", "Engine", "bpf", &err), 0);
	assert_int_equal(report_int(&r, "lost_events", "Lost", 3, "", &err), 0);
	assert_int_equal(report_double(&r, "engine", NULL, 1.5, "a unit far too long", &err), 0);
	assert_int_equal(r.n_figures, 2);
	assert_string_equal(r.figures[0].key, "engine");
	assert_int_equal(r.figures[0].kind, REPORT_DOUBLE);
	assert_null(r.figures[0].title);
	assert_null(r.figures[0].text);
	assert_string_equal(r.figures[0].unit, "a unit far too ");
	assert_int_equal(report_get(&r, "lost_events")->integer, 3);
	assert_null(report_get(&r, "none"));
}

static void tables_keep_rows(void **state)
{
	cleanup(report_clear) struct report r = { 0 }, copy = { 0 };
	static const char *const columns[] = { "context", "used_bytes" };
	struct report_figure row[] = { report_cell_text("Top"), report_cell_int(8192) };
	struct report_table *t, *same;
	struct error err;

	assert_int_equal(report_table(&r, "contexts", columns, 0, &t, &err), -EINVAL);
	assert_int_equal(report_table(&r, "contexts", columns, 2, &t, &err), 0);
	for (int i = 0; i < 100; i++)
		assert_int_equal(report_row(t, row, &err), 0);
	assert_int_equal(report_table(&r, "contexts", columns, 2, &same, &err), 0);
	assert_ptr_equal(same, t);
	assert_int_equal(report_table(&r, "contexts", columns, 1, &same, &err), -EINVAL);
	assert_int_equal(report_copy(&copy, &r, &err), 0);
	/* once more: replaced, not doubled */
	assert_int_equal(report_copy(&copy, &r, &err), 0);
	assert_int_equal(copy.n_tables, 1);
	assert_int_equal(copy.tables[0].n_rows, 100);
	assert_string_equal(copy.tables[0].cells[198].text, "Top");
	assert_int_equal(copy.tables[0].cells[199].integer, 8192);
	assert_string_equal(copy.tables[0].columns[1], "used_bytes");
}

static void a_copy_owns_what_it_holds(void **state)
{
	cleanup(report_clear) struct report copy = { 0 };
	struct report r = { 0 };
	struct error err;

	assert_int_equal(report_text(&r, "engine", "Engine", "bpf", &err), 0);
	assert_int_equal(report_text(&copy, "engine", NULL, "old", &err), 0);
	assert_int_equal(report_text(&copy, "own", NULL, "kept", &err), 0);
	assert_int_equal(report_copy(&copy, &r, &err), 0);
	report_clear(&r);
	assert_string_equal(report_get(&copy, "engine")->text, "bpf");
	assert_string_equal(report_get(&copy, "engine")->title, "Engine");
	assert_string_equal(report_get(&copy, "own")->text, "kept");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(figures_are_replaced_in_place),
		cmocka_unit_test(tables_keep_rows),
		cmocka_unit_test(a_copy_owns_what_it_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
