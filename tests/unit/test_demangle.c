/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "symbol/demangle.h"

static void expect(const char *symbol, const char *name)
{
	cleanup_free char *got = demangle_name(symbol);

	assert_string_equal(got, name);
}

static void c_names_stay(void **state)
{
	static const char *const names[] = {
		"main", "site_01", "_start", "__libc_malloc", "a",        "", "_GLOBAL__sub_I_x",
		"_Z",   "_Rabbit", "_ZN",    "x17h",          "je_malloc"
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expect(names[i], names[i]);
}

static void versions_and_clones_go(void **state)
{
	expect("malloc@@GLIBC_2.2.5", "malloc");
	expect("memcpy@GLIBC_2.2.5", "memcpy");
	expect("@odd", "@odd");
	expect("site_01.constprop.0", "site_01");
	expect("f.isra.0", "f");
	expect("f.part.0.isra.12", "f");
	expect("f.constprop.0.cold", "f");
	expect("f.cold", "f");
	expect("f.lto_priv.0", "f");
	expect("f.llvm.1234567890", "f");
	expect("f.localalias", "f");
	expect("f.partial", "f.partial");
	expect("f.1", "f.1"); /* a local variable's number, or another compiler's */
	expect("f.", "f.");
	expect(".cold", ".cold");
	expect("main.main", "main.main");
	expect("_ZN2ns1fEi.isra.0", "ns::f");
}

static void cplusplus_without_parameters(void **state)
{
	expect("_Z3foov", "foo");
	expect("_ZN2ns5Class6methodIiEEvT_", "ns::Class::method<int>");
	expect("_ZNK2ns5Class3getEv", "ns::Class::get");
	expect("_ZN2ns5ClassC2Ei", "ns::Class::Class");
	expect("_ZN2ns5ClassD1Ev", "ns::Class::~Class");
	expect("_Znwm", "operator new");
	expect("_ZNSt6vectorIiSaIiEE17_M_realloc_insertIJRKiEEEvN9__gnu_cxx17__normal_"
	       "iteratorIPiS1_EED"
	       "pOT_",
	       "std::vector<int, std::allocator<int> >::_M_realloc_insert<int const&>");
	expect("_ZZ4mainENKUlvE_clEv", "main::{lambda()#1}::operator()");
	expect("_ZN12_GLOBAL__N_14funcEv", "(anonymous namespace)::func");
}

static void rust_old_and_new(void **state)
{
	expect("_ZN4core3fmt9Formatter3pad17h0123456789abcdefE", "core::fmt::Formatter::pad");
	expect("_ZN71_$LT$Test$u20$$u2b$$u20$$u27$static$u20$as$u20$foo..Bar$LT$Test$GT$$GT$"
	       "3bar17h930"
	       "b740aa94f1d3aE",
	       "<Test + 'static as foo::Bar<Test>>::bar");
	expect("_RNvCs1234_7mycrate3foo", "mycrate::foo");
	expect("_RINvNtC3std3mem8align_ofjE", "std::mem::align_of::<usize>");
}

/* Each level doubles what is printed: a few hundred bytes would be terabytes. */
static void a_name_that_explodes_stays_short(void **state)
{
	char name[2048] = "_Z1fI";
	size_t used = strlen(name);
	cleanup_free char *got = NULL;

	/* f<A<int,int>, A<S0,S0>, A<S1,S1>, ...> */
	used += snprintf(name + used, sizeof(name) - used, "1AIiiE");
	for (int i = 1; i < 60; i++) {
		char digit = i - 1 < 10 ? '0' + (i - 1) : 'A' + (i - 11);

		if (i - 1 >= 36)
			break;
		used += snprintf(name + used, sizeof(name) - used, "S_IS%c_S%c_E", digit, digit);
	}
	snprintf(name + used, sizeof(name) - used, "EvT_");
	got = demangle_name(name);
	assert_true(strlen(got) <= DEMANGLE_MAX_OUTPUT);
}

static void depth_and_length_are_bounded(void **state)
{
	cleanup_free char *deep = malloc(1 << 20), *got = NULL, *again = NULL;

	memset(deep, 'P', 1 << 20);
	memcpy(deep, "_Z1f", 4);
	deep[(1 << 20) - 1] = '\0';
	got = demangle_name(deep);
	assert_string_equal(got, deep);
	deep[DEMANGLE_MAX_INPUT - 1] = '\0';
	again = demangle_name(deep);
	assert_non_null(again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(c_names_stay),
		cmocka_unit_test(versions_and_clones_go),
		cmocka_unit_test(cplusplus_without_parameters),
		cmocka_unit_test(rust_old_and_new),
		cmocka_unit_test(a_name_that_explodes_stays_short),
		cmocka_unit_test(depth_and_length_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
